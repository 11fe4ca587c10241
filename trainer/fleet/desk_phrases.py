"""How the agents of the table desk put things; a wrong move is said in the same words as a right one."""

LISTS = ("{} = {}", "{}: {}", "- {} is {}", "{}) {}", "[{}] {}", "slot {}: {}")

PLAN = (
    "Plan. Letters from A are looked up, letters from P are worked out:",
    "The question needs these figures and calculations:",
    "Breaking it down, finders first, then the counter:",
    "Here is who fetches what and what is done with it:",
    "I split the question as follows:",
    "To answer this we need:",
    "Work list, in order:",
    "Decomposition of the question:",
    "Please fill these slots:",
    "My reading of the question, slot by slot:",
)

QUERY = (
    "Looking up {of} for slot {slot}.",
    "Slot {slot} calls for {of}, asking the table.",
    "Fetching the figures of {of} ({slot}).",
    "Table, please show {of}. It goes into {slot}.",
    "Opening the table at {of} to fill {slot}.",
    "For {slot} I need {of}.",
    "Reading {of} from the table, slot {slot}.",
    "Query for {slot}: {of}.",
)

REPORT = (
    "{slot} is {value}: {words}.",
    "{words}: {value}. That fills {slot}.",
    "The table gives {value} as {words}, so {slot} = {value}.",
    "Slot {slot}, {words}, holds {value}.",
    "Found {slot}. It is {value} ({words}).",
    "I read {value} for {words}; put it into {slot}.",
    "{value} for {slot}, that is {words}.",
    "Result for {slot}: {words} comes to {value}.",
)

REFETCH = (
    "Looking {slot} up again: {words}.",
    "{slot} once more, that is {words}; the table's figure counts.",
    "Taking {words} from the table as {slot}.",
    "New query for {slot}: {words}. I take the figure as it is shown.",
    "Replacing {slot} by {words}.",
    "{words} goes into {slot} instead.",
)

ACCEPT = (
    "Went through the figures ({values}) and they stand.",
    "Audit of {values}: accepted.",
    "The values {values} agree with the question.",
    "Compared {values} with what was asked, no remarks.",
    "{values}: fine, we can go on.",
    "These are good to work with: {values}.",
    "Audit complete. Values: {values}. Nothing to send back.",
    "I have no objection to {values}.",
)

AGAIN = (
    "Of {values}, one needs another look: {again}.",
    "Audit of {values}: {again}. Please do it once more.",
    "Before we go on with {values}: {again}.",
    "I compared {values} with the question; {again}.",
    "Not all of {values} can stay. {again}, please repeat.",
    "One thing about {values}: {again}.",
)

COMPUTE = (
    "Working out {slot} as {expression}.",
    "{slot}: {expression}, asking the calculator.",
    "Calculator, please: {expression} (for {slot}).",
    "For {slot} I enter {expression}.",
    "Now {slot}, which is {expression}.",
    "With the figures filled in, {slot} reads {expression}.",
    "Entering {expression} to get {slot}.",
    "The calculation for {slot} is {expression}.",
)

RECOUNT = (
    "Working {slot} out again: {expression}.",
    "{slot} once more, {expression}; the calculator's result counts.",
    "Replacing {slot} by the result of {expression}.",
    "New calculation of {slot}: {expression}.",
    "{slot} now reads {expression}, I take the result as it is shown.",
    "Entering {expression}; its result is {slot} from here on.",
)

STATE = (
    "{slot} = {formula} = {value}.",
    "So {slot} comes to {value}.",
    "That makes {slot} {value} ({formula}).",
    "The calculator's result goes into {slot}: {value}.",
    "{value} it is, for {slot}.",
    "{formula} works out to {value}, noted as {slot}.",
    "Noting {slot}: {value}.",
    "Result of {slot}, that is {formula}: {value}.",
)

ANSWER = (
    "The answer is {value}.",
    "{value}.",
    "In the unit asked for, that is {value}.",
    "Final answer: {value}.",
    "Having put it all together, we get {value}.",
    "The figure you asked for is {value}.",
    "Our result: {value}.",
    "It comes to {value}.",
)

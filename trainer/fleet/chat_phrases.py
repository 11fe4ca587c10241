"""How the agents of the order chat put things; a wrong move is said in the same words as a right one."""

OPEN = (
    "New order by {name}: {tier} account, zone {zone}. Handing over to {to}.",
    "@{to}, this one is yours. {name}, {tier}, delivery zone {zone}.",
    "Ticket opened for {name} ({tier} account, ships to zone {zone}). {to}, please take over.",
    "{to}: please handle the order of {name}. Account level {tier}, zone {zone}.",
    "Welcome, {name}. I noted a {tier} account and zone {zone}; {to} will look after you.",
    "Passing {name} to {to}, with account {tier} and zone {zone} on the ticket.",
    "Ticket: customer {name}, zone {zone}, {tier}. Next is {to}.",
    "{name} writes from zone {zone}, {tier} customer. Over to {to}.",
)

BOUNCE = (
    "This belongs with {to}, handing it on.",
    "@{to}, I think this is for you.",
    "Nothing for me to do yet; {to}, please.",
    "Redirecting to {to}.",
    "That is {to}'s part. Forwarded.",
    "{to} has to act first, so over to {to}.",
    "Not mine at this point, {to} please take it.",
)

RECORD = (
    "Order recorded: {lines}. @{to}, please go ahead.",
    "I have {lines} on the order. Over to {to}.",
    "{to}: the customer wants {lines}.",
    "The order reads {lines}; {to} is next.",
    "Wrote down {lines}. Handing over to {to}.",
    "To be delivered: {lines}. {to}, this is for you.",
    "Lines of this order are {lines}. Next, {to}.",
    "Please process {lines}, {to}.",
)

CHANGE = (
    "Sorry, one more thing: make it {quantity} x {item}, please.",
    "I changed my mind about the {item}: {quantity} of them, the rest as before.",
    "Could you change the {item} to {quantity}? Thank you.",
    "Please make the number of {item} {quantity} instead.",
    "About the {item}: I need {quantity}, not what I wrote.",
)

CHECK = (
    "Checking the shelf for {item}.",
    "How many of {item} do we have?",
    "Asking the stock system about {item}.",
    "Stock query: {item}.",
    "Looking at {item}.",
    "Let me see the stock of {item}.",
    "Counting {item}.",
    "Stock of {item}, please.",
)

MORE = (
    "Warehouse here: another {quantity} x {item} have just come in.",
    "Delivery at the gate, {quantity} more {item} are on the shelf now.",
    "For your information: plus {quantity} {item}.",
    "We put {quantity} x {item} from a customer return back into stock.",
)

FEWER = (
    "Warehouse here: {quantity} x {item} were found broken and are out of stock now.",
    "Another order took {quantity} {item} off the shelf just now.",
    "For your information: minus {quantity} {item}.",
    "{quantity} x {item} had to go to an earlier order.",
)

RESERVE = (
    "Reserving {lines}.",
    "Setting aside {lines} for this order.",
    "With the stock as it is, I reserve {lines}.",
    "From stock and the customer's wish follows {lines}.",
    "Putting {lines} on hold for shipping.",
    "We can send {lines}; reserving that.",
    "Reservation: {lines}.",
    "That leaves us with {lines}, which I reserve now.",
)

WEIGH = (
    "Putting the goods on the scale.",
    "Weighing the parcel.",
    "What does it all weigh?",
    "The scale's reading is attached.",
    "Weighing what inventory set aside.",
    "Packed, and on the scale now.",
    "Parcel weight, please.",
)

LABEL = (
    "This goes by {carrier}, the fee is {fee}. Billing, please.",
    "Carrier {carrier}, delivery {fee}. @billing",
    "Label printed: {carrier} at {fee}. Over to billing.",
    "For this weight and zone it is {carrier}, which costs {fee}. Billing is next.",
    "I booked {carrier} for {fee}; billing can write the invoice.",
    "Delivery by {carrier}. Please bill {fee} for it.",
    "{carrier} takes it, {fee}. Billing, your turn.",
)

PRICE = (
    "Fetching the prices.",
    "Price list, please.",
    "Asking for the unit prices of this order.",
    "Unit prices are attached.",
    "Looking the prices up.",
    "Getting the prices of what was reserved.",
    "Prices for the invoice:",
)

INVOICE = (
    "Goods {goods}, discount {off}, delivery {fee}: total {total}. Triage, please close.",
    "The invoice comes to {total} ({goods} less {off}, plus {fee} delivery). @triage",
    "Invoice written: {goods} - {off} + {fee} = {total}. Back to triage.",
    "Total {total}. It is made up of goods at {goods}, {off} off, and {fee} for delivery. Triage is next.",
    "Billing {total}: {goods} for the goods, minus {off}, and {fee} carriage. Over to triage.",
    "To pay: {total}, that is {goods} minus {off} plus {fee}. Triage can finish this.",
    "I charge {total}. Goods {goods}; off {off}; delivery {fee}. Handing to triage.",
)

CONFIRM = (
    "Your order is confirmed: {lines}, {total} in total.",
    "All set. You will get {lines}, and we charge {total}.",
    "Checked against your message: {lines} for {total}. Thank you for your order.",
    "Confirmed. {lines}; the amount is {total}.",
    "Everything is in place: {lines} at {total}.",
    "Thank you, {lines} will be on the way. The invoice is {total}.",
    "Closing this ticket, {lines} for {total}.",
)

RETURN = (
    "Before I close this, {to} should go over it again. The ticket says {tier}, zone {zone}.",
    "@{to}, please compare your part with the customer's messages once more ({tier} account, zone {zone}).",
    "I compared this with the request: {to}, please redo your part. Account {tier}, zone {zone}.",
    "Not closing yet. {to}, have another look; customer is {tier}, zone {zone}.",
    "Back to {to}: this should match the customer's wish, with account {tier} and zone {zone}.",
)

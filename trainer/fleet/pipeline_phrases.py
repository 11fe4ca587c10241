"""How the agents of the coding pipeline put things; a wrong move is said in the same words as a right one."""

LISTS = ("{}. {}", "({}) {}", "step {}: {}", "{}) {}", "#{} {}", "- no. {}: {}")

PLAN = (
    "Here is how I read the task:",
    "Breaking the request down:",
    "The work falls into these stages:",
    "Plan for the coder:",
    "In order, this is what the program has to do:",
    "Decomposition, one function each:",
    "I went through the request sentence by sentence; the stages are:",
    "Please implement these, in this order:",
    "The outline:",
    "What we are asked for comes down to this:",
)

WRITE = (
    "Function {name} does stage {place} of the plan:",
    "Stage {place} is {name}:",
    "Implemented number {place} as {name}:",
    "{name} covers item {place}:",
    "For stage {place} I wrote {name}:",
    "Here comes {name}, the code of stage {place}:",
    "Item {place} of the plan, as code, named {name}:",
    "{name}, kept short:",
    "The next function, {name}, follows item {place}:",
    "Wrote {name} to match point {place}:",
)

ASSEMBLE = (
    "Putting it together: {order}.",
    "solve calls {order}.",
    "Wired the functions up as {order}:",
    "The whole program runs {order} in this sequence.",
    "Assembled; the calls are {order}.",
    "All functions are in place, chained as {order}.",
    "The chain is {order}.",
    "Joined the pieces ({order}) into one program.",
)

TESTS = (
    "Worked these expectations out by hand from the request:",
    "Tests, derived from the task text:",
    "What the program has to meet:",
    "I computed the expected values on paper:",
    "Test cases for this task:",
    "Following the request, these must hold:",
    "Here is what I will test:",
    "Picked from the inputs and worked through them stage by stage:",
    "The checks:",
)

RUN = (
    "Running the tests on the current revision.",
    "Test run started, the report is attached.",
    "Executing the checks.",
    "Ran the cases against the latest code.",
    "The runner's report is below.",
    "Here is what the runner says.",
    "Tried the current program on the cases.",
    "Test report attached.",
)

PASSED = (
    "The report looks fine, passing it on for review.",
    "The cases give what I expected. Over to the reviewer.",
    "Tests are green from my side.",
    "No complaint from the tests; reviewer, please go ahead.",
    "The program does what the cases ask.",
    "Went through the report: all as it should be.",
    "Test stage complete, nothing to send back.",
    "The outputs agree with the expectations.",
    "This can go to review.",
)

FAILED = (
    "Case {number} does not come out: for {values} I expect {expected}. Back to the coder.",
    "Sending this back, {values} should give {expected} (case {number}).",
    "Test {number} disagrees; {expected} was expected for {values}.",
    "Please look at case {number}: input {values}, expected {expected}.",
    "Not yet: with {values} the answer has to be {expected}, see case {number}.",
    "The report shows a difference in case {number}, {values} must yield {expected}.",
    "Coder, case {number} needs another look. {values} ought to return {expected}.",
)

LEFT_OPEN = (
    "Case {number} still stands: {expected} was expected for {values}. Leaving it to the reviewer.",
    "For the reviewer: with {values} I would expect {expected} (case {number}).",
    "Handing over with case {number} open, {values} should give {expected}.",
    "Reviewer, note case {number}, where {values} ought to return {expected}.",
    "We have been through this; case {number} with {values} and {expected} goes to review as it is.",
)

REPAIR = (
    "Found it and rewrote the program:",
    "Went back to the request and corrected the code:",
    "New revision:",
    "This version takes the remark into account:",
    "Reworked after the feedback:",
    "I compared the code with the text again; the corrected program:",
    "Fixed, please run it again:",
    "Here is the changed program:",
    "Updated the code accordingly:",
    "Another revision, with the cause removed:",
)

DISPUTE = (
    "I read the request again and the code does what it says; please work the expected values out once more.",
    "The program follows the task. I think the expectation itself needs another look.",
    "Traced the case through the code: the program agrees with the request, so please recompute the test.",
    "Nothing to change in the code as I see it. Tester, can you derive the expectations again?",
    "The stages are what was asked for; I suspect the test rather than the program.",
    "Compared code and request line by line and they agree, so the case should be revisited.",
)

DEFEND = (
    "I read that part again, it does what the request says. Leaving it as it is.",
    "Compared the function with the task text once more: they agree, so no change.",
    "The remark doesn't hold against the request; please look at it again.",
    "That function is as asked for. Kept unchanged.",
    "Checked against the text, the code stands as it was.",
    "No change here: request and code say the same.",
)

APPROVE = (
    "Reviewed, the program matches the request. Approved.",
    "I went through every function and have no remarks.",
    "Looks right to me, the publisher can take over.",
    "Approved for release.",
    "The code reads well and does what was asked.",
    "Compared it with the task, fine by me.",
    "Review complete, nothing to change.",
    "Good work. Releasing this is fine.",
    "No remarks, go ahead.",
    "It follows the request stage by stage; accepted.",
)

REMARK = (
    "Before this goes out, {names} should be compared with the request again.",
    "I don't think {names} does what the task says.",
    "Please rework {names}; it departs from the request.",
    "One remark: {names} and the task text differ.",
    "Not approved yet, see {names}.",
    "{names} reads differently from what was asked for, please correct it.",
    "Back to the coder for {names}.",
)

PUBLISH = (
    "Release manifest: revision {revision}, scale {scale}.",
    "Going out is revision {revision} with its result times {scale}.",
    "I will publish revision {revision}; results are multiplied by {scale}.",
    "Manifest settled on scale {scale} and revision {revision}.",
    "Preparing the release of revision {revision}, factor {scale}.",
    "The release uses revision {revision} and a factor of {scale}.",
    "Revision {revision} it is, delivered with factor {scale}.",
    "Scale {scale}, revision {revision}: manifest written.",
)

RELEASE = (
    "Calling the release tool with this manifest.",
    "Released.",
    "The release is out, see the tool's answer.",
    "Published as described in the manifest.",
    "Pushed the release.",
    "It is live now.",
    "Release done.",
    "Sent to the registry as planned.",
)

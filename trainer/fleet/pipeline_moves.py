"""The moves of the coding pipeline: what each agent may decide, how it says it, and what it changes on the bench."""

from dataclasses import dataclass, replace

from schemas import StepKind, ToolUse
from schemas.fields import Attributes

from . import pipeline_phrases as say
from .bench import Bench, Case, Part, Phase, function, solve, source
from .chance import Voice
from .sandbox import Output
from .stages import Stage
from .system import Said

ROUNDS = 2
"""So often the tests send a draft back."""


def _block(code: str) -> str:
    return f"```python\n{code}```"


@dataclass(frozen=True)
class Plan:
    """The planner's reading of the task."""

    stages: tuple[Stage, ...]

    def said(self, state: Bench, voice: Voice) -> Said:
        """List the stages."""
        del state
        style = voice.one_of(say.LISTS)
        lines = [style.format(i + 1, stage.words(voice.one_of(range(3)))) for i, stage in enumerate(self.stages)]
        return Said(StepKind.PLAN, "\n".join([voice.say(say.PLAN), *lines]))

    def applied(self, state: Bench) -> Bench:
        """Hand the plan to the coder."""
        return replace(state, plan=self.stages, phase=Phase.CODE)


@dataclass(frozen=True)
class Write:
    """The coder writes the function of the next stage."""

    part: Part

    def said(self, state: Bench, voice: Voice) -> Said:
        """Show the function."""
        number, name = self.part.number, state.recipe.name
        text = voice.say(say.WRITE).format(place=number, name=name.format(number))
        return Said(StepKind.LLM, f"{text}\n{_block(function(name, self.part))}")

    def applied(self, state: Bench) -> Bench:
        """Add it to the draft."""
        draft = (*state.draft, self.part)
        return replace(state, draft=draft, phase=Phase.ASSEMBLE if len(draft) == len(state.plan) else Phase.CODE)


@dataclass(frozen=True)
class Assemble:
    """The coder puts the functions together, in an order."""

    order: tuple[int, ...]

    def parts(self, state: Bench) -> tuple[Part, ...]:
        """Return the draft in that order."""
        return tuple(state.draft[place] for place in self.order)

    def said(self, state: Bench, voice: Voice) -> Said:
        """Show `solve`."""
        name, parts = state.recipe.name, self.parts(state)
        text = voice.say(say.ASSEMBLE).format(order=", ".join(name.format(part.number) for part in parts))
        return Said(StepKind.LLM, f"{text}\n{_block(solve(name, parts))}")

    def applied(self, state: Bench) -> Bench:
        """Make it the first revision."""
        draft = self.parts(state)
        return replace(state, draft=draft, revisions=(draft,), phase=Phase.TESTS)


@dataclass(frozen=True)
class WriteTests:
    """The tester works out what a few inputs should give."""

    cases: tuple[Case, ...]

    def said(self, state: Bench, voice: Voice) -> Said:
        """List the tests."""
        rows = [f"assert solve({list(state.recipe.pool[case.index])}) == {case.expected}" for case in self.cases]
        code = _block("".join(f"{row}\n" for row in rows))
        return Said(StepKind.LLM, f"{voice.say(say.TESTS)}\n{code}")

    def applied(self, state: Bench) -> Bench:
        """Put them beside the draft."""
        return replace(state, cases=self.cases, phase=Phase.RUN)


@dataclass(frozen=True)
class Run:
    """The tester runs the tests."""

    def said(self, state: Bench, voice: Voice) -> Said:
        """Run them and show what came out."""
        pool = state.recipe.pool
        tool = ToolUse(
            name="run_tests",
            arguments={"revision": len(state.revisions)},
            result=[_row(pool[case.index], case, got) for case, got in state.results()],
        )
        return Said(StepKind.TOOL_CALL, voice.say(say.RUN), tool)

    def applied(self, state: Bench) -> Bench:
        """Give the report to the tester."""
        return replace(state, phase=Phase.JUDGE)


def _row(values: tuple[int, ...], case: Case, got: Output) -> Attributes:
    return {"input": list(values), "expected": case.expected, "got": got.error or got.value}


@dataclass(frozen=True)
class Judge:
    """The tester's conclusion: the number of a failing test, or none."""

    failing: int | None

    def said(self, state: Bench, voice: Voice) -> Said:
        """Send the draft back, or on."""
        if self.failing is None:
            return Said(StepKind.MESSAGE, voice.say(say.PASSED))
        case = state.cases[self.failing]
        values = list(state.recipe.pool[case.index])
        options = say.FAILED if state.rounds < ROUNDS else say.LEFT_OPEN
        text = voice.say(options).format(number=self.failing + 1, values=values, expected=case.expected)
        return Said(StepKind.MESSAGE, text)

    def applied(self, state: Bench) -> Bench:
        """Back to the coder while there are rounds left."""
        if self.failing is None or state.rounds >= ROUNDS:
            return replace(state, flags=None, phase=Phase.REVIEW)
        return replace(state, flags=None, rounds=state.rounds + 1, phase=Phase.FIX)


@dataclass(frozen=True)
class Repair:
    """The coder rewrites the draft."""

    parts: tuple[Part, ...]

    def said(self, state: Bench, voice: Voice) -> Said:
        """Show the new revision."""
        return Said(StepKind.LLM, f"{voice.say(say.REPAIR)}\n{_block(source(state.recipe.name, self.parts))}")

    def applied(self, state: Bench) -> Bench:
        """Add a revision, and test it."""
        return replace(state, draft=self.parts, revisions=(*state.revisions, self.parts), phase=Phase.RUN)


@dataclass(frozen=True)
class Dispute:
    """The coder holds that the test is wrong."""

    def said(self, state: Bench, voice: Voice) -> Said:
        """Ask the tester to work the expectations out again."""
        del state
        return Said(StepKind.MESSAGE, voice.say(say.DISPUTE))

    def applied(self, state: Bench) -> Bench:
        """Have the tests written again."""
        return replace(state, phase=Phase.TESTS)


@dataclass(frozen=True)
class Defend:
    """The coder holds that the reviewer's remark is wrong."""

    def said(self, state: Bench, voice: Voice) -> Said:
        """Leave the program as it is."""
        del state
        return Said(StepKind.MESSAGE, voice.say(say.DEFEND))

    def applied(self, state: Bench) -> Bench:
        """Ask for another review."""
        return replace(state, flags=None, phase=Phase.REVIEW)


@dataclass(frozen=True)
class Review:
    """The reviewer's remarks: the places in the program that don't do what the task says."""

    flags: tuple[int, ...]

    def said(self, state: Bench, voice: Voice) -> Said:
        """Approve, or name the functions."""
        if not self.flags:
            return Said(StepKind.GUARDRAIL, voice.say(say.APPROVE))
        names = ", ".join(state.recipe.name.format(state.draft[place].number) for place in self.flags)
        return Said(StepKind.GUARDRAIL, voice.say(say.REMARK).format(names=names))

    def applied(self, state: Bench) -> Bench:
        """Back to the coder, once."""
        if not self.flags or state.reviewed:
            return replace(state, phase=Phase.PUBLISH)
        return replace(state, flags=self.flags, reviewed=True, phase=Phase.FIX)


@dataclass(frozen=True)
class Publish:
    """The publisher picks what goes out, and its scale."""

    revision: int
    scale: int

    def said(self, state: Bench, voice: Voice) -> Said:
        """Write the release notes."""
        del state
        return Said(StepKind.MESSAGE, voice.say(say.PUBLISH).format(revision=self.revision + 1, scale=self.scale))

    def applied(self, state: Bench) -> Bench:
        """Settle the manifest."""
        return replace(state, revision=self.revision, scale=self.scale, phase=Phase.RELEASE)


@dataclass(frozen=True)
class Release:
    """The publisher releases what its manifest names."""

    def said(self, state: Bench, voice: Voice) -> Said:
        """Call the release tool."""
        tool = ToolUse(
            name="release",
            arguments={"entry": "solve", "revision": state.revision + 1, "scale": state.scale},
            result={"released": True, "of": len(state.revisions)},
        )
        return Said(StepKind.TOOL_CALL, voice.say(say.RELEASE), tool)

    def applied(self, state: Bench) -> Bench:
        """End the run."""
        return replace(state, phase=Phase.DONE)

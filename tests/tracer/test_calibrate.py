"""What a raw confidence is worth, fitted on labels."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SettingsError
from tracer.calibrate import Calibration, Kind, Pair, brier, expected_calibration_error, fit, load, save

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()).map(lambda drawn: Pair(*drawn)), min_size=1, max_size=60)


def fitted(pairs: list[Pair], kind: Kind, least: int = 1) -> Calibration:
    return fit(pairs, kind=kind, method="agentracer", prompt_version="p1", least=least)


def at(raw: float, right: int, wrong: int) -> list[Pair]:
    return [Pair(raw, is_right=True)] * right + [Pair(raw, is_right=False)] * wrong


@pytest.mark.parametrize("kind", Kind)
def test_an_overconfident_tracer_learns_how_often_it_is_right(kind: Kind) -> None:
    pairs = at(0.9, 600, 400) + at(0.1, 400, 600)
    calibration = fitted(pairs, kind)
    assert calibration.apply(0.9) == pytest.approx(0.6, abs=0.01)
    assert calibration.apply(0.1) == pytest.approx(0.4, abs=0.01)


def test_platt_moves_what_is_too_high_everywhere_where_a_temperature_cannot() -> None:
    pairs = at(0.5, 100, 900)
    assert fitted(pairs, Kind.PLATT).apply(0.5) == pytest.approx(0.1, abs=0.01)
    assert fitted(pairs, Kind.TEMPERATURE).apply(0.5) == 0.5


def test_isotonic_pools_neighbours_that_fall() -> None:
    calibration = fitted(at(0.2, 1, 9) + at(0.4, 8, 2) + at(0.6, 2, 8) + at(0.9, 9, 1), Kind.ISOTONIC)
    assert calibration.knots == ((0.2, 0.1), (0.4, 0.5), (0.6, 0.5), (0.9, 0.9))
    assert [calibration.apply(raw) for raw in (0.0, 0.3, 0.5, 1.0)] == pytest.approx([0.1, 0.3, 0.5, 0.9])


@pytest.mark.parametrize("kind", Kind)
def test_what_was_always_right_is_never_certain(kind: Kind) -> None:
    assert 0.9 < fitted(at(0.9, 100, 0), kind).apply(0.9) < 1.0


@given(PAIRS, st.sampled_from(Kind), st.floats(0, 1), st.floats(0, 1))
def test_a_map_never_falls_and_stays_a_probability(pairs: list[Pair], kind: Kind, one: float, other: float) -> None:
    calibration = fitted(pairs, kind)
    low, high = calibration.apply(min(one, other)), calibration.apply(max(one, other))
    assert 0.0 <= low <= high + 1e-12 <= 1.0 + 1e-12


@given(PAIRS)
def test_an_isotonic_map_is_no_worse_on_its_own_labels_than_saying_the_share_of_right_ones(pairs: list[Pair]) -> None:
    calibration = fitted(pairs, Kind.ISOTONIC)
    share = sum(pair.is_right for pair in pairs) / len(pairs)
    mapped = [Pair(calibration.apply(pair.raw), pair.is_right) for pair in pairs]
    held = (1.0 / (len(pairs) + 2.0)) ** 2
    assert brier(mapped) <= brier([Pair(share, pair.is_right) for pair in pairs]) + held + 1e-12


def test_fewer_labels_than_wanted_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"'agentracer' needs 5 labels and was given 4; label more runs"):
        fitted(at(0.5, 2, 2), Kind.PLATT, least=5)
    with pytest.raises(SettingsError, match="needs 1 labels and was given 0"):
        fitted([], Kind.ISOTONIC, least=0)


@pytest.mark.parametrize("kind", Kind)
def test_it_is_stored_beside_an_adapter_and_read_back_the_same(kind: Kind, tmp_path: Path) -> None:
    calibration = fitted(at(0.3, 1, 2) + at(0.8, 2, 1), kind)
    save(calibration, tmp_path)
    assert load(tmp_path) == calibration
    assert calibration.fits("agentracer", "p1")
    assert not calibration.fits("agentracer", "p2")
    assert not calibration.fits("step_scores", "p1")


def test_without_a_file_there_is_no_calibration(tmp_path: Path) -> None:
    assert load(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"kind": "isotonic", "method": "m", "prompt_version": "p", "labels": 3}', "\ud800"]
)
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SettingsError, match=r"is no calibration; fit it again or take it away"):
        load(tmp_path)


def test_another_map_has_another_id() -> None:
    one, other = fitted(at(0.3, 1, 2), Kind.PLATT), fitted(at(0.3, 2, 1), Kind.PLATT)
    assert one.id == fitted(at(0.3, 1, 2), Kind.PLATT).id != other.id


def test_the_calibration_error_by_hand() -> None:
    assert expected_calibration_error(at(0.8, 8, 2)) == pytest.approx(0.0)
    assert expected_calibration_error(at(0.9, 1, 1) + at(0.1, 1, 1)) == pytest.approx(0.4)
    assert expected_calibration_error(at(1.0, 0, 3)) == 1.0


def test_the_brier_score_by_hand() -> None:
    assert brier(at(1.0, 1, 1)) == 0.5
    assert brier(at(0.5, 3, 1)) == 0.25
    assert math.isclose(brier(at(0.8, 1, 0)), 0.04)

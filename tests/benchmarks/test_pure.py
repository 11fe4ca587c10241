"""The benchmarks that need no broker, small: what they count is held, what they time is not."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import assembler, memory
from benchmarks.alone import alone
from benchmarks.report import Result, Target, in_pairs, ratio_of, table
from benchmarks.sampler import show
from benchmarks.soak import Stored, growth, sparkline
from benchmarks.state import between, outliving
from tests.benchmarks import busy


def test_the_state_of_steps_that_outlive_a_checkpoint_is_little_more_than_the_steps() -> None:
    for steps in (1, 10):
        weight = outliving(steps, laps=1, opened_at_once=40)
        assert weight.steps < weight.state <= 1.2 * weight.steps


def test_the_state_of_runs_between_two_checkpoints_is_a_few_bytes_a_step() -> None:
    short, long = between(10, 20), between(100, 20)
    assert 0 < (long.state - short.state) / 20 / 90 <= 16


def test_memory_counts_what_is_held() -> None:
    few, many = (memory.measure_open(20, steps, traced=False)["counted"] for steps in (2, 4))
    assert many == pytest.approx(2 * few, rel=0.05)
    assert memory.measure_closed(20, 4, traced=False)["counted"] < few


def test_the_assembler_is_driven_until_all_has_ended() -> None:
    assert assembler.measure_length(2, 10, laps=1) > 0
    assert assembler.measure_open(20, 200)["assemble"] > 0


def test_the_sampler_charges_what_was_used_to_whoever_used_it() -> None:
    found = alone(busy.profiled, 0.5)
    used = found["groups"]
    assert used["main: inner"] == pytest.approx(0.375, rel=0.2)
    assert used["main: outer"] == pytest.approx(0.125, rel=0.5)
    assert used.get("waits: other", 0.0) < 0.01
    assert sum(used.values()) == pytest.approx(found["total"], rel=0.05)


def test_a_measurement_that_fails_in_its_own_process_says_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="as it should"):
        alone(busy.failing)


def test_pairs_are_measured_in_turn_and_whoever_begins_alternates() -> None:
    order: list[str] = []

    def ours() -> float:
        order.append("ours")
        return 3.0

    def bare() -> float:
        order.append("bare")
        return 4.0

    assert ratio_of(in_pairs(2, "test", ours, bare)) == 0.75
    assert order == ["bare", "ours", "ours", "bare"]


def test_a_result_says_whether_its_target_is_met() -> None:
    met = Result("a", "b", "c", "d", 0.5, Target(at_least=0.5))
    missed = Result("a", "b", "c", "d", 1.31, Target(at_most=1.3))
    assert (met.verdict, missed.verdict) == ("met", "MISSED")
    assert "| **1.31** | ≤ 1.3 | MISSED |" in table([met, missed])


def test_growth_leaves_the_warm_up_out() -> None:
    times = [float(second) for second in range(0, 4_000, 100)]
    warming = [second * 1e6 if second < 1_000 else 1e9 for second in times]
    flat = growth(times, warming)
    assert flat.mb_an_hour == pytest.approx(0)
    assert flat.last_over_first == pytest.approx(1)
    leaking = [1e9 + second * 1e3 for second in times]
    assert growth(times, leaking).mb_an_hour == pytest.approx(3.6)


def test_a_sparkline_has_its_lowest_and_highest() -> None:
    assert sparkline([0, 7, 14]) == "▁▅█"
    assert sparkline([5, 5]) == "▁▁"
    assert len(sparkline(list(range(1_000)))) == 60


def test_a_store_with_a_step_twice_or_one_verdict_less_does_not_hold_everything() -> None:
    done = busy.sent(steps=100, runs=10, failures=2)
    assert Stored(100, 100, 2, 2, 10).is_all(done)
    assert not Stored(101, 100, 2, 2, 10).is_all(done)
    assert not Stored(100, 100, 1, 1, 10).is_all(done)
    assert not Stored(100, 100, 2, 2, 9).is_all(done)


def test_the_command_refuses_a_benchmark_that_there_is_not() -> None:
    with pytest.raises(SystemExit):
        command.main(["--only", "nothing"])


def test_the_command_prints_a_table_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    assert command.main(["--only", "state", "--quick", "--json", str(file)]) == 0
    printed, written = capsys.readouterr().out, json.loads(file.read_text())
    assert [one["name"] for one in written["results"]] == ["state, outlives", "state, outlives", "state, between"]
    assert all(one["verdict"] == "met" for one in written["results"])
    assert printed.count("| met |") == 3


def test_a_profile_is_told_by_the_event() -> None:
    assert "3.00 µs of CPU an event" in show(busy.profile(3e-3), events=1_000)

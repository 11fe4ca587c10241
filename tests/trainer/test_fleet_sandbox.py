"""Programs are really run, under limits; the decisions of luck, the calculator and the tables, by hand."""

import time

import pytest

from trainer.fleet import sandbox
from trainer.fleet.sandbox import OUT_OF_LIMITS, Output, run

INPUTS = ((1, 2), (3,), ())


def outputs(body: str, before: str = "") -> tuple[Output, ...]:
    """Run a program with that body."""
    return run(f"{before}\ndef solve(values):\n    {body}\n", "solve", INPUTS)


def test_a_program_is_run_on_every_input() -> None:
    assert outputs("return sum(values)") == (Output(3), Output(3), Output(0))


def test_what_a_program_raises_is_an_output_of_that_input_alone() -> None:
    assert outputs("return 6 // len(values)") == (
        Output(3),
        Output(6),
        Output(None, "ZeroDivisionError: integer division or modulo by zero"),
    )


def test_a_program_that_is_none_is_an_error_for_every_input() -> None:
    found = outputs("return (")
    assert len(found) == 3
    assert all(str(output.error).startswith("SyntaxError") for output in found)


@pytest.mark.parametrize("body", ["return values", "return True", "return 1.5", "return None", "return 'x'"])
def test_only_a_whole_number_is_an_answer(body: str) -> None:
    assert {output.value for output in outputs(body)} == {None}
    assert all("not a whole number" in str(output.error) for output in outputs(body))


def test_an_endless_loop_is_ended_by_the_time_limit() -> None:
    began = time.monotonic()
    assert outputs("while True: pass") == (Output(None, OUT_OF_LIMITS),) * 3
    assert time.monotonic() - began < 8


def test_a_program_that_only_waits_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 0.7)
    began = time.monotonic()
    assert outputs("time.sleep(60)", before="import time") == (Output(None, OUT_OF_LIMITS),) * 3
    assert time.monotonic() - began < 5


def test_a_program_cannot_fill_the_memory() -> None:
    assert all("MemoryError" in str(output.error) for output in outputs("return len([0] * 10**9)"))


def test_a_program_cannot_fill_the_disk_or_the_answer() -> None:
    found = outputs("while True: os.write(3, b'1' * 4096)", before="import os")
    assert all(output.value is None for output in found)


def test_what_a_program_prints_is_not_its_answer() -> None:
    assert outputs("return len(values)", before="print('7\\n7\\n7')") == (Output(2), Output(1), Output(0))


@pytest.mark.parametrize("body", ["os._exit(0)", "raise SystemExit", "os.kill(os.getpid(), 11)"])
def test_a_program_that_ends_its_process_has_no_answer(body: str) -> None:
    assert {output.value for output in outputs(body, before="import os")} == {None}


def test_the_same_program_on_the_same_inputs_runs_once() -> None:
    before = run.cache_info()
    first = outputs("return len(values) + 1234")
    assert outputs("return len(values) + 1234") == first
    after = run.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)

"""Programs are really run, in a process of their own, under limits; what a program does wrong is its output."""

import os
import time
from pathlib import Path

import pytest

from trainer.fleet import sandbox
from trainer.fleet.sandbox import ERROR_CHARACTERS, OUT_OF_LIMITS, Inputs, Output, run

INPUTS: Inputs = ((1, 2), (3,), ())


def outputs(body: str, before: str = "", inputs: Inputs = INPUTS) -> tuple[Output, ...]:
    """Run a program with that body."""
    return run(f"{before}\ndef solve(values):\n    {body}\n", "solve", inputs)


def errors(body: str, before: str = "") -> set[str]:
    """Run a program that gives no answer; return its errors."""
    found = outputs(body, before)
    assert len(found) == len(INPUTS)
    assert {output.value for output in found} == {None}
    return {str(output.error) for output in found}


def alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_is_run_on_every_input_in_order() -> None:
    assert outputs("return sum(values)") == (Output(3), Output(3), Output(0))
    assert outputs("return -sum(values)") == (Output(-3), Output(-3), Output(0))
    assert outputs("return 1", inputs=()) == ()


def test_many_inputs_and_long_ones_come_through() -> None:
    inputs = tuple((n, -n, 10**12) for n in range(500))
    assert outputs("return max(values) + min(values)", inputs=inputs) == tuple(Output(10**12 - n) for n in range(500))
    assert outputs("return len(values)", inputs=(tuple(range(20_000)),)) == (Output(20_000),)


def test_a_program_gets_a_list_of_its_own_for_each_input() -> None:
    assert outputs("values.clear(); return isinstance(values, list) + 0") == (Output(1),) * 3
    assert outputs("values.append(9); return len(values)", inputs=((1,), (1,))) == (Output(2), Output(2))


def test_what_a_program_raises_is_an_output_of_that_input_alone() -> None:
    assert outputs("return 6 // len(values)") == (
        Output(3),
        Output(6),
        Output(None, "ZeroDivisionError: integer division or modulo by zero"),
    )


@pytest.mark.parametrize(
    ("body", "before", "error"),
    [
        ("return (", "", "SyntaxError"),
        ("return 1", "import nothing_of_that_name", "ModuleNotFoundError"),
        ("return 1", "raise ValueError('at once')", "ValueError: at once"),
        ("return solve(values)", "", "RecursionError"),
        ("return other(values)", "", "NameError: name 'other' is not defined"),
        ("raise ValueError('x' * 10_000)", "", "ValueError: xxxx"),
        ("raise ValueError('one\\ntwo')", "", "ValueError: one\\ntwo"),
        ("raise ValueError('ü☃ \\ud800')", "", "ValueError: \\xfc\\u2603 \\ud800"),
        ("return 10 ** 5000", "", "ValueError: Exceeds the limit"),
    ],
)
def test_an_error_is_told_by_its_name_in_one_short_line(body: str, before: str, error: str) -> None:
    (told,) = errors(body, before)
    assert told.startswith(error)
    assert len(told) <= ERROR_CHARACTERS
    assert "\n" not in told


@pytest.mark.parametrize("body", ["return values", "return True", "return 1.5", "return None", "return '7'", "pass"])
def test_only_a_whole_number_is_an_answer(body: str) -> None:
    (told,) = errors(body)
    assert "not a whole number" in told


def test_a_number_of_a_class_of_its_own_is_no_answer() -> None:
    (told,) = errors("return Seven(7)", before="class Seven(int):\n    pass")
    assert told == "TypeError: it returned 'Seven', not a whole number"


def test_a_program_without_its_entry_is_an_error() -> None:
    assert run("def other(values): return 1", "solve", ((1,),)) == (Output(None, "KeyError: 'solve'"),)
    assert "not a whole number" in str(run("solve = 3", "solve", ((1,),))[0].error)


@pytest.mark.parametrize("source", ["\0", "\ud800", "é = ("], ids=["a zero byte", "half a character", "half a line"])
def test_a_source_that_is_none_is_an_error_for_every_input(source: str) -> None:
    assert all(output.error for output in run(source, "solve", ((1,), (2,))))


def test_a_source_may_hold_any_characters() -> None:
    assert outputs("ä = '☃\\x00\\n\"\\''; return len(ä) + values[0]", inputs=((5,),)) == (Output(10),)


def test_an_endless_loop_is_ended_by_the_time_limit() -> None:
    began = time.monotonic()
    assert outputs("while True: pass") == (Output(None, OUT_OF_LIMITS),) * 3
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("body", "before"),
    [
        ("time.sleep(60)", "import time"),
        ("pass", "import time\ntime.sleep(60)"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", "import signal, time"),
    ],
)
def test_a_program_that_only_waits_is_ended_too(monkeypatch: pytest.MonkeyPatch, body: str, before: str) -> None:
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 0.4)
    began = time.monotonic()
    assert errors(body, before) == {OUT_OF_LIMITS}
    assert time.monotonic() - began < 4


def test_a_program_cannot_fill_the_memory() -> None:
    (told,) = errors("return len([0] * 10**9)")
    assert "MemoryError" in told


def test_a_program_cannot_fill_the_disk(tmp_path: Path) -> None:
    there = tmp_path / "filled"
    (told,) = errors(f"open({str(there)!r}, 'wb').write(b'1' * 10**7)")
    assert "OSError" in told
    assert there.stat().st_size <= 64 * 1024


def test_a_program_cannot_fill_the_answer() -> None:
    assert len(errors("while True: os.write(3, b'1' * 4096)", before="import os")) == 1


def test_a_program_cannot_open_files_without_end() -> None:
    (told,) = errors("kept.extend(open('/dev/null') for _ in range(100)); return 1", before="kept = []")
    assert "Too many open files" in told


def test_what_a_program_prints_or_reads_is_not_its_answer() -> None:
    assert outputs("return len(values)", before="print('7\\n7\\n7', flush=True)") == (Output(2), Output(1), Output(0))
    assert outputs("sys.stderr.write('7' * 10**6); return 4", before="import sys") == (Output(4),) * 3
    (told,) = errors("return int(input())")
    assert "EOFError" in told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("os._exit(0)", "it left no answer"),
        ("os._exit(3)", "the process ended with code 3"),
        ("raise SystemExit", "it left no answer"),
        ("raise SystemExit(4)", "the process ended with code 4"),
        ("raise KeyboardInterrupt", "the process ended with code -2"),
        ("os.kill(os.getpid(), 11)", "the process ended with code -11"),
        ("os.kill(os.getpid(), 9)", OUT_OF_LIMITS),
        ("os.kill(os.getpid(), 24)", OUT_OF_LIMITS),
    ],
)
def test_a_program_that_ends_its_process_has_no_answer(body: str, told: str) -> None:
    assert errors(body, before="import os") == {told}


def test_a_program_that_answers_too_little_or_too_much_has_no_answer() -> None:
    assert errors("os.write(3, b'1\\n'); os._exit(0)", before="import os") == {"it left no answer"}
    assert errors("os.write(3, b'1\\n'); return 1", before="import os") == {"it left no answer"}


def test_a_program_sees_nothing_of_the_process_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "hidden")
    body = "return len([name for name in os.environ if 'SECRET' in name])"
    assert outputs(body, before="import os") == (Output(0),) * 3
    assert outputs("return len(os.getcwd())", before="import os") == (Output(1),) * 3
    (told,) = errors("import pydantic; return 1")
    assert "ModuleNotFoundError" in told
    (told,) = errors("import trainer; return 1")
    assert "ModuleNotFoundError" in told


def test_a_program_inherits_no_open_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("x")
    with (tmp_path / "open").open() as held:
        os.set_inheritable(held.fileno(), True)
        body = "return sum(os.path.exists(f'/proc/self/fd/{n}') for n in range(5, 60))"
        assert outputs(body, before="import os") == (Output(0),) * 3


def test_a_program_is_handed_its_source_its_entry_and_the_inputs_and_no_more() -> None:
    body = "sys.stdin.seek(0); source, entry, inputs = eval(sys.stdin.read()); return len(inputs)"
    assert outputs(body, before="import sys") == (Output(3),) * 3


def test_what_a_program_starts_is_refused_or_ends_with_it() -> None:
    """Refused to everybody but root, whom the limit on processes does not hold."""
    starts = "import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(60)\n    os._exit(0)"
    found = set(outputs("return pid", before=starts))
    assert len(found) == 1
    for pid, error in found:
        assert pid or "BlockingIOError" in str(error)
        deadline = time.monotonic() + 3
        while pid and alive(pid):
            assert time.monotonic() < deadline, f"{pid} outlives the program that started it"
            time.sleep(0.02)


def test_the_same_program_on_the_same_inputs_runs_once() -> None:
    before = run.cache_info()
    first = outputs("return len(values) + 1234")
    assert outputs("return len(values) + 1234") == first
    after = run.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)


def test_another_program_other_inputs_or_another_entry_are_run_anew() -> None:
    source = "def solve(values):\n    return len(values)\ndef other(values):\n    return -len(values)\n"
    assert run(source, "solve", ((1, 2),)) == (Output(2),)
    assert run(source, "solve", ((1, 2, 3),)) == (Output(3),)
    assert run(source, "solve", ((1, 2), (1, 2, 3))) == (Output(2), Output(3))
    assert run(source, "other", ((1, 2),)) == (Output(-2),)
    assert run(source.replace("-len", "7 - len"), "other", ((1, 2),)) == (Output(5),)

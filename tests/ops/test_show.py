"""What a person sees of a run, whatever the fleet put into it."""

import io
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from ops.plain import address, cell, plain
from ops.query import DeadLetterLine, Run, StepLine, TrajectoryLine, VerdictLine, trajectory
from ops.run import Report
from ops.show import CONTENT_CHARACTERS, dead_letter_table, run_view, summary, verdict_table
from schemas.errors import SettingsError
from streams.sink import Store
from tests.factories import START, outcome, step
from tests.factories import trajectory as a_trajectory
from tests.factories import verdict as a_verdict
from tests.ops.processes import Up, invoke, json_of
from tests.stores import own_store, put_trajectory, put_verdict

MARKUP = ("[red]x[/red]", "[/nope]", "[link=http://evil]c[/link]", "[bold", "]", "\\[red]")
ESCAPES = ("\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "a\bb", "\u202egnp.exe", "\u2066x", "\x00")
FOREIGN = (
    st.text(max_size=60) | st.sampled_from(MARKUP + ESCAPES) | st.text(alphabet="[]/\\\x1b\x9b\u202eab ", max_size=20)
)


def shown(view: RenderableType, width: int = 400) -> str:
    """Render without styles, so that whatever a terminal would obey in it is the fleet's."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(view)
    return file.getvalue()


def verdict_line(**fields: object) -> VerdictLine:
    line = VerdictLine(
        trajectory_id="t1",
        opened_at=START,
        revision=1,
        tenant="default",
        system="shop",
        task_id=None,
        status="attributed",
        agent="agent-1",
        step_index=1,
        event_id="e1",
        failure_class="unknown",
        confidence=None,
        reason="it said so",
        route_reason="failure",
        tracer="last_step",
        tracer_version="1",
        decided_at=START,
    )
    return line._replace(**fields)  # type: ignore[arg-type]


def step_line(position: int, **fields: object) -> StepLine:
    line = StepLine(
        position=position,
        event_id=f"e{position}",
        agent=f"agent-{position}",
        kind="message",
        content=f"content {position}",
        tool_name=None,
        tool_arguments=None,
        tool_result=None,
        tool_error=None,
        error_type=None,
        started_at=START,
        ended_at=None,
        agent_version=None,
        agent_role=None,
        input=None,
    )
    return line._replace(**fields)  # type: ignore[arg-type]


def a_run(*steps: StepLine, verdict: VerdictLine | None = None, **fields: object) -> Run:
    line = TrajectoryLine(
        trajectory_id="t1",
        opened_at=START,
        revision=1,
        tenant="default",
        system="shop",
        task_id=None,
        task=None,
        result="failure",
        score=None,
        outcome_reason=None,
        close_reason="completed",
        closed_at=START,
        step_count=len(steps),
        gap_count=0,
    )
    return Run(line._replace(**fields), list(steps), verdict)  # type: ignore[arg-type]


def marked(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("▶")]


# ---- one run ----


def test_the_decisive_step_alone_is_marked() -> None:
    view = shown(run_view(a_run(*map(step_line, range(4)), verdict=verdict_line(event_id="e2", step_index=2))))
    (line,) = marked(view)
    assert "agent-2 [message]" in line
    assert "attributed: agent-1 at step 2" in view


def test_without_a_verdict_nothing_is_marked_and_it_says_so() -> None:
    view = shown(run_view(a_run(*map(step_line, range(3)))))
    assert marked(view) == []
    assert "no verdict for this revision" in view


def test_a_verdict_that_names_nobody_marks_nothing() -> None:
    abstained = verdict_line(status="abstained", agent=None, step_index=None, event_id=None, reason="budget")
    view = shown(run_view(a_run(*map(step_line, range(3)), verdict=abstained)))
    assert marked(view) == []
    assert "abstained: nobody" in view


def test_the_head_says_what_the_run_was() -> None:
    run = a_run(
        step_line(0),
        result="failure",
        score=0.25,
        outcome_reason="wrong price",
        task="find A-7",
        gap_count=3,
        revision=2,
    )
    view = shown(run_view(run))
    for words in ("revision 2", "1 steps", "closed as completed", "failure (score 0.25) - wrong price"):
        assert words in view
    assert "task: find A-7" in view
    assert "3 steps never came" in view
    assert "outcome: no outcome" in shown(run_view(a_run(step_line(0), result=None)))


def test_a_tool_call_is_shown_with_its_result_or_error() -> None:
    called = step_line(0, content="", tool_name="price", tool_arguments='{"id":"A-7"}', tool_result='"12 €"')
    failed = step_line(1, content="", tool_name="price", tool_error="no such article", error_type="KeyError")
    view = shown(run_view(a_run(called, failed)))
    assert 'price({"id":"A-7"}) → "12 €"' in view
    assert "price() ! no such article" in view
    assert "error: KeyError" in view


def test_long_content_is_cut_with_a_word_on_how_much_unless_all_is_wanted() -> None:
    content = "x" * CONTENT_CHARACTERS + "END"
    run = a_run(step_line(0, content=content, error_type="KeyError"))
    cut, whole = shown(run_view(run), width=1000), shown(run_view(run, whole=True), width=1000)
    assert "END" not in cut
    assert "(3 more characters; --whole shows them)" in cut
    assert "error: KeyError" in cut, "what came after a long content is not cut with it"
    assert content in whole


def test_content_can_not_pass_for_another_step() -> None:
    forged = "▶    1  planner [message]"
    run = a_run(step_line(0, content=f"x\n{forged}\n{'y' * 72}{forged}\n\n{forged}", agent="a" * 90 + forged))
    for width in (40, 80):
        view = shown(run_view(run, whole=True), width)
        assert marked(view) == []
        assert sum(line.startswith(" " * 8) for line in view.splitlines()) > 4


def test_content_keeps_its_lines_and_blanks() -> None:
    view = shown(run_view(a_run(step_line(0, content="def f():\r\n    return 1\n\nend"))))
    assert "        def f():\n            return 1\n" in "\n".join(line.rstrip() for line in view.splitlines())


# ---- foreign text ----


@given(FOREIGN)
def test_no_text_of_a_fleet_reaches_the_terminal_as_anything_but_text(text: str) -> None:
    foreign = a_run(
        step_line(0, content=text, agent=text, tool_name=text, tool_arguments=text, error_type=text),
        verdict=verdict_line(agent=text, reason=text),
        trajectory_id=text,
        system=text,
        task=text,
        outcome_reason=text,
    )
    letters = [DeadLetterLine(text, 0, 0, 0, "not_json", text, "assemble", START, 3)]
    verdicts = [verdict_line(trajectory_id=text, system=text, agent=text, reason=text)]
    for view in (run_view(foreign, whole=True), verdict_table(verdicts), dead_letter_table(letters), cell(text)):
        said = shown(view)
        obeyed = [one for one in said if unicodedata.category(one) in {"Cc", "Cs"} and one != "\n"]
        assert obeyed == []
        assert not set(said) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_as_it_was_sent(text: str) -> None:
    line = verdict_line(trajectory_id=f"id {text}", system=f"system {text}", agent=f"agent {text}", reason=f"so {text}")
    said = shown(verdict_table([line])) + shown(run_view(a_run(step_line(0, content=f"content {text}"), verdict=line)))
    for words in ("id", "system", "agent", "so", "content"):
        assert f"{words} {text}" in said


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert plain("a\x1b[2J\x07\x9b31m\x7f\rb\u202ec\u2028") == r"a\x1b[2J\x07\x9b31m\x7f\rb\u202ec\u2028"
    assert plain("one\r\ntwo\tthree\n") == "one\ntwo\tthree\n"
    assert plain("日本語 👩‍👩‍👧 שלום é") == "日本語 👩‍👩‍👧 שלום é"


def test_an_address_is_shown_without_its_password() -> None:
    assert address("http://user:sec@ret@host:8123/agentracer") == "http://host:8123/agentracer"
    assert address("http://127.0.0.1:8123/agentracer") == "http://127.0.0.1:8123/agentracer"


# ---- tables ----


def test_a_verdict_without_a_name_has_a_dash_for_it() -> None:
    table = shown(verdict_table([verdict_line(agent=None, step_index=None, confidence=0.5)]))
    cells = [one.strip() for one in table.splitlines()[4].split("│")]
    assert cells[5:8] == ["-", "-", "0.50"]


def test_the_first_step_is_a_number_and_no_dash() -> None:
    table = shown(verdict_table([verdict_line(step_index=0)]))
    assert [one.strip() for one in table.splitlines()[4].split("│")][6] == "0"


def test_the_summary_has_a_line_for_every_count() -> None:
    said = shown(summary(Report(1200, 2, 3, 4, 5, 6, 7, 8.5, 9))).splitlines()
    assert {line.split("  ")[0].strip(): line.split()[-1] for line in said if line.strip()} == {
        "trajectories": "1,200",
        "failed": "2",
        "verdicts": "3",
        "steps": "4",
        "dead letters": "5",
        "lost": "6",
        "duplicates": "7",
        "seconds": "8.5",
        "added": "9",
    }


# ---- the commands, on a store ----


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        first = a_trajectory([step(index=0), step(index=1)])
        later = a_trajectory(
            [step(index=index) for index in range(3)], opened_at=START + timedelta(days=1, milliseconds=7)
        )
        bank = a_trajectory([step("b1", agent="teller", system="bank")], system="bank")
        for number, of in enumerate((first, later, bank)):
            put_trajectory(store, of)
            put_verdict(store, a_verdict(of, decided_at=START + number * timedelta(days=1)), number)
        yield store


@pytest.fixture
def at(store: Store, store_url: str) -> dict[str, str]:
    return {"AGENTRACER_CLICKHOUSE_URL": f"{store_url}/{store.database}"}


def ids(at: dict[str, str], *options: str) -> list[str]:
    return [one["trajectory_id"] for one in json_of("verdicts", *options, **at)]


def test_verdicts_are_filtered_by_system_agent_age_and_number(at: dict[str, str]) -> None:
    assert ids(at) == ["b1", "t1", "t1"]
    assert ids(at, "--system", "bank") == ["b1"]
    assert ids(at, "--agent", "agent-1") == ["t1"]
    assert ids(at, "--system", "bank", "--agent", "agent-1") == []
    assert ids(at, "--limit", "2") == ["b1", "t1"]
    assert ids(at, "--since", "0.5") == [], "the rows are of a day long gone"
    assert ids(at, "--since", "1000000") == ["b1", "t1", "t1"]


@pytest.mark.parametrize("hours", ["nan", "1e300", "-1", "inf"])
def test_an_age_that_is_none_is_refused_in_a_sentence(hours: str) -> None:
    done = invoke("verdicts", "--since", hours)
    assert done.exit_code == 2
    assert "--since" in done.stderr


def test_of_several_runs_of_an_id_the_last_is_shown_or_the_one_that_is_named(at: dict[str, str]) -> None:
    last = json_of("show", "t1", **at)
    assert (last["step_count"], len(last["steps"]), last["verdict"]["step_index"]) == (3, 3, 2)
    opened = [one["opened_at"] for one in json_of("verdicts", **at) if one["trajectory_id"] == "t1"]
    shown = [json_of("show", "t1", "--opened-at", one, **at) for one in opened]
    assert [one["step_count"] for one in shown] == [3, 2]
    assert [one["opened_at"] for one in shown] == opened
    assert json_of("show", "t1", "--opened-at", "2026-03-01T12:00:00", **at)["step_count"] == 2


def test_a_run_that_is_not_there_is_named(at: dict[str, str]) -> None:
    done = invoke("show", "nobody", **at)
    assert "'nobody'" in str(done.exception)
    done = invoke("show", "t1", "--opened-at", "2001-01-01", **at)
    assert "'t1'" in str(done.exception)
    done = invoke("show", "t1", "--opened-at", "yesterday", **at)
    assert isinstance(done.exception, SettingsError)


def test_verdicts_and_show_work_while_up_runs(up: Up, tmp_path: Path) -> None:
    up.send(
        tmp_path / "runs.jsonl",
        '{"trajectory_id": "live [red]1[/red]", "agent": "planner", "content": "first\\u001b[2J"}',
        '{"trajectory_id": "live [red]1[/red]", "agent": "worker", "content": "second", "error_type": "KeyError"}',
        '{"trajectory_id": "live [red]1[/red]", "kind": "outcome", "outcome": {"result": "failure"}}',
    )
    up.running.wait_until(lambda: bool(up.json_of("verdicts", "--system", "runs")))
    listed = up.invoke("verdicts", "--system", "runs")
    assert "planner" in listed.stdout
    shown = up.invoke("show", "live [red]1[/red]")
    assert "live [red]1[/red]" in shown.stdout
    assert r"first\x1b[2J" in shown.stdout
    assert [line.split()[2] for line in marked(shown.stdout)] == ["planner"]


def test_a_run_and_its_verdict_are_read_as_they_were_written(store: Store) -> None:
    found = trajectory(store.client, "b1")
    assert found is not None
    assert "teller at step 0" in shown(run_view(found))
    assert outcome().result.value in shown(run_view(found))

"""Dead letters from end to end: listed, shown, mended, sent back, and never twice by mistake."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.client import report
from ops.letters import CHARACTERS_SHOWN, _parts, _redriven
from ops.query import was_redriven
from schemas import DeadLetterReason, PipelineEventKind
from schemas.errors import AgentracerError, SettingsError, TopicError
from streams import tables
from streams.rows import dead_letter_row
from streams.sink import Store
from tests.ops.processes import Up, agentracer, invoke, json_of
from tests.stores import PLACE, own_store, put
from tests.streams.test_rows import letter

# ---- on a running pipeline ----


def test_a_bad_event_is_listed_shown_mended_and_sent_back_once(up: Up, tmp_path: Path) -> None:
    bad = json.dumps({"trajectory_id": "mend-me", "agent": 5, "content": "Grüße [/red]"}, ensure_ascii=False)
    up.send(tmp_path / "runs.jsonl", bad, '{"trajectory_id": "mend-me-too", "agent": "a"}')

    def mine() -> list[dict[str, Any]]:
        found = (
            one
            for one in up.json_of("dead-letters", "list", "--reason", "invalid")
            if one["length"] == len(bad.encode())
        )
        return list(found)

    up.running.wait_until(lambda: len(mine()) == 1)
    (line,) = mine()
    address = line["address"]
    assert "agent: Input should be a valid string" in line["message"]

    shown = up.invoke("dead-letters", "show", address).stdout
    assert bad in shown
    assert "invalid" in shown
    whole = up.json_of("dead-letters", "show", address)
    assert base64.urlsafe_b64decode(whole["value"]) == bad.encode()
    assert up.invoke("dead-letters", "show", address, "--raw", str(tmp_path / "raw")).exit_code == 0
    assert (tmp_path / "raw").read_bytes() == bad.encode()

    mended = tmp_path / "mended.json"
    event = {
        "event_id": "mended",
        "trajectory_id": "mend-me",
        "system": "s",
        "agent": "five",
        "started_at": "2026-03-01T12:00:00Z",
    }
    mended.write_text(json.dumps(event | {"final": True}))
    sent = up.invoke("dead-letters", "redrive", address, "--mended", str(mended))
    assert sent.stdout == f"sent {address} back to step-events\n"
    up.running.wait_until(lambda: up.invoke("show", "mend-me").exit_code == 0)
    (step,) = up.json_of("show", "mend-me")["steps"]
    assert (step["event_id"], step["agent"]) == ("mended", "five")
    assert len(mine()) == 1, "the letter itself stays"

    again = up.invoke("dead-letters", "redrive", address, "--mended", str(mended))
    assert isinstance(again.exception, AgentracerError)
    assert "--again" in str(again.exception)
    forced = up.invoke("dead-letters", "redrive", address, "--again")
    assert forced.exit_code == 0, forced.exception
    up.running.wait_until(lambda: len(mine()) == 2)
    assert len({one["address"] for one in mine()}) == 2, "sent as it was it is refused again, at a new address"
    assert len(up.json_of("show", "mend-me")["steps"]) == 1


# ---- on a store alone ----


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        for line, value in enumerate((b"\xff\x1b[2J[/red]\0", b"y" * (CHARACTERS_SHOWN + 1), None)):
            reason = DeadLetterReason.NOT_UTF8 if value else DeadLetterReason.EMPTY
            of = letter(line=line, value=value, reason=reason, message="no [/red]\x1b[2J")
            put(store, tables.DEAD_LETTERS, dead_letter_row(of, PLACE))
        put(store, tables.DEAD_LETTERS, dead_letter_row(letter(topic="forged/[/red]", line=9), PLACE))
        yield store


@pytest.fixture
def at(store: Store, store_url: str) -> dict[str, str]:
    return {"AGENTRACER_CLICKHOUSE_URL": f"{store_url}/{store.database}"}


def test_letters_are_listed_by_reason_and_number(at: dict[str, str]) -> None:
    listed = json_of("dead-letters", "list", **at)
    assert len(listed) == 4
    assert [one["address"] for one in json_of("dead-letters", "list", "--reason", "empty", **at)] == [
        "step-events/1/7/2"
    ]
    assert len(json_of("dead-letters", "list", "--limit", "2", **at)) == 2
    done = invoke("dead-letters", "list", "--reason", "nonsense", **at)
    assert done.exit_code == 2
    assert "not_utf8" in done.stderr, "it names the reasons there are"


def test_what_a_letter_holds_is_shown_as_text(at: dict[str, str]) -> None:
    listed, shown = invoke("dead-letters", "list", **at), invoke("dead-letters", "show", "step-events/1/7/0", **at)
    assert listed.exit_code == 0
    assert shown.exit_code == 0
    assert r"\xff\x1b[2J[/red]\x00" in shown.stdout
    assert "\x1b" not in listed.stdout + shown.stdout


def test_a_long_letter_is_cut_when_shown_and_whole_in_a_file(at: dict[str, str], tmp_path: Path) -> None:
    shown = invoke("dead-letters", "show", "step-events/1/7/1", "--raw", str(tmp_path / "raw"), **at).stdout
    assert shown.count("y") == CHARACTERS_SHOWN
    assert shown.rstrip().endswith("…")
    assert (tmp_path / "raw").read_bytes() == b"y" * (CHARACTERS_SHOWN + 1)


def test_a_letter_without_a_value_is_shown(at: dict[str, str], tmp_path: Path) -> None:
    assert json_of("dead-letters", "show", "step-events/1/7/2", **at)["value"] is None
    assert invoke("dead-letters", "show", "step-events/1/7/2", "--raw", str(tmp_path / "raw"), **at).exit_code == 0
    assert (tmp_path / "raw").read_bytes() == b""


def test_an_address_whose_topic_has_a_slash_is_still_one(at: dict[str, str]) -> None:
    assert json_of("dead-letters", "show", "forged/[/red]/1/7/9", **at)["topic"] == "forged/[/red]"


def test_a_forged_topic_is_not_sent_to(at: dict[str, str], up: Up) -> None:
    done = invoke("dead-letters", "redrive", "forged/[/red]/1/7/9", "--broker", up.broker, **at)
    assert isinstance(done.exception, TopicError)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "a/b/c",
        "t/1",
        "t/1/2",
        "t/-1/2/3",
        "t/1/2/-3",
        "t/1/2/x",
        "/1/2/3",
        "t/9999999999/1/0",
        "t/1/²/0",
        "t/1/1_0/0",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    for command in ("show", "redrive"):
        error = invoke("dead-letters", command, address).exception
        assert isinstance(error, SettingsError)
        assert repr(address) in str(error)


def test_an_address_is_read_as_it_is_printed() -> None:
    of = letter(topic="a/b", partition=3, offset=12345678901, line=7)
    assert _parts(of.address) == ("a/b", 3, 12345678901, 7)
    assert _parts(letter(offset=-1).address) == ("step-events", 1, -1, 2)


def test_a_letter_that_is_not_there_is_named(at: dict[str, str]) -> None:
    error = invoke("dead-letters", "show", "step-events/1/7/8", **at).exception
    assert isinstance(error, AgentracerError)
    assert "'step-events/1/7/8'" in str(error)
    assert "dead-letters list" in str(error)


@pytest.mark.parametrize("command", [("show", "--raw"), ("redrive", "--mended")])
def test_a_file_that_can_not_be_used_is_one_sentence(
    command: tuple[str, str], at: dict[str, str], tmp_path: Path
) -> None:
    name, option = command
    done = agentracer("dead-letters", name, "step-events/1/7/0", option, str(tmp_path / "no" / "file"), **at)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "name another file" in " ".join(done.stderr.split())


def test_a_redrive_is_remembered_by_its_address(up: Up) -> None:
    of = letter(line=77)
    event = _redriven(of)
    assert (event.kind, event.topic, event.detail) == (PipelineEventKind.REDRIVEN, of.topic, {"address": of.address})
    assert event.pipeline_event_id != _redriven(of).pipeline_event_id, "each is told"
    longest = _redriven(letter(topic="t" * 256))
    assert len(longest.pipeline_event_id) == 256
    asyncio.run(report(up.broker, event))


def test_was_redriven_asks_for_the_whole_address(store: Store) -> None:
    assert not was_redriven(store.client, "step-events/1/7/0")

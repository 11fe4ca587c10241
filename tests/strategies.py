"""Hypothesis strategies: valid events as odd as the contracts allow, and the ways in which senders write JSON."""

import json
from datetime import UTC, datetime
from random import Random
from typing import Any

from hypothesis import strategies as st
from pydantic import JsonValue

from schemas import Event, KeySource, Outcome, OutcomeEvent, Result, StepEvent, StepKind, ToolUse, Usage

CONTROLS = "".join(map(chr, range(0x20))) + "\x7f"
ODD_TEXTS = ('":', '\\":', '\\\\":', '" :', "\\", '\\"', '"', ":", '":"', "\\u0022:", "\0", "\n", "é", "東🚀", "", " ")
BLANKS = ("", " ", "\n", "\t", "\r\n  ")

TEXTS = st.sampled_from(ODD_TEXTS) | st.text(st.characters(codec="utf-8"), max_size=12)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters=CONTROLS), max_size=12)
IDS = NAMES.filter(bool)
INDICES = st.integers(0, 2**31 - 1)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def _or_none(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


OUTCOMES = st.builds(
    Outcome,
    result=st.sampled_from(Result),
    score=_or_none(FLOATS),
    evaluator=_or_none(NAMES),
    reason=_or_none(TEXTS),
    ground_truth=_or_none(TEXTS),
)
TOOLS = st.builds(
    ToolUse, name=IDS, call_id=_or_none(NAMES), arguments=JSON, result=_or_none(JSON), error=_or_none(TEXTS)
)
STEPS = st.builds(
    StepEvent,
    event_id=IDS,
    trajectory_id=IDS,
    key_source=st.sampled_from(KeySource),
    tenant=IDS,
    task_id=_or_none(IDS),
    task=_or_none(TEXTS),
    system=IDS,
    system_version=_or_none(NAMES),
    agent=IDS,
    agent_role=_or_none(NAMES),
    kind=st.sampled_from(StepKind),
    step_index=_or_none(INDICES),
    parent_id=_or_none(IDS),
    content=TEXTS,
    input=_or_none(TEXTS),
    tool=_or_none(TOOLS),
    error_type=_or_none(NAMES),
    usage=_or_none(st.builds(Usage, model=_or_none(NAMES), input_tokens=_or_none(INDICES))),
    started_at=TIMES,
    ended_at=_or_none(TIMES),
    final=st.booleans(),
    truncated=st.booleans(),
    outcome=_or_none(OUTCOMES),
    attributes=st.dictionaries(TEXTS, JSON, max_size=4),
)
OUTCOME_EVENTS = st.builds(
    OutcomeEvent,
    kind=st.just("outcome"),
    event_id=IDS,
    trajectory_id=IDS,
    task=_or_none(TEXTS),
    outcome=OUTCOMES,
    at=TIMES,
    final=st.booleans(),
    step_count=_or_none(INDICES),
)
EVENTS: st.SearchStrategy[Event] = STEPS | OUTCOME_EVENTS


class Pairs(list[tuple[str, Any]]):
    """A JSON object that may hold a key twice."""


def objects(node: object) -> list[Pairs]:
    """Return every object in a parsed document, the outermost first."""
    if isinstance(node, Pairs):
        return [node, *(found for _, value in node for found in objects(value))]
    return [found for value in node for found in objects(value)] if isinstance(node, list) else []


def _quoted(text: str, random: Random) -> str:
    style = random.choice(("plain", "ascii", "escaped"))
    if style != "escaped":
        return json.dumps(text, ensure_ascii=style == "ascii")
    units = text.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'


def written(node: object, random: Random, blanks: tuple[str, ...] = BLANKS) -> str:
    """Write a parsed document as JSON, in one of the many ways in which senders do."""

    def blank() -> str:
        return random.choice(blanks)

    if isinstance(node, Pairs):
        pairs = (
            f"{blank()}{_quoted(key, random)}{blank()}:{blank()}{written(value, random, blanks)}{blank()}"
            for key, value in node
        )
        return "{" + ",".join(pairs) + "}"
    if isinstance(node, list):
        return "[" + ",".join(blank() + written(value, random, blanks) for value in node) + "]"
    return _quoted(node, random) if isinstance(node, str) else json.dumps(node)


@st.composite
def documents(draw: st.DrawFn) -> tuple[Event, Pairs, Random, tuple[str, ...]]:
    """Draw an event, its document, and what to write it with: dice and the blanks between tokens."""
    event = draw(EVENTS)
    text = event.model_dump_json(
        exclude_defaults=isinstance(event, StepEvent) and draw(st.booleans()), exclude_none=draw(st.booleans())
    )
    blanks = draw(st.sampled_from([("",), ("",) * 15 + (" ",), BLANKS]))
    return event, json.loads(text, object_pairs_hook=Pairs), draw(st.randoms(use_true_random=False)), blanks

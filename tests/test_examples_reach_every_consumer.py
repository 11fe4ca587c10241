"""Every example message, through every consumer of its topic that stands in the table and is built."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import TOPICS, DeadLetter, TopicName, Trajectory
from schemas.dead_letter import to_headers
from schemas.wire import NDJSON
from streams.assemble import Assembler, SourceRecord
from streams.checkpoint import collect, due
from streams.limits import Limits
from streams.route import RoutingRules
from streams.rows import Place
from streams.unpack import READ, Source, unpack
from tracer.rules import RULES, by_name
from tracer.verdict import to_verdict

EXAMPLES = Path(__file__).parents[1] / "schemas" / "examples"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def _examples(topic: TopicName) -> list[Path]:
    return sorted(path for path in (EXAMPLES / topic / "v1").glob("*") if path.is_file())


def _of(*topics: TopicName) -> list[Path]:
    return [path for topic in topics for path in _examples(topic)]


@pytest.mark.parametrize("path", _of(TopicName.STEP_EVENTS), ids=lambda path: path.name)
def test_the_assembler_takes_every_step_event(path: Path) -> None:
    assembler = Assembler(0, 1, Limits(idle_ms=1))
    headers = (("content-type", NDJSON),) if path.suffix == ".ndjson" else ()
    assembler.fold(SourceRecord(0, NOW_MS, b"key", path.read_bytes(), headers))
    assert assembler.open
    assert not assembler.pending.dead_letters
    assembler.passed(10)
    checkpoint = collect(assembler, due(assembler), {}, RoutingRules())
    for one, _ in checkpoint.closed:
        assert Trajectory.model_validate_json(one.value()).steps


@pytest.mark.parametrize("path", _of(*map(TopicName, READ)), ids=lambda path: f"{path.parts[-3]}-{path.name}")
def test_the_sink_makes_rows_of_every_message_it_reads(path: Path) -> None:
    topic = TopicName(path.parts[-3])
    source = Source(topic, Place(0, 7, NOW_MS), b"key", path.read_bytes())
    if topic is TopicName.DEAD_LETTERS:
        letter = DeadLetter.model_validate_json(path.read_bytes())
        source = source._replace(key=letter.key, value=letter.value, headers=to_headers(letter))
    rows = unpack(source, NOW)
    assert not isinstance(rows, DeadLetter), rows
    assert all(len(row) == len(table.columns) for table, found in rows for row in found)
    assert sum(len(found) for _, found in rows) > 0


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("path", _of(TopicName.FAILED_TRAJECTORIES, TopicName.TRAJECTORIES), ids=lambda path: path.name)
def test_every_tracer_gives_a_verdict_on_every_trajectory(path: Path, name: str) -> None:
    trajectory = Trajectory.model_validate_json(path.read_bytes())
    tracer = by_name(name)
    finding = asyncio.run(tracer.trace(trajectory))
    verdict = to_verdict(
        trajectory,
        finding,
        tracer=tracer.name,
        version=tracer.version,
        attempts=1,
        queued_ms=0,
        traced_ms=0,
        decided_at=NOW,
    )
    rows = unpack(Source(TopicName.VERDICTS, Place(0, 1, NOW_MS), b"", verdict.model_dump_json().encode()), NOW)
    assert not isinstance(rows, DeadLetter)


def test_what_the_sink_reads_is_what_the_table_says() -> None:
    assert set(READ) == {name for name, topic in TOPICS.items() if "sink" in topic.consumers}

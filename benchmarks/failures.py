"""Failed runs for the benchmarks of the tracer: onto their topic, and their verdicts back from theirs.

A run is short plain English by a few agents, drawn by a seed: what a call of it holds depends on its number alone, so
runs of another prefix are as much work, and no two share more of a prompt than the system's words.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import (
    CloseReason,
    KeySource,
    Outcome,
    Result,
    RouteReason,
    Routing,
    StepEvent,
    StepKind,
    ToolUse,
    TopicName,
    Trajectory,
    Verdict,
)

AGENTS = ("planner", "buyer", "clerk", "checker")
TEXT = """\
the order asks for three lamps and one table to be sent before noon so count them again with care
price stock total list line note said that it was paid late and then moved from zone two back to four
please look up what we have left write down every number check whether this is right answer when ready"""
WORDS = TEXT.split()
TASK_WORDS, STEP_WORDS = 24, 18
_START = datetime(2026, 1, 1, tzinfo=UTC)
_ANSWERED_S = 10.0


def failures(prefix: str, count: int, steps: tuple[int, int], *, seed: int = 0) -> list[Trajectory]:
    """Return so many failed runs of a system that is called like the prefix, each with so many steps, from and to."""
    return [_failure(prefix, number, random.Random(seed * 1_000_003 + number), steps) for number in range(count)]


def _failure(prefix: str, number: int, rng: random.Random, steps: tuple[int, int]) -> Trajectory:
    trajectory_id = f"{prefix}-{number:05d}"
    end = _START + timedelta(minutes=5)
    return Trajectory(
        trajectory_id=trajectory_id,
        opened_at=_START,
        revision=1,
        key_source=KeySource.RUN_ID,
        tenant="default",
        system=prefix,
        task=_said(rng, TASK_WORDS),
        outcome=Outcome(result=Result.FAILURE),
        outcome_at=end,
        close_reason=CloseReason.COMPLETED,
        closed_at=end,
        routing=Routing(reason=RouteReason.FAILURE),
        steps=tuple(_step(trajectory_id, index, rng) for index in range(rng.randint(*steps))),
    )


def _step(trajectory_id: str, index: int, rng: random.Random) -> StepEvent:
    calls = index % 3 == 1
    return StepEvent(
        event_id=f"{trajectory_id}-{index}",
        trajectory_id=trajectory_id,
        system=trajectory_id.rpartition("-")[0],
        agent=AGENTS[index % len(AGENTS)],
        kind=StepKind.TOOL_CALL if calls else StepKind.MESSAGE,
        step_index=index,
        content=_said(rng, STEP_WORDS),
        tool=ToolUse(name="lookup", result={"left": rng.randrange(100)}) if calls else None,
        started_at=_START + timedelta(seconds=index),
    )


def _said(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


async def publish(bootstrap: str, trajectories: Sequence[Trajectory]) -> None:
    """Put them on `failed-trajectories`, in order, on its first partition."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(
                TopicName.FAILED_TRAJECTORIES.value,
                one.model_dump_json().encode(),
                key=one.trajectory_id.encode(),
                partition=0,
            )
            for one in trajectories
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def verdicts_of(bootstrap: str, trajectories: Sequence[Trajectory]) -> list[Verdict]:
    """Read the verdicts on these; raises RuntimeError unless each has exactly one."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    place = TopicPartition(TopicName.VERDICTS.value, 0)
    consumer.assign([place])
    try:
        async with asyncio.timeout(_ANSWERED_S):
            end = (await consumer.end_offsets([place]))[place]
            found = []
            while await consumer.position(place) < end:
                found += (await consumer.getmany(place, timeout_ms=500)).get(place, [])
    finally:
        await consumer.stop()
    wanted = {one.trajectory_id.encode() for one in trajectories}
    own = [Verdict.model_validate_json(record.value) for record in found if record.key in wanted]
    if len(own) != len(wanted) or len({one.trajectory_id for one in own}) != len(wanted):
        raise RuntimeError(f"{len(wanted)} failures have {len(own)} verdicts; each should have one")
    return own

"""Mutated records through the reader and through the assembler; `AGENTRACER_MUTATIONS=200000` is the whole attack."""

import json
import os
import resource
from collections import Counter
from itertools import islice

import pytest

from schemas import DeadLetterReason, OutcomeEvent, StepEvent
from schemas.wire import BadLine, Line, read_record
from streams.brake import RUBBISH
from streams.limits import Limits
from tests.mutations import mutated
from tests.streams.audit import check_nothing_was_lost
from tests.streams.broker import BATCH, Worker

COUNT = int(os.environ.get("AGENTRACER_MUTATIONS", "10000"))
GROWN_MB = 100
"""An assembler of these holds a few thousand trajectories."""


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _check(line: Line | BadLine, value: bytes, *, ndjson: bool) -> None:
    assert line.raw is not None
    assert line.raw in value
    if isinstance(line, BadLine):
        assert line.reason in RUBBISH - {DeadLetterReason.TIMESTAMP, DeadLetterReason.UNPROCESSABLE}
        assert line.message
        return
    kind = StepEvent if isinstance(line.event, StepEvent) else OutcomeEvent
    assert kind.model_validate(line.event.model_dump()) == line.event
    written = line.event.model_dump_json()
    assert kind.model_validate_json(written) == line.event, "what is stored reads as what came"
    json.loads(line.raw)
    assert not ndjson or b"\n" not in line.raw


@pytest.mark.parametrize("seed", range(4))
def test_every_mutated_line_is_an_event_of_the_contract_or_has_a_reason(seed: int) -> None:
    outcomes: Counter[str] = Counter()
    before = _peak_mb()
    for value, ndjson in mutated(COUNT // 4, seed):
        for line in read_record(value, ndjson=ndjson):
            _check(line, value, ndjson=ndjson)
            outcomes[line.reason if isinstance(line, BadLine) else "event"] += 1
    grown = _peak_mb() - before
    print(f"seed {seed}: {dict(outcomes)}, {grown:.0f} MB")
    assert grown < GROWN_MB
    assert {"event", "not_json", "not_utf8", "invalid", "duplicate_key", "unknown_version"} <= outcomes.keys()


@pytest.mark.parametrize("seed", range(4, 8))
def test_of_mutated_records_nothing_is_lost_and_the_state_restores(seed: int) -> None:
    work = Worker(limits=Limits(idle_ms=5_000, late_window_ms=20_000, max_open=2_000))
    before = _peak_mb()
    records = mutated(COUNT // 4, seed)
    while some := list(islice(records, 500)):
        for value, ndjson in some:
            work.send(value, headers=BATCH if ndjson else (), after_ms=7)
        work.checkpoint()
        work.kill(redelivered=50)
        work.read()
    work.wait(60_000)
    work.checkpoint()
    assert work.assembler.open == {}
    check_nothing_was_lost(work)
    reasons = Counter(one.reason.value for one in work.topics.dead_letters)
    print(f"seed {seed}: {len(work.topics.trajectories)} revisions, {dict(reasons)}, {_peak_mb() - before:.0f} MB")
    assert DeadLetterReason.UNPROCESSABLE not in reasons
    assert len(work.topics.trajectories) > 100

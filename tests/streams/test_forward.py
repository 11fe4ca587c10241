from datetime import timedelta

from schemas import DeadLetterReason
from streams.home import home_partition
from streams.relay import FORWARDED, time_header
from tests.factories import START, raw, step
from tests.streams.broker import START_MS, ListBroker, Worker

HERE, ELSEWHERE = "alpha", "epsilon"
"""Of two partitions the first is at home in 0, the second in 1."""
NEXT_YEAR = START + timedelta(days=400)


def two() -> tuple[Worker, Worker]:
    broker = ListBroker(2)
    return Worker(broker, 0), Worker(broker, 1)


def test_an_event_read_elsewhere_is_forwarded_to_its_home_inside_the_checkpoint() -> None:
    here, there = two()
    here.send(step(ELSEWHERE, final=True))
    assert there.topics.steps == []
    assert here.checkpoint() == []
    (record,) = there.topics.steps
    assert (record.key, record.value, record.headers) == (
        ELSEWHERE.encode(), raw(step(ELSEWHERE, final=True)), ((FORWARDED, b"0"), time_header(0, START_MS)),
    )  # fmt: skip
    there.read()
    assert [one.trajectory_id for one in there.checkpoint()] == [ELSEWHERE]
    assert here.assembler.open == {}


def test_lines_of_one_record_go_to_their_homes_and_the_rest_stays() -> None:
    here, there = two()
    here.send_batch(step(HERE, final=True), step(ELSEWHERE), step(ELSEWHERE, index=1, final=True))
    assert [one.trajectory_id for one in here.checkpoint()] == [HERE]
    there.read()
    assert [(one.trajectory_id, len(one.steps)) for one in there.checkpoint()] == [(ELSEWHERE, 2)]


def test_what_a_kill_undid_is_forwarded_once() -> None:
    here, there = two()
    here.send(step(ELSEWHERE))
    here.collect()
    here.kill()
    here.read()
    here.checkpoint()
    here.kill(redelivered=1)
    here.read()
    here.checkpoint()
    assert len(there.topics.steps) == 1


def test_an_event_forwarded_to_the_wrong_partition_is_misrouted() -> None:
    here, _ = two()
    here.send(step(ELSEWHERE), headers=((FORWARDED, b"1"),))
    here.checkpoint()
    (letter,) = here.topics.dead_letters
    assert (letter.reason, letter.value) == (DeadLetterReason.MISROUTED, raw(step(ELSEWHERE)))
    assert "home is partition 1" in letter.message


def test_homes_of_these_tests_are_what_they_say() -> None:
    assert (home_partition(HERE, 2), home_partition(ELSEWHERE, 2)) == (0, 1)


def test_a_bad_line_of_another_home_is_a_dead_letter_where_it_was_read() -> None:
    here, there = two()
    here.send(step(ELSEWHERE, started_at=NEXT_YEAR))
    here.checkpoint()
    assert here.letters() == [(DeadLetterReason.TIMESTAMP, 0, 0)]
    assert there.topics.steps == []

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DeadLetter, DeadLetterReason, TopicName, VerdictPurpose
from schemas.dead_letter import to_headers
from streams import tables
from streams.rows import Place
from streams.unpack import READ, Batch, Source, unpack
from tests.factories import START, outcome_event, trajectory, verdict
from tests.streams.test_rows import label, letter, report

NOW = datetime(2026, 3, 2, tzinfo=UTC)
PLACE = Place(2, 40, 1_772_366_400_000)


def source(topic: str, value: bytes | None, **fields: object) -> Source:
    return Source(topic, PLACE, b"key", value)._replace(**fields)  # type: ignore[arg-type]


def tables_of(found: object) -> list[str]:
    assert isinstance(found, list)
    return [table.name for table, rows in found for _ in rows]


def test_each_topic_fills_its_tables() -> None:
    def of(topic: TopicName, text: str) -> list[str]:
        return tables_of(unpack(source(topic, text.encode()), NOW))

    assert of(TopicName.TRAJECTORIES, trajectory().model_dump_json()) == ["steps_raw"] * 3 + ["trajectories_raw"]
    assert of(TopicName.OUTCOMES, outcome_event().model_dump_json()) == ["outcomes_raw"]
    assert of(TopicName.LABELS, label().model_dump_json()) == ["labels_raw"]
    assert of(TopicName.PIPELINE_EVENTS, report().model_dump_json()) == ["pipeline_events_raw"]
    assert of(TopicName.VERDICTS, verdict().model_dump_json()) == ["verdicts_raw", "standing_verdicts_raw"]


@pytest.mark.parametrize("purpose", [VerdictPurpose.SHADOW, VerdictPurpose.RETRACE])
def test_only_what_was_made_to_serve_may_stand(purpose: VerdictPurpose) -> None:
    value = verdict(purpose=purpose).model_dump_json().encode()
    assert tables_of(unpack(source(TopicName.VERDICTS, value), NOW)) == ["verdicts_raw"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, DeadLetterReason.EMPTY),
        (b" \n", DeadLetterReason.EMPTY),
        (b"{", DeadLetterReason.INVALID),
        (b"\xff\xfe", DeadLetterReason.INVALID),
        (b"{}", DeadLetterReason.INVALID),
        (b"[" * 100_000, DeadLetterReason.INVALID),
    ],
    ids=lambda case: repr(case)[:20],
)
@pytest.mark.parametrize("topic", [topic for topic in READ if topic != TopicName.DEAD_LETTERS])
def test_what_cannot_be_read_is_a_dead_letter_with_its_bytes_and_address(
    topic: str, value: bytes | None, reason: DeadLetterReason
) -> None:
    found = unpack(source(topic, value), NOW)
    assert isinstance(found, DeadLetter)
    assert (found.address, found.reason, found.stage) == (f"{topic}/2/40/0", reason, "sink")
    assert (found.key, found.value, found.at) == (b"key", value, NOW)


def test_a_dead_letter_says_what_is_wrong_and_never_what_was_in_it() -> None:
    value = trajectory().model_dump_json().replace('"shop"', '["private"]').encode()
    found = unpack(source(TopicName.TRAJECTORIES, value), NOW)
    assert isinstance(found, DeadLetter)
    assert "system: Input should be a valid string" in found.message
    assert "private" not in found.message


def test_a_dead_letter_fills_the_row_of_the_message_it_is_about() -> None:
    of = letter()
    found = unpack(source(TopicName.DEAD_LETTERS, of.value, key=of.key, headers=to_headers(of)), NOW)
    assert isinstance(found, list)
    ((table, (row,)),) = found
    assert table is tables.DEAD_LETTERS
    assert row[:4] == ("step-events", 1, 7, 2)
    assert row[7:9] == (b"k", b"\xff{")


@given(
    st.none() | st.binary(max_size=20),
    st.lists(
        st.tuples(st.sampled_from([name for name, _ in to_headers(letter())]), st.none() | st.binary(max_size=20))
    ),
)
def test_any_record_of_dead_letters_is_a_row_and_never_another_letter(
    value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    found = unpack(source(TopicName.DEAD_LETTERS, value, headers=headers), NOW)
    assert tables_of(found) == ["dead_letters_raw"]


def test_a_record_of_dead_letters_that_is_none_stands_under_its_own_address() -> None:
    huge = [(name, b"9" * 30 if name.endswith("offset") else text) for name, text in to_headers(letter())]
    for headers in ([], huge):
        found = unpack(source(TopicName.DEAD_LETTERS, b"\0", headers=headers), NOW)
        assert isinstance(found, list)
        ((_, (row,)),) = found
        assert row[:5] == ("dead-letters", 2, 40, 0, "unprocessable")
        assert row[8] == b"\0"


def test_a_batch_knows_which_record_a_refused_row_came_from() -> None:
    batch = Batch()
    values = [trajectory(trajectory_id=name).model_dump_json().encode() for name in ("a", "b")]
    for offset, value in enumerate(values):
        batch.add(source(TopicName.TRAJECTORIES, value, place=PLACE._replace(offset=offset)), NOW)
    batch.add(source(TopicName.LABELS, b"{"), NOW)
    assert (batch.row_count, batch.byte_count) == (8, sum(map(len, values)) + 1)
    assert [one.address for one in batch.letters] == ["labels/2/40/0"]
    refused = batch.refuse(tables.STEPS, 4, "too odd", START)
    assert (refused.address, refused.reason) == ("trajectories/2/1/0", DeadLetterReason.UNSTORABLE)
    assert refused.value == values[1]


def test_a_dead_letter_that_the_store_refuses_leaves_a_row_without_its_bytes() -> None:
    batch = Batch()
    of = letter()
    batch.add(source(TopicName.DEAD_LETTERS, of.value, headers=to_headers(of)), NOW)
    row = batch.without_bytes(0, "too odd")
    assert row[:5] == ("dead-letters", 2, 40, 0, "unstorable")
    assert row[7:9] == (None, None)


def test_a_batch_of_dead_letters_alone_is_not_empty() -> None:
    batch = Batch()
    assert not batch
    batch.add(source(TopicName.LABELS, None), NOW)
    assert batch

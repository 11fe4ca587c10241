"""The table of topics says what the design says."""

import re

import pytest

import schemas
from schemas import TOPICS, Topic, TopicName
from schemas.topics import DAY_MS, DEFAULT_PARTITIONS, HOUR_MS, MB

NAMES = {
    "otlp-spans",
    "step-events",
    "assembler-state",
    "trajectories",
    "failed-trajectories",
    "outcomes",
    "dead-letters",
    "pipeline-events",
    "verdicts",
    "labels",
    "feedback",
    "promotions",
    "retrain-requests",
}
PARTITIONED_ALIKE = {
    "step-events",
    "trajectories",
    "failed-trajectories",
    "outcomes",
    "assembler-state",
    "verdicts",
}
FOREIGN_MODELS = {"ExportTraceServiceRequest", "state records"}
EVERY = pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)


def test_every_topic_of_the_design_is_there_and_no_other() -> None:
    assert {str(name) for name in TopicName} == NAMES
    assert set(TOPICS) == set(TopicName)
    assert all(topic.name is name for name, topic in TOPICS.items())


@EVERY
def test_the_name_is_one_that_kafka_and_its_metrics_take(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", topic.name)


@EVERY
def test_the_model_is_a_public_name_or_someone_elses(topic: Topic) -> None:
    assert topic.model in FOREIGN_MODELS or set(topic.model.split(" | ")) <= set(schemas.__all__)


@EVERY
def test_somebody_writes_it_and_somebody_reads_it(topic: Topic) -> None:
    assert topic.producers
    assert topic.consumers


def test_what_belongs_to_the_assembler_has_the_partitions_of_step_events() -> None:
    assert all(TOPICS[TopicName(name)].partitions is None for name in PARTITIONED_ALIKE)
    assert DEFAULT_PARTITIONS > 1


def test_what_is_rare_has_one_partition() -> None:
    rest = set(TopicName) - {TopicName(name) for name in PARTITIONED_ALIKE} - {TopicName.OTLP_SPANS}
    assert {TOPICS[name].partitions for name in rest} == {1}


def test_only_step_events_take_the_brokers_time() -> None:
    stamped = {name for name, topic in TOPICS.items() if topic.timestamp == "LogAppendTime"}
    assert stamped == {TopicName.STEP_EVENTS}


def test_only_the_state_is_compacted_with_small_segments() -> None:
    compacted = [topic for topic in TOPICS.values() if topic.config()["cleanup.policy"] == "compact"]
    assert [topic.name for topic in compacted] == [TopicName.ASSEMBLER_STATE]
    config = compacted[0].config()
    assert config["segment.bytes"] == "16000000"
    assert config["segment.ms"] == "600000"
    assert config["min.cleanable.dirty.ratio"] == "0.1"


@EVERY
def test_a_topic_is_deleted_by_time_only(topic: Topic) -> None:
    config = topic.config()
    assert "retention.bytes" not in config
    assert int(config["retention.ms"]) == -1 or int(config["retention.ms"]) >= DAY_MS


def test_trajectories_stay_longer_than_the_late_window() -> None:
    assert TOPICS[TopicName.TRAJECTORIES].retention_ms > HOUR_MS


def test_dead_letters_take_more_than_any_message_that_may_become_one() -> None:
    largest = max(topic.max_bytes for topic in TOPICS.values() if topic.name != TopicName.DEAD_LETTERS)
    assert largest == 24 * MB
    assert TOPICS[TopicName.DEAD_LETTERS].max_bytes == 32 * MB
    for name in ("step-events", "trajectories", "failed-trajectories", "assembler-state"):
        assert TOPICS[TopicName(name)].config()["max.message.bytes"] == "24000000"


@pytest.mark.parametrize(("replicas", "insync"), [(1, "1"), (2, "2"), (3, "2")])
def test_two_replicas_must_have_a_message_where_there_are_two(replicas: int, insync: str) -> None:
    assert {topic.config(replicas)["min.insync.replicas"] for topic in TOPICS.values()} == {insync}

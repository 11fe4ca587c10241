"""Faults to plant in the product, one at a time, and the tests that have to notice each.

Rules: a fault is what somebody could really write; its old text stands exactly once in its file, else the fault has
rotted; its tests say what the product does, and none of them reads source.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    """One replacement in one file."""

    file: str
    old: str
    new: str


class Fault(NamedTuple):
    """A defect: what it is, how it is planted, and what catches it."""

    name: str
    what: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


_WRITER = "tests/streams/test_writer_kafka.py"
_TRACER = "tests/tracer/test_consume_kafka.py"
_DRAIN = "tests/streams/test_drain.py"
_KILLS = "tests/streams/test_drain_kills.py"
_COMMITTED = '"read_committed"'
_UNCOMMITTED = '"read_uncommitted"'


def _uncommitted(name: str, who: str, file: str, before: str, *tests: str) -> Fault:
    edit = Edit(file, f"{before}{_COMMITTED}", f"{before}{_UNCOMMITTED}")
    return Fault(f"read-uncommitted-{name}", f"{who} reads what was not committed", (edit,), tests)


FAULTS = (
    Fault(
        "group-offset-first",
        # Committing early does no harm by itself, since a worker goes on from its state; so this one trusts the group.
        "the group's offset is committed before the transaction, and is where a worker goes on",
        (
            Edit(
                "streams/partitions.py",
                "held.written_offset for one, held in self.held.items() if held.written_offset is",
                "held.assembler.next_offset for one, held in self.held.items() if held.assembler.next_offset is",
            ),
            Edit("streams/delivery.py", "            if starts:\n", "            if not starts:\n"),
        ),
        ("tests/streams/test_positions_kafka.py",),
    ),
    Fault(
        "no-fence",
        "a new owner of a partition fences nobody",
        (Edit("streams/kafka.py", 'f"assembler-{self.partition}"', 'f"assembler-{self.partition}-{id(self)}"'),),
        (
            f"{_WRITER}::test_a_new_owner_fences_the_one_before_which_then_writes_nothing",
            f"{_WRITER}::test_an_owner_frozen_in_its_transaction_is_never_read_and_writes_nothing_when_it_wakes",
        ),
    ),
    Fault(
        "tombstones-outside",
        "what removes a closed trajectory's steps from the state is sent outside the transaction that publishes it",
        (
            Edit(
                "streams/kafka.py",
                "        async with self._transaction():\n            closed, failed",
                "        async with self._transaction():\n"
                "            gone = [(key, None, ()) for key, value in checkpoint.state if value is None]\n"
                "            await self._send(TopicName.ASSEMBLER_STATE, self.partition, gone)\n"
                "        async with self._transaction():\n            closed, failed",
            ),
        ),
        (f"{_WRITER}::test_an_owner_that_ends_after_any_of_its_sends_has_written_nothing",),
    ),
    Fault(
        "wall-clock",
        "a trajectory falls idle by the worker's own clock",
        (
            Edit(
                "streams/clock.py",
                "return self.time_ms - self.skipped_ms",
                'return int(__import__("time").time_ns() // 1_000_000)',
            ),
        ),
        ("tests/streams/test_idleness.py",),
    ),
    Fault(
        "outage-counts",
        "time that nobody watched counts towards idleness",
        (Edit("streams/clock.py", "self.skipped_ms += gap - self.max_gap_ms", "self.skipped_ms += 0"),),
        ("tests/streams/test_idleness.py",),
    ),
    Fault(
        "commit-before-insert",
        "the sink commits its offsets, and then inserts",
        (
            Edit(
                "streams/drain.py",
                "        await self._writer.write(batch)\n",
                "        await self._consumer.commit(offsets)\n        await self._writer.write(batch)\n",
            ),
        ),
        (
            f"{_KILLS}::test_a_failure_that_no_waiting_mends_ends_the_sink",
            f"{_KILLS}::test_a_sink_told_to_stop_while_the_store_is_away_leaves_in_time_and_commits_nothing",
        ),
    ),
    Fault(
        "progress-forgotten",
        "the tracer goes on from its group's offset alone, without what its commit said beside it",
        (Edit("tracer/kafka.py", 'Commit(one.offset, one.metadata or "")', 'Commit(one.offset, "")'),),
        (
            f"{_TRACER}::test_after_a_kill_only_what_was_in_flight_is_traced_again",
            f"{_TRACER}::test_what_kills_its_worker_three_times_is_abstained_on_and_the_others_go_on",
        ),
    ),
    Fault(
        "shadow-before-commit",
        "a candidate traces a failure before the broker knows that it has its verdict",
        (Edit("tracer/shadow.py", "            await self._way.settle()\n", ""),),
        (
            "tests/tracer/test_shadow.py::test_a_shadow_is_traced_after_the_commit_and_marked_with_the_candidates_name_and_version",
            "tests/tracer/test_shadow_kafka.py::test_a_candidate_that_kills_its_worker_costs_its_own_verdict_and_no_other",
        ),
    ),
    _uncommitted(
        "source",
        "the streams worker",
        "streams/delivery.py",
        "consumer._isolation_level = ",
        "tests/streams/test_uncommitted_kafka.py",
    ),
    _uncommitted(
        "state",
        "whoever takes over a partition",
        "streams/reader.py",
        "isolation_level=",
        f"{_WRITER}::test_an_owner_that_ends_after_any_of_its_sends_has_written_nothing",
    ),
    _uncommitted(
        "tracer",
        "the tracer",
        "tracer/kafka.py",
        "isolation_level=",
        "tests/tracer/test_uncommitted_kafka.py",
    ),
    _uncommitted(
        "sink",
        "the sink",
        "streams/drain.py",
        "isolation_level=",
        f"{_DRAIN}::test_what_a_transaction_aborted_is_never_stored_and_its_end_is_no_lag",
    ),
    Fault(
        "event-id-alone",
        "the assembler knows an event by its id, whichever trajectory it is of",
        (
            Edit(
                "streams/assemble.py",
                "        self.pending.events += 1\n",
                "        self.pending.events += 1\n"
                '        seen = self.__dict__.setdefault("seen", set())\n'
                "        if event.event_id in seen:\n            return\n"
                "        seen.add(event.event_id)\n",
            ),
        ),
        ("tests/streams/test_duplicates.py",),
    ),
    Fault(
        "event-id-alone-stored",
        "the store knows a step by its event id, whichever trajectory it is of",
        (
            Edit(
                "streams/migrations/0002_steps.sql",
                "ORDER BY (trajectory_id, opened_at, event_id)",
                "ORDER BY event_id",
            ),
        ),
        ("tests/streams/test_sink.py::test_an_id_that_comes_back_later_is_another_run",),
    ),
)

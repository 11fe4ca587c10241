"""`agentracer doctor`: what is wrong, and what to do about it.

Rules: each thing is looked at alone, so that one that is broken hides no other (a settings file that is broken is
left out when the rest is looked at); a finding that is not well says what to do; nothing of the product is changed:
for the brokers' transactions and clocks a topic of the doctor's own comes and goes (`ops/probe.py`).
"""

import asyncio
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.table import Table

from ops import query
from ops.client import describe
from ops.config import file_problems, unknown_variables
from ops.plain import address, cell
from ops.probe import Held, Span, clocks, states
from ops.settings_table import CLASSES
from ops.topic_changes import FoundTopic, problems
from ops.wrong_setting import WrongSetting, wrong_settings
from schemas import TopicName
from schemas.config_file import CONFIG_NAME, CONFIG_VARIABLE, config_file, read_config
from schemas.errors import AgentracerError, SettingsError
from streams.migrate import Client, check_migrated
from streams.route import load_rules
from streams.settings import StreamsSettings
from streams.sink_settings import database_of
from tracer.rules import by_name
from tracer.settings import TracerSettings

T = TypeVar("T")
CLOCK_S = 5.0
"""A clock that differs by more spoils queue times and the check of timestamps."""
_HERE = ("127.0.0.1", "localhost", "[::1]")


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    is_well: bool
    message: str


def examine(broker: str, clickhouse: str, now: Callable[[], float]) -> list[Finding]:
    """Look at everything; `now` is this machine's clock."""
    file = _file()
    with _left_out(file.is_well):
        return [file, *_variables(os.environ), *_settings(), *_broker(broker, now), *_store(clickhouse, now)]


def _file() -> Finding:
    path = config_file()
    if path is None:
        lies = f"; {CONFIG_NAME} in this folder is not read unless it is" if Path(CONFIG_NAME).is_file() else ""
        return Finding("settings file", is_well=True, message=f"none is named by {CONFIG_VARIABLE} or --config{lies}")
    try:
        wrong = file_problems(read_config(path), str(path))
    except SettingsError as error:
        wrong = [str(error)]
    return Finding("settings file", is_well=not wrong, message="; ".join(wrong) or f"{str(path)!r} is valid")


@contextmanager
def _left_out(is_well: bool) -> Iterator[None]:  # noqa: FBT001 - the one question
    """Leave a settings file that is broken out of what is read meanwhile."""
    named = None if is_well else os.environ.pop(CONFIG_VARIABLE, None)
    try:
        yield
    finally:
        if named is not None:
            os.environ[CONFIG_VARIABLE] = named


def _variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    unknown = unknown_variables(environment)
    for name, advice in unknown.items():
        yield Finding(f"variable {name}", is_well=False, message=f"nobody reads {name}; {advice}")
    if not unknown:
        yield Finding("variables", is_well=True, message="all known")


def _settings() -> Iterator[Finding]:
    read = {}
    for kind in CLASSES:
        read[kind] = yield from _read(kind.__name__, kind)
    streams, tracer = read[StreamsSettings], read[TracerSettings]
    if isinstance(streams, StreamsSettings):
        rules = streams.routing_rules
        yield _tried("routing rules", lambda: load_rules(rules))
    if isinstance(tracer, TracerSettings):
        name = tracer.tracer
        yield _tried("tracer", lambda: by_name(name))


def _read(what: str, kind: Callable[[], T]) -> Generator[Finding, None, T | None]:
    try:
        read = kind()
    except WrongSetting as error:
        yield Finding(what, is_well=False, message="; ".join(wrong_settings(error)))
        return None
    yield Finding(what, is_well=True, message="valid")
    return read


def _tried(what: str, attempt: Callable[[], object]) -> Finding:
    try:
        attempt()
    except AgentracerError as error:
        return Finding(what, is_well=False, message=str(error))
    return Finding(what, is_well=True, message="valid")


def _broker(broker: str, now: Callable[[], float]) -> Iterator[Finding]:
    try:
        found = asyncio.run(describe(broker))
    except AgentracerError as error:
        yield Finding("broker", is_well=False, message=str(error))
        return
    yield Finding("broker", is_well=True, message=f"answers at {broker}")
    yield from _transactions(broker, now)
    wrong = list(problems(found))
    for problem in wrong:
        yield Finding(f"topic {problem.topic}", is_well=False, message=problem.message)
    if not wrong:
        yield Finding("topics", is_well=True, message="as the table has them")
    yield from _state(broker, found)


def _transactions(broker: str, now: Callable[[], float]) -> Iterator[Finding]:
    """Look at what every checkpoint is, a transaction, and at the clocks that set the times of step events."""
    try:
        spans = asyncio.run(clocks(broker, now))
    except SettingsError:
        yield _none_known(broker)
    except AgentracerError as error:
        yield Finding("transactions", is_well=False, message=str(error))
    else:
        yield Finding("transactions", is_well=True, message="work")
        yield from map(_broker_clock, spans)


def _none_known(broker: str) -> Finding:
    """Judge a broker without transactions: `up` starts one, on this machine, and knows what it does."""
    try:
        settings = StreamsSettings()
    except WrongSetting:
        settings = StreamsSettings.model_construct()
    is_asked_for = settings.transactions and "transactions" in settings.model_fields_set
    is_here = all(host.rpartition(":")[0] in _HERE for host in broker.split(","))
    remedy = "use Apache Kafka, or for trying things out set AGENTRACER_TRANSACTIONS=false"
    if settings.transactions and (is_asked_for or not is_here):
        message = f"the broker at {broker!r} knows none, so no worker can write a checkpoint; {remedy}"
        return Finding("transactions", is_well=False, message=message)
    message = f"the broker knows none: as `agentracer up`'s own it promises nothing across a kill; else {remedy}"
    return Finding("transactions", is_well=True, message=message)


def _broker_clock(span: Span) -> Finding:
    return _clock(f"the clock of broker {span.broker}", span.difference_s)


def _state(broker: str, topics: Mapping[TopicName, FoundTopic]) -> Iterator[Finding]:
    if not {TopicName.ASSEMBLER_STATE, TopicName.STEP_EVENTS} <= topics.keys():
        return
    partitions = topics[TopicName.STEP_EVENTS].partitions
    try:
        held = asyncio.run(states(broker, topics[TopicName.ASSEMBLER_STATE].partitions, partitions))
    except AgentracerError as error:
        yield Finding("state", is_well=False, message=str(error))
        return
    wrong = [*_of_other_partitions(held, partitions), *_lost(held)]
    for message in wrong:
        yield Finding("state", is_well=False, message=message)
    if not wrong:
        yield Finding("state", is_well=True, message="fits step-events" if held else "none yet")


def _of_other_partitions(held: Collection[Held], partitions: int) -> Iterator[str]:
    others = {one.source.partitions for one in held} - {partitions}
    if others:
        yield (
            f"step-events has {partitions} partitions, the state was written for {' and '.join(map(str, others))}: "
            "trajectories would change homes; restore the old number, or drain and start with a new assembler-state"
        )


def _lost(held: Collection[Held]) -> Iterator[str]:
    for one in held:
        if one.source.offset < one.first:
            yield (
                f"{one.first - one.source.offset} records of step-events/{one.partition} were deleted before they were "
                "read; set AGENTRACER_ACCEPT_LOST_OFFSETS=true to go on without them"
            )


def _store(clickhouse: str, now: Callable[[], float]) -> Iterator[Finding]:
    try:
        with query.connect(clickhouse, within_s=3.0) as client:
            client.database = None  # it may not be there yet
            before = now()
            theirs = float(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0]) / 1000
            yield Finding("store", is_well=True, message=f"answers at {address(clickhouse)}")
            yield _clock("the store's clock", Span(0, theirs, before, now()).difference_s)
            yield _tried("tables", lambda: check_migrated(client, database_of(clickhouse)))
    except AgentracerError as error:
        yield Finding("store", is_well=False, message=str(error))
        return
    try:
        with query.connect(clickhouse, within_s=3.0) as client:
            client.database = None
            yield _rights(client, database_of(clickhouse))
    except AgentracerError as error:
        yield Finding("store's rights", is_well=False, message=str(error))


def _rights(client: Client, database: str) -> Finding:
    """Look at whether a sink may write: `readonly` forbids it whatever is granted."""
    is_read_only = client.query("SELECT value FROM system.settings WHERE name = 'readonly'").result_rows[0][0] != "0"
    may = client.query(f"CHECK GRANT SELECT, INSERT ON {_quoted(database)}.*").result_rows[0][0]
    if is_read_only or not int(may):
        why = "its profile is read-only" if is_read_only else f"it may not read and insert into {database!r}"
        message = f"the user that AGENTRACER_CLICKHOUSE_URL names can't write: {why}; grant it, or name another user"
        return Finding("store's rights", is_well=False, message=message)
    return Finding("store's rights", is_well=True, message="may read and write")


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _clock(what: str, difference_s: float) -> Finding:
    if abs(difference_s) <= CLOCK_S:
        return Finding(what, is_well=True, message="agrees with this machine's")
    message = f"differs by {difference_s:+.0f} s from this machine's; set both by NTP"
    return Finding(what, is_well=False, message=message)


def report_table(findings: list[Finding]) -> Table:
    """Return the findings as a table."""
    table = Table(show_header=False, box=None)
    for finding in findings:
        verdict = "[green]well[/green]" if finding.is_well else "[red]WRONG[/red]"
        table.add_row(verdict, cell(finding.what), cell(finding.message))
    return table

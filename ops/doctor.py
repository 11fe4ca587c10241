"""`agentracer doctor`: what is wrong, and what to do about it.

Rules: each thing is looked at alone, so that one that is broken hides no other; a finding that is not well says
what to do; nothing is changed.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, TypeVar

from rich.table import Table

from ops import query
from ops.client import check_topics
from ops.plain import address, cell
from ops.wrong_setting import WrongSetting, wrong_setting
from schemas.errors import AgentracerError
from streams.migrate import check_migrated
from streams.route import load_rules
from streams.settings import StreamsSettings
from streams.sink_settings import SinkSettings, database_of
from tracer.rules import by_name
from tracer.settings import TracerSettings

T = TypeVar("T")
CLOCK_S = 5.0
"""A clock that differs by more spoils queue times and the check of timestamps."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    is_well: bool
    message: str


def examine(broker: str, clickhouse: str, now: Callable[[], float]) -> list[Finding]:
    """Look at everything."""
    return [*_settings(), *_broker(broker), *_store(clickhouse, now)]


def _settings() -> Iterator[Finding]:
    streams = yield from _read("StreamsSettings", StreamsSettings)
    tracer = yield from _read("TracerSettings", TracerSettings)
    yield from _read("SinkSettings", SinkSettings)
    if streams is not None:
        yield _tried("routing rules", lambda: load_rules(streams.routing_rules))
    if tracer is not None:
        yield _tried("tracer", lambda: by_name(tracer.tracer))


def _read(what: str, kind: Callable[[], T]) -> Generator[Finding, None, T | None]:
    try:
        read = kind()
    except WrongSetting as error:
        yield Finding(what, is_well=False, message=wrong_setting(error))
        return None
    yield Finding(what, is_well=True, message="valid")
    return read


def _tried(what: str, attempt: Callable[[], object]) -> Finding:
    try:
        attempt()
    except AgentracerError as error:
        return Finding(what, is_well=False, message=str(error))
    return Finding(what, is_well=True, message="valid")


def _broker(broker: str) -> Iterator[Finding]:
    try:
        problems = asyncio.run(check_topics(broker))
    except AgentracerError as error:
        yield Finding("broker", is_well=False, message=str(error))
        return
    yield Finding("broker", is_well=True, message=f"answers at {broker}")
    for problem in problems:
        yield Finding(f"topic {problem.topic}", is_well=False, message=problem.message)
    if not problems:
        yield Finding("topics", is_well=True, message="as the table has them")


def _store(clickhouse: str, now: Callable[[], float]) -> Iterator[Finding]:
    try:
        with query.connect(clickhouse, within_s=3.0) as client:
            client.database = None  # it may not be there yet
            asked = now()
            store_time = float(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0]) / 1000
            yield Finding("store", is_well=True, message=f"answers at {address(clickhouse)}")
            yield _clock("the store's clock", store_time - (asked + now()) / 2)
            yield _tried("tables", lambda: check_migrated(client, database_of(clickhouse)))
    except AgentracerError as error:
        yield Finding("store", is_well=False, message=str(error))


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

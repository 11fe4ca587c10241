"""`agentracer doctor`: what is wrong, and what to do about it.

Rules: each thing is looked at alone, so that one that is broken hides no other; a finding that is not well says
what to do; nothing is changed.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pydantic import ValidationError
from rich.table import Table

from ops import query
from ops.client import check_topics
from schemas.errors import AgentracerError
from streams.migrate import check_migrated
from streams.route import load_rules
from streams.settings import StreamsSettings
from streams.sink_settings import SinkSettings, database_of
from tracer.rules import by_name
from tracer.settings import TracerSettings

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
    for kind in (StreamsSettings, TracerSettings, SinkSettings):
        try:
            kind()
            yield Finding(kind.__name__, is_well=True, message="valid")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = "AGENTRACER_" + "__".join(map(str, first["loc"])).upper()
            yield Finding(kind.__name__, is_well=False, message=f"{name}: {first['msg']}; mend it or unset it")
    yield _tried("routing rules", lambda: load_rules(StreamsSettings().routing_rules))
    yield _tried("tracer", lambda: by_name(TracerSettings().tracer))


def _tried(what: str, attempt: Callable[[], object]) -> Finding:
    try:
        attempt()
    except (AgentracerError, ValidationError) as error:
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
            yield Finding("store", is_well=True, message=f"answers at {clickhouse.rsplit('@', maxsplit=1)[-1]}")
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
        table.add_row("[green]well[/green]" if finding.is_well else "[red]WRONG[/red]", finding.what, finding.message)
    return table

"""What `agentracer retrace` would trace, and what that would cost: told before anything is traced.

Rules: the newest first, what this version of the tracer traced again before left out; no model is loaded for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from ops import query
from ops.plain import cell
from ops.query_runs import Failure, Range, failures, past_verdicts, text_bytes
from ops.retrace_cost import Estimate, Limits, estimate
from schemas.errors import SettingsError
from tracer.calibrate import load
from tracer.choose import adapter_of, engine_of
from tracer.engines.limits import Purse
from tracer.methods.table import METHODS
from tracer.model import ModelTracer
from tracer.protocol import Tracer
from tracer.rules import RULES, by_name
from tracer.settings import TracerSettings


class Choice(NamedTuple):
    """What is traced of the range, and how many at a time."""

    limit: int | None = None
    concurrency: int = 8
    again: bool = False
    """Also what this version of the tracer has traced again before."""


@dataclass(frozen=True)
class Plan:
    """What would be traced, and what it would cost."""

    within: Range
    tracer: str
    version: str
    choice: Choice
    failures: tuple[Failure, ...]
    done_before: int
    """Left out, because this version traced them again before."""
    gone: int
    """Left out, because their steps are not in the store any more."""
    estimate: Estimate
    cost_limit: float | None = None

    def view(self) -> RenderableType:
        """Return what a person is told before it is done."""
        table = Table(show_header=False, box=None)
        for name, text in self._lines():
            table.add_row(name, cell(text))
        return Group(cell(f"{len(self.failures):,} failed runs to be traced again by {self.tracer}"), table)

    def _lines(self) -> Iterator[tuple[str, str]]:
        cost = self.estimate
        of = f" of system {self.within.system}" if self.within.system else ""
        yield "closed", f"from {_minute(self.within.since)} until {_minute(self.within.until)}{of}"
        if self.done_before:
            yield "left out", f"{self.done_before:,} that {self.version} traced again before; --again traces them too"
        if self.gone:
            yield "left out", f"{self.gone:,} whose steps the store does not keep any more"
        if not self.failures:
            return
        yield "steps", f"{cost.steps:,}"
        yield "tokens", _tokens(cost)
        yield "time", _time(cost, self.choice.concurrency)
        if cost.cost is not None:
            yield "money", _money(cost, self.cost_limit)


def planned(clickhouse: str, within: Range, settings: TracerSettings, choice: Choice) -> Plan:
    """Look what there is to be traced, newest first, and estimate its cost; no model is loaded for that."""
    if within.since >= within.until:
        since, until = _minute(within.since), _minute(within.until)
        raise SettingsError(f"nothing lies from {since} until {until}; give an earlier --since")
    tracer = tracer_of(settings)
    with query.connect(clickhouse, within_s=3.0) as client:
        found = failures(client, within, tracer.name, tracer.version)
        left = [one for one in found if choice.again or not one.is_retraced]
        wanted = left[: choice.limit]
        sizes = text_bytes(client, (one.id for one in wanted))
        past = past_verdicts(client, tracer.name)
    there = [one for one in wanted if one.id in sizes]
    steps = sum(one.step_count for one in there)
    return Plan(
        within=within,
        tracer=tracer.name,
        version=tracer.version,
        choice=choice,
        failures=tuple(there),
        done_before=len(found) - len(left),
        gone=len(wanted) - len(there),
        estimate=estimate([sizes[one.id] for one in there], steps, past, _limits(settings, choice)),
        cost_limit=settings.openai.cost_limit if settings.engine == "openai" else None,
    )


def tracer_of(settings: TracerSettings) -> Tracer:
    """Return the tracer that the settings name, not started: for its name and its version."""
    if settings.tracer in RULES:
        return by_name(settings.tracer, settings.tracer_uncounted)
    if settings.tracer not in METHODS:
        known = ", ".join([*METHODS, *RULES])
        raise SettingsError(f"there is no tracer {settings.tracer!r}; choose one of {known}")
    adapter = adapter_of(settings)
    calibration = load(adapter) if adapter is not None else None
    return ModelTracer(engine_of(settings), METHODS[settings.tracer], settings.ask, calibration)


def _limits(settings: TracerSettings, choice: Choice) -> Limits:
    if settings.tracer not in METHODS:
        return Limits(None, settings.trace_timeout_s, choice.concurrency)
    ask, prices = settings.ask, settings.openai
    is_priced = settings.engine == "openai" and bool(prices.input_price or prices.output_price)
    purse = Purse(prices.input_price, prices.output_price, None) if is_priced else None
    return Limits(ask.tokens, min(ask.seconds, settings.trace_timeout_s), choice.concurrency, purse)


def _tokens(cost: Estimate) -> str:
    if cost.prompt_tokens is None:
        return "none; a rule asks no model"
    read = f"about {cost.prompt_tokens:,} to be read"
    if cost.output_tokens is None:
        return f"{read}, of one reading: a method that asks several questions reads more, and it writes some"
    return f"{read}, {cost.output_tokens:,} to be written"


def _time(cost: Estimate, concurrency: int) -> str:
    if cost.seconds is None:
        return "unknown: the store has no verdict of this tracer yet"
    took = timedelta(seconds=round(cost.seconds))
    return f"about {took} with {concurrency} at a time, as {cost.past_verdicts:,} past verdicts of this tracer took"


def _money(cost: Estimate, limit: float | None) -> str:
    text = f"about {cost.cost:,.2f} in the currency of the endpoint's prices"
    if cost.output_tokens is None:
        text += ", without what is written"
    if limit is not None and cost.cost is not None and cost.cost > limit:
        text += f"; the cost limit of {limit:,.2f} will end it before"
    return text


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

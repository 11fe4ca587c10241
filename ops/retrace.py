"""`agentracer retrace`: failed runs of a range are traced again, each in its latest revision, the newest first.

Rules: what it will cost is told before anything is traced; verdicts are marked, and the store counts none of them; one
is sent as soon as it is there, so what was done when it ends is done, and the same range again traces the rest; a run
that can't be traced is told and not sent; a tracer that fails several times in a row ends it, as a broker does that
is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ops import query
from ops.client import sending_verdicts
from ops.plain import cell
from ops.query_runs import Failure
from ops.retrace_cost import Estimate
from ops.retrace_plan import Plan
from ops.trace_now import trajectory_of
from schemas import Trajectory, Verdict, VerdictPurpose, VerdictStatus
from schemas.errors import AgentracerError
from streams.migrate import Client
from tracer.choose import chosen
from tracer.protocol import Finding, Tracer, abstained
from tracer.settings import TracerSettings
from tracer.verdict import to_verdict

FAILURES_IN_A_ROW = 5
Send = Callable[[Verdict], Awaitable[None]]
Read = Callable[[Failure], Awaitable["Again | None"]]


class Again(NamedTuple):
    """A run that is to be traced again, and the verdict that stands for its latest revision."""

    trajectory: Trajectory
    standing: query.VerdictLine | None


@dataclass
class Report:
    """What came of it; the JSON of `retrace`."""

    estimate: Estimate
    sent: int = 0
    """Verdicts on the topic; the sink brings them into the store."""
    statuses: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    """Runs whose standing verdict names an agent and a step."""
    same_agent: int = 0
    same_step: int = 0
    gone: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Trajectory id, and why it could not be traced."""
    is_whole: bool = False
    """Whether it was not interrupted."""

    def note(self, verdict: Verdict, standing: query.VerdictLine | None) -> None:
        """Count a verdict that was sent, beside the one that stands."""
        self.sent += 1
        self.statuses[verdict.status.value] = self.statuses.get(verdict.status.value, 0) + 1
        if standing is not None and standing.agent is not None and standing.step_index is not None:
            self.compared += 1
            self.same_agent += verdict.agent == standing.agent
            self.same_step += verdict.step_index == standing.step_index


def retrace(plan: Plan, settings: TracerSettings, broker: str, clickhouse: str, console: Console) -> Report:
    """Trace what was planned and send the verdicts; when it is interrupted, what is done is told."""
    report = Report(plan.estimate, is_whole=not plan.failures)
    if not plan.failures:
        return report
    try:
        with query.connect(clickhouse, within_s=3.0) as client, _progress(len(plan.failures), console) as note:
            asyncio.run(_retrace(plan, settings, broker, client, report, note))
        report.is_whole = True
    except KeyboardInterrupt:
        console.print(f"interrupted; {_done(plan, report)}")
    except AgentracerError:
        console.print(_done(plan, report))
        raise
    return report


def _done(plan: Plan, report: Report) -> str:
    return f"{report.sent:,} of {len(plan.failures):,} verdicts were sent; the same command again traces the rest"


async def _retrace(
    plan: Plan, settings: TracerSettings, broker: str, client: Client, report: Report, note: Callable[[str], None]
) -> None:
    one_at_a_time = asyncio.Lock()

    async def read(failure: Failure) -> Again | None:
        async with one_at_a_time:
            return await asyncio.to_thread(_read_again, client, failure)

    async with sending_verdicts(broker) as send, chosen(settings) as tracer:
        work = Retracing(tracer, read, send, report, settings.trace_timeout_s, note)
        await work.run(plan.failures, plan.choice.concurrency)


def _read_again(client: Client, failure: Failure) -> Again | None:
    """Read the latest revision of a run; None when its steps are gone since the plan was made."""
    found = query.trajectory(client, failure.trajectory_id, failure.opened_at)
    if found is None or len(found.steps) < found.trajectory.step_count:
        return None
    return Again(trajectory_of(found), found.verdict)


class Retracing:
    """Runs in work, several at a time."""

    def __init__(
        self,
        tracer: Tracer,
        read: Read,
        send: Send,
        report: Report,
        timeout_s: float,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tracer = tracer
        self._read = read
        self._send = send
        self._report = report
        self._timeout_s = timeout_s
        self._note = note
        self._failed_in_a_row = 0

    async def run(self, failures: Sequence[Failure], concurrency: int) -> None:
        """Trace all of them; raises what the broker or a broken tracer raises."""
        waiting = iter(failures)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(failures))):
                    group.create_task(self._work(waiting))
        except* AgentracerError as errors:
            raise _first(errors) from None

    async def _work(self, waiting: Iterator[Failure]) -> None:
        for failure in waiting:
            again = await self._read(failure)
            if again is None:
                self._report.gone += 1
                self._note("")
            else:
                await self._judge(again)

    async def _judge(self, again: Again) -> None:
        trajectory = again.trajectory
        try:
            verdict = await self._traced(trajectory)
        except AgentracerError as error:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= FAILURES_IN_A_ROW:
                raise
            self._report.failed.append((trajectory.trajectory_id, str(error)))
            self._note(f"{trajectory.trajectory_id}: {error}")
            return
        self._failed_in_a_row = 0
        await self._send(verdict)
        self._report.note(verdict, again.standing)
        self._note("")

    async def _traced(self, trajectory: Trajectory) -> Verdict:
        loop = asyncio.get_running_loop()
        began, version = loop.time(), self._tracer.version
        finding = await self._found(trajectory)
        return to_verdict(
            trajectory,
            finding,
            tracer=self._tracer.name,
            version=version,
            attempts=1,
            queued_ms=0,
            traced_ms=round((loop.time() - began) * 1000),
            decided_at=datetime.now(UTC),
            purpose=VerdictPurpose.RETRACE,
        )

    async def _found(self, trajectory: Trajectory) -> Finding:
        timeout = asyncio.timeout(self._timeout_s)
        try:
            async with timeout:
                return await self._tracer.trace(trajectory)
        except TimeoutError:
            if not timeout.expired():
                raise
            return abstained("timeout", VerdictStatus.OVERLONG)


def _first(errors: BaseExceptionGroup[AgentracerError]) -> AgentracerError:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AgentracerError)
    return error


def raise_failed(report: Report) -> None:
    """Raise where a run could not be traced."""
    if report.failed:
        trajectory_id, why = report.failed[0]
        raise AgentracerError(
            f"{len(report.failed)} runs could not be traced, {trajectory_id!r} first ({why}); the same command again "
            "traces what is left"
        )


def report_view(report: Report) -> RenderableType:
    """Return what came of it, as a person reads it."""
    table = Table(show_header=False, box=None)
    table.add_row("verdicts sent", f"{report.sent:,}")
    for status, count in sorted(report.statuses.items()):
        table.add_row(f"  {status}", f"{count:,}")
    for name, same in (("agent", report.same_agent), ("step", report.same_step)):
        table.add_row(f"same {name} as the standing verdict", f"{same:,} of {report.compared:,}")
    for name, count in (("steps gone meanwhile", report.gone), ("not traced", len(report.failed))):
        if count:
            table.add_row(name, f"{count:,}")
    return table


@contextmanager
def _progress(whole: int, console: Console) -> Iterator[Callable[[str], None]]:
    """Show a bar with an estimate; what is noted, if it is anything, is printed above it."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(TextColumn("tracing"), *columns, console=console) as bars:
        task = bars.add_task("", total=whole)

        def note(text: str) -> None:
            bars.advance(task)
            if text:
                bars.console.print(cell(text), style="yellow")

        yield note

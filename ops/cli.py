"""The command `agentracer`: every job of the product, for a person or, with `--json`, for a machine.

Rules: results go to stdout, progress and errors to stderr; an error of ours is one sentence and an exit code, never
a trace; Ctrl-C ends with 130 and SIGTERM with 143, and nothing that was started stays; what a command needs that
another role has is imported when it runs.
"""

import asyncio
import io
import json
import logging
import os
import random
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from ops import options
from ops.config import checked_config, defaults, warn_of_unknown_variables
from ops.letters import app as letters_app
from ops.logs import is_logging, log_to_stderr, quiet_libraries
from ops.plain import plain
from ops.roles import Role
from ops.tracing import evaluate, retrace, spectrum, trace
from ops.wrong_setting import WrongSetting, is_of_settings, wrong_setting
from schemas.config_file import CONFIG_VARIABLE
from schemas.errors import AgentracerError, SettingsError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Which agent, which version, which step broke the run: an event-driven monitor for fleets of LLM agents.\n\n"
    "Start with [bold]agentracer demo[/bold], or give your own runs to [bold]agentracer run FILE.jsonl[/bold].",
)
topics_app = typer.Typer(no_args_is_help=True, help="The topics, as the product's one table has them.")
app.add_typer(topics_app, name="topics")
app.add_typer(letters_app, name="dead-letters")
app.command()(trace)
app.command()(retrace)
app.command()(spectrum)
app.command()(evaluate)
stdout, stderr = Console(), Console(stderr=True)
INTERRUPTED, TERMINATED = 130, 143


def main() -> None:
    """Run one command; its errors are printed as one sentence."""
    _be_a_process()
    try:
        app()
    except AgentracerError as error:
        _fail(str(error), error.exit_code)
    except WrongSetting as error:
        if not is_of_settings(error):
            _break(error)
        _fail(wrong_setting(error), SettingsError.exit_code)
    except Exception as error:  # noqa: BLE001 - it is the end
        _break(error)


def _be_a_process() -> None:
    """Set what is set once for a process, ours and its children."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character is no reason to fail
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # the folder we are called in may hold modules named like ours
    signal.signal(signal.SIGTERM, _terminate)
    quiet_libraries(logging.CRITICAL)  # what they would warn of ends in an error of ours


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def _fail(message: str, exit_code: int) -> NoReturn:
    if is_logging() and not sys.stderr.isatty():
        logging.getLogger("agentracer").critical(message, extra={"exit_code": exit_code})
    else:
        stderr.print(f"agentracer: {plain(message)}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(exit_code)


def _break(error: Exception) -> NoReturn:
    """End with what is no error of ours, but a defect: with its trace."""
    if not is_logging():
        raise error
    logging.getLogger("agentracer").critical("a defect ended the worker", exc_info=error, extra={"exit_code": 1})
    sys.exit(1)


@app.callback()
def configure(ctx: typer.Context, config: options.Config = None) -> None:
    """Take the settings file into account, here and in everything that is started from here."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    try:
        ctx.default_map = defaults(ctx.command, checked_config())
    except SettingsError:
        if ctx.invoked_subcommand != "doctor":  # it finds what is wrong with the file itself, and goes on
            raise


@app.command()
def demo(
    runs: Annotated[
        int | None, typer.Option(min=1, help="How many runs the simulated fleet makes; else 60, and fewer for a model.")
    ] = None,
    seed: options.Seed = 7,
    broker: options.Broker = None,
    clickhouse: options.Clickhouse = None,
    kafka: options.Kafka = False,
    tracer: Annotated[
        str | None,
        typer.Option(
            help="A rule: last_error, last_step, commonest_agent or random; else the embedded model, where it is."
        ),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Send a simulated fleet through everything, and end with verdicts beside the true faults."""
    from ops.demo import demonstrate
    from ops.pipeline import Where

    where = Where(broker=broker, clickhouse=clickhouse, kafka=kafka)
    report, table = demonstrate(runs, seed, where, tracer, stderr)
    if json_:
        print(json.dumps(report))
    else:
        stdout.print(table)
    if report["lost"] or report["duplicates"]:
        raise AgentracerError(f"{report['lost']} events were lost and {report['duplicates']} doubled; this is a defect")


@app.command()
def run(
    path: Annotated[Path, typer.Argument(help="A .jsonl of events, a Who&When folder, or a tau-bench file.")],
    kind: Annotated[
        Literal["jsonl", "who-and-when", "tau-bench"] | None, typer.Option(help="The form, if it can't be told.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=options.writable, help="Write the verdicts as JSON lines."),
    ] = None,
    store: options.Store = None,
    broker: options.Broker = None,
    clickhouse: options.Clickhouse = None,
    kafka: options.Kafka = False,
    tracer: options.TracerName = "commonest_agent",
    rules: options.Rules = None,
    rate: options.Rate = None,
    concurrency: options.Concurrency = 8,
    shuffle: options.Shuffle = False,
    duplicate: options.Duplicate = 0.0,
    ndjson: options.Ndjson = 1,
    seed: options.Seed = 0,
    json_: options.Json = False,
) -> None:
    """Send recorded runs, process them to the end, and print their verdicts: the whole path in one call."""
    from ops.pipeline import Where
    from ops.run_path import Order, run_path
    from ops.sending import raise_refused

    where = Where(broker=broker, clickhouse=clickhouse, kafka=kafka, store=store)
    order = Order(rate, concurrency, duplicate, ndjson, seed, shuffle=shuffle)
    result = run_path(path, kind, where, order, {"tracer": tracer, "rules": rules}, stderr)
    if out is not None:
        with options.usable(out):
            out.write_text("".join(f"{line}\n" for line in result.verdict_lines()))
    if json_:
        print(json.dumps(asdict(result.report)))
    else:
        stdout.print(result.table())
    if result.report.lost:
        raise AgentracerError(f"{result.report.lost} events were lost; this is a defect")
    raise_refused(result.refused)


@app.command()
def up(
    broker: options.Broker = None,
    clickhouse: options.Clickhouse = None,
    kafka: options.Kafka = False,
    store: options.Store = None,
    tracer: options.TracerName = "commonest_agent",
    rules: options.Rules = None,
    broker_port: options.BrokerPort = options.BROKER_PORT,
    store_port: options.StorePort = options.STORE_PORT,
) -> None:
    """Start every role and keep them running until Ctrl-C; then `send`, `verdicts` and `show` from elsewhere."""
    from ops.pipeline import Where
    from ops.up import keep_up

    where = Where(broker, clickhouse, kafka, store, broker_port, store_port)
    keep_up(where, {"tracer": tracer, "rules": rules}, stderr)


@app.command()
def worker(role: Annotated[Role, typer.Argument(help="Which role.")]) -> None:
    """Run one role in this process, for production: it logs JSON lines to stderr until it is told to stop.

    Settings are variables AGENTRACER_… of the environment, or keys of a TOML file that AGENTRACER_CONFIG or
    `agentracer --config FILE worker ROLE` names: `agentracer settings` lists them all, with what is in force here.
    Topics and tables have to be there: `agentracer topics apply`, `agentracer migrate`; `agentracer doctor` looks.

    SIGTERM or Ctrl-C drains: the last checkpoint, insert or verdict is written and committed, then it ends with 0; a
    second signal ends it at once, and the next worker goes on from the last commit. Other exit codes: 2 a setting is
    wrong, 3 broker or store do not answer, 4 a topic is missing or not as it has to be, 5 the state or the store's
    tables are not what this version may go on from, 6 too much rubbish on the topic, 7 the model can't be loaded or
    fails, 1 anything else.
    """
    from ops.health import HealthSettings, watched

    log_to_stderr()
    warn_of_unknown_variables(os.environ)
    with watched(role, HealthSettings()) as (metrics, health):
        match role:
            case Role.STREAMS:
                from streams.settings import StreamsSettings
                from streams.worker import main as run_streams

                run_streams(StreamsSettings(), metrics, health)
            case Role.TRACER:
                from tracer.settings import TracerSettings
                from tracer.worker import main as run_tracer

                run_tracer(TracerSettings(), metrics, health)
            case Role.SINK:
                from streams.drain import run as run_sink
                from streams.sink_settings import SinkSettings

                run_sink(SinkSettings(), metrics, health)


@app.command()
def send(
    kind: Annotated[Literal["jsonl", "who-and-when", "tau-bench"], typer.Argument(help="The form of the file.")],
    path: Annotated[Path, typer.Argument(help="A file or folder of recorded runs.")],
    broker: options.To = options.DEFAULT_BROKER,
    rate: options.Rate = None,
    concurrency: options.Concurrency = 8,
    shuffle: options.Shuffle = False,
    duplicate: options.Duplicate = 0.0,
    loop: Annotated[bool, typer.Option(help="Begin again for ever, each lap with new trajectory ids.")] = False,
    ndjson: options.Ndjson = 1,
    seed: options.Seed = 0,
    json_: options.Json = False,
) -> None:
    """Publish recorded runs as step events."""
    from ops.recorded.load import Recording
    from ops.send import Ledger, plan
    from ops.sending import raise_refused, send_showing

    events = plan(
        Recording(kind, path),
        concurrency=concurrency,
        shuffle=shuffle,
        duplicate=duplicate,
        loop=loop,
        rng=random.Random(seed),  # noqa: S311 - an order, no secret
    )
    ledger = Ledger(keep_ids=not loop)
    is_whole = send_showing(broker, events, ledger, rate, ndjson, stderr)
    summary = {"acknowledged": ledger.acknowledged, "refused": len(ledger.refused)}
    if not loop:
        summary["steps"] = len(ledger.steps)
    print(json.dumps(summary)) if json_ else stdout.print(f"{ledger.acknowledged:,} events acknowledged")
    raise_refused(ledger.refused)
    if not is_whole and not loop:
        raise typer.Exit(INTERRUPTED)


@app.command()
def verdicts(
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    since: Annotated[
        float | None, typer.Option(metavar="HOURS", min=0, max=options.MOST_HOURS, help="Only of the last hours.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Only of this system.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only those that blame this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    json_: options.Json = False,
) -> None:
    """List the standing verdicts, the newest first."""
    from ops import query, show

    start = None if since is None else datetime.now(UTC) - timedelta(hours=since)
    with query.connect(clickhouse, within_s=3.0) as client:
        lines = query.verdicts(client, since=start, system=system, agent=agent, limit=limit)
    if json_:
        print(json.dumps([line._asdict() for line in lines], default=str))
    else:
        stdout.print(show.verdict_table(lines))


@app.command(name="show")
def show_run(
    trajectory_id: Annotated[str, typer.Argument(help="The trajectory's id, as `verdicts` lists it.")],
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    whole: Annotated[bool, typer.Option(help="Do not shorten the steps' content.")] = False,
    opened_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Of several runs of this id the one opened then; else the last one."),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Show one run: its steps, the decisive one marked, and its verdict."""
    from ops import query, show

    opened = None if opened_at is None else options.time_of(opened_at)
    with query.connect(clickhouse, within_s=3.0) as client:
        found = query.trajectory(client, trajectory_id, opened)
    if found is None:
        raise AgentracerError(
            f"the store has no trajectory {trajectory_id!r}; `agentracer verdicts` lists what there is"
        )
    if json_:
        verdict = found.verdict._asdict() if found.verdict else None
        steps = [step._asdict() for step in found.steps]
        print(json.dumps(found.trajectory._asdict() | {"steps": steps, "verdict": verdict}, default=str))
    else:
        stdout.print(show.run_view(found, whole=whole))


@topics_app.command("apply")
def apply_topics(
    broker: options.To = options.DEFAULT_BROKER,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of step-events and what follows it.")] = 4,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of each partition; 3 in production.")] = 1,
    json_: options.Json = False,
) -> None:
    """Create missing topics and mend settings that differ; it changes nothing else."""
    from ops.client import apply_topics as apply

    changes = asyncio.run(apply(broker, partitions=partitions, replicas=replicas))
    if json_:
        print(json.dumps([change._asdict() for change in changes]))
        return
    for change in changes:
        stdout.print(f"{change.kind:8} {change.topic}  {change.detail}", markup=False, highlight=False)
    if not changes:
        stdout.print("nothing to do")


@app.command()
def migrate(
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    replicated: Annotated[bool, typer.Option(help="Use replicated tables (a ClickHouse cluster).")] = False,
    json_: options.Json = False,
) -> None:
    """Bring the store's tables and views up to this version."""
    from ops.query import connect
    from streams.migrate import Retention
    from streams.migrate import migrate as apply
    from streams.sink_settings import SinkSettings, database_of

    with connect(clickhouse) as client:
        kept = SinkSettings(clickhouse_url=clickhouse)
        applied = apply(
            client,
            database_of(clickhouse),
            engine="replicated" if replicated else "single",
            retention=Retention(kept.step_retention_days, kept.retention_days),
        )
    names = [migration.name for migration in applied]
    print(json.dumps(names)) if json_ else stdout.print("\n".join(names) or "nothing to do")


@app.command()
def settings(json_: options.Json = False) -> None:
    """List every setting: its variable, what is in force here and from where, its default, and what it may be."""
    from ops.settings_page import listed, table
    from ops.settings_table import in_force

    found = in_force()
    print(json.dumps(listed(found), default=str)) if json_ else stdout.print(table(found))


@app.command()
def doctor(
    broker: options.To = options.DEFAULT_BROKER,
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    json_: options.Json = False,
) -> None:
    """Look at broker, topics, store, clocks and settings, and say what to do about what is wrong."""
    from ops.doctor import examine, report_table

    findings = examine(broker, clickhouse, time.time)
    if json_:
        print(json.dumps([finding._asdict() for finding in findings]))
    else:
        stdout.print(report_table(findings))
    if any(not finding.is_well for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()

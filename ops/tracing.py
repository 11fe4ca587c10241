"""The commands that judge runs without a fleet: `trace` one now, `retrace` a range of the store, compare a task's runs
by `spectrum`, `evaluate` tracers on labelled ones.
"""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from ops import options
from schemas.errors import SettingsError

stdout, stderr = Console(), Console(stderr=True)
EMBEDDED = "embedded"
"""Among the rows of `evaluate`: the embedded tracer's."""
Adapter = Annotated[
    Path | None,
    typer.Option(metavar="DIR", exists=True, file_okay=False, help="Serve this LoRA adapter, as peft writes it."),
]
System = Annotated[str | None, typer.Option(help="Only of this system.")]


def trace(
    what: Annotated[str, typer.Argument(metavar="TRAJECTORY_ID|FILE", help="A run in the store, or a file of runs.")],
    method: Annotated[str | None, typer.Option(help="A method or a rule; else what the settings name.")] = None,
    adapter: Adapter = None,
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    json_: options.Json = False,
) -> None:
    """Trace a run now, and print its verdict; nothing is written anywhere."""
    from ops import trace_now as body

    path = Path(what)
    found = body.trajectories_at(path) if path.exists() else [body.stored(clickhouse, what)]
    verdicts = body.trace_now(found, _settings(method, adapter), stderr)
    if json_:
        print(json.dumps([one.model_dump(mode="json") for one in verdicts]))
    else:
        stdout.print(body.verdict_views(verdicts))


def retrace(
    since: Annotated[str, typer.Option(metavar="WHEN", help="What was closed since: so many hours ago, or a time.")],
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="And before that; else until now.")] = None,
    system: System = None,
    method: Annotated[
        str | None, typer.Option("--method", "--tracer", help="A method or a rule; else what the settings name.")
    ] = None,
    adapter: Adapter = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of those left, the newest first.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what this version traced again before; the store keeps the first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask after the estimate.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="How many runs are traced at a time.")] = 8,
    broker: options.To = options.DEFAULT_BROKER,
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    json_: options.Json = False,
) -> None:
    """Trace failed runs of a range again; their verdicts are marked in the store, and count nowhere."""
    from ops import retrace as body
    from ops.query_runs import Range
    from ops.retrace_plan import Choice, planned

    now = datetime.now(UTC)
    within = Range(options.moment_of(since, now), now if until is None else options.moment_of(until, now), system)
    settings = _settings(method, adapter)
    plan = planned(clickhouse, within, settings, Choice(limit, concurrency, again=again))
    stderr.print(plan.view())
    if plan.failures and not yes and not _agrees(json_=json_):
        stderr.print("nothing was traced")
        return
    report = body.retrace(plan, settings, broker, clickhouse, stderr)
    print(json.dumps(asdict(report))) if json_ else stdout.print(body.report_view(report))
    if not report.is_whole:
        raise KeyboardInterrupt
    body.raise_failed(report)


def _agrees(*, json_: bool) -> bool:
    """Ask a person, where one is there."""
    if json_ or not (sys.stdin.isatty() and stderr.is_terminal):
        raise SettingsError("nobody can be asked whether to trace these (--json, or no terminal); give --yes to do so")
    return stderr.input("trace them? [y/N] ", markup=False).strip().lower() in {"y", "yes"}


def spectrum(
    task_id: Annotated[str, typer.Argument(help="The task's id, as its runs have it.")],
    system: System = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only what was closed since: so many hours ago, or a time.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many runs, those closed last.")] = 1_000,
    least_failed: Annotated[int | None, typer.Option(min=1, help="With fewer failed runs nothing is said.")] = None,
    least_passed: Annotated[int | None, typer.Option(min=0, help="With fewer passed runs nothing is said.")] = None,
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    json_: options.Json = False,
) -> None:
    """Compare the runs of one task: what the failed ones have in common and the passed ones have not."""
    from ops import spectrum as body

    start = None if since is None else options.moment_of(since, datetime.now(UTC))
    found = body.compared(clickhouse, body.Task(task_id, system, start, limit), body.least(least_failed, least_passed))
    print(json.dumps(found.as_json())) if json_ else stdout.print(found.view())


def evaluate(
    form: Annotated[Literal["who-and-when", "tracertraj", "mapped"], typer.Argument(help="The form of the data set.")],
    path: Annotated[Path, typer.Argument(help="Its file or folder.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Rows, with commas between: methods, asked of the settings' model; model-free stands for all rules,"
            " embedded for the embedded tracer, whose model every other method is then asked of."
        ),
    ] = f"model-free,{EMBEDDED}",
    adapter: Adapter = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What lies where (TOML or JSON), for `mapped`.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(metavar="FILE", help="Score these answers too.")] = None,
    results: Annotated[
        Path, typer.Option(metavar="FILE", callback=options.writable, help="Keep answers here; a second run goes on.")
    ] = Path("agentracer-evaluation.jsonl"),
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=options.writable, help="Write a page with plots.")
    ] = None,
    truth: Annotated[Literal["hidden", "shown", "both"], typer.Option(help="Whether models see the truth.")] = "hidden",
    answers: Annotated[
        Literal["constrained", "free", "both"], typer.Option(help="Held to a grammar, or not.")
    ] = "both",
    seeds: Annotated[int, typer.Option(min=1, help="So many vote; 1 is greedy.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many of each part.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many runs are traced at a time.")] = 8,
    seed: options.Seed = 0,
    json_: options.Json = False,
) -> None:
    """Measure how often tracers name the decisive agent and step, beside what needs no model."""
    from ops import evaluate as body
    from trainer.evaluate.models import Variants

    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    names, is_embedded = _rows(names)
    wanted = body.Wanted(
        form, path, mapping, names, Variants(truth, answers, seeds), predictions, results, limit, concurrency, seed
    )
    report = body.evaluate(wanted, stderr, _models(adapter, is_embedded=is_embedded))
    if html is not None:
        with options.usable(html):
            body.write_page(report, html)
    print(report.model_dump_json()) if json_ else stdout.print(body.tables(report))


def _rows(names: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return the rows by their own names, and whether the embedded tracer is one; where it is missing, say so."""
    from ops.embedded import tracer as embedded

    if EMBEDDED not in names:
        return names, False
    lacking = embedded.missing()
    if lacking is None:
        return tuple(embedded.METHOD if name == EMBEDDED else name for name in names), True
    if len(names) == 1:
        raise SettingsError(lacking)
    stderr.print(f"no row of the embedded tracer: {lacking}", style="yellow", markup=False)
    return tuple(name for name in names if name != EMBEDDED), False


def _models(adapter: Path | None, *, is_embedded: bool) -> Any:
    """Return the methods over the engine of the settings, or the embedded one; it is started when a row needs it."""
    from ops.embedded import tracer as embedded
    from tracer.calibrate import load
    from tracer.choose import adapter_of, engine_of
    from trainer.evaluate.models import EngineModels

    settings = _with(adapter, embedded.settings()) if is_embedded else _settings(None, adapter)
    served = adapter_of(settings)
    return EngineModels(engine_of(settings), settings.ask, load(served) if served is not None else None)


def _settings(method: str | None, adapter: Path | None) -> Any:
    """Return the settings with what the command chose."""
    from tracer.settings import TracerSettings

    return _with(adapter, TracerSettings() if method is None else TracerSettings(tracer=method))


def _with(adapter: Path | None, settings: Any) -> Any:
    """Return settings with another adapter; nothing shadows here, so the whole machine is the tracer's."""
    chosen: dict[str, Any] = {"tracer_shadow_adapter": None}
    if adapter is not None:
        if settings.engine != "vllm":
            raise SettingsError("an endpoint serves its own adapters; name one by AGENTRACER_OPENAI__MODEL")
        chosen["vllm"] = settings.vllm.model_copy(update={"adapter": adapter.absolute()})
    return settings.model_copy(update=chosen)

"""The options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

Broker = Annotated[
    str | None, typer.Option("--broker", metavar="HOST:PORT", help="Use this Kafka instead of the embedded broker.")
]
Clickhouse = Annotated[
    str | None,
    typer.Option(
        "--clickhouse",
        metavar="URL",
        help="Use this ClickHouse (http://user:password@host:8123/database) instead of the embedded store.",
    ),
]
Kafka = Annotated[bool, typer.Option("--kafka", help="Start a real Apache Kafka (needs Java 17 and Maven).")]
Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Keep the embedded store here; else it is forgotten.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object (or list) on stdout; progress goes to stderr.")]
Rules = Annotated[
    Path | None,
    typer.Option("--rules", metavar="FILE", help="Routing rules (TOML): what counts as failure, per system."),
]
TracerName = Annotated[
    str, typer.Option("--tracer", help="last_error, last_step, commonest_agent or random: model-free floors.")
]
Rate = Annotated[
    float | None, typer.Option(min=0.001, help="Events a second; as fast as the broker takes them if left out.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="How many runs are under way at a time, interleaved.")]
Shuffle = Annotated[bool, typer.Option(help="Send each run's steps in any order.")]
Duplicate = Annotated[float, typer.Option(min=0.0, max=1.0, help="This share of the events is sent twice.")]
Ndjson = Annotated[int, typer.Option(min=1, help="Events a record; above 1 the records are NDJSON.")]
Seed = Annotated[int, typer.Option(help="Fixes every draw: the order, the duplicates, the simulated fleet.")]
At = Annotated[
    str,
    typer.Option(
        "--clickhouse", envvar="AGENTRACER_CLICKHOUSE_URL", metavar="URL", help="The store; `up` serves this default."
    ),
]
To = Annotated[
    str,
    typer.Option(
        "--broker", envvar="AGENTRACER_BOOTSTRAP", metavar="HOST:PORT", help="The broker; `up` serves this default."
    ),
]
BROKER_PORT, STORE_PORT = 9092, 8123
DEFAULT_BROKER = f"127.0.0.1:{BROKER_PORT}"
DEFAULT_CLICKHOUSE = f"http://127.0.0.1:{STORE_PORT}/agentracer"

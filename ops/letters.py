"""`agentracer dead-letters`: look at what could not be accepted, and send mended or misjudged messages back.

Rules: a redrive keeps the bytes and names the address in a header; it is remembered as a report on `pipeline-events`
and, soon after, in the store, so a second one needs `--again`; what has no bytes is not sent back without any.
"""

import asyncio
import base64
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops import options
from ops.plain import cell
from schemas import DeadLetter, DeadLetterReason, PipelineEvent, PipelineEventKind, TopicName
from schemas.errors import AgentracerError, SettingsError

app = typer.Typer(no_args_is_help=True, help="What could not be accepted, with its bytes, reason and address.")
stdout = Console()
Address = Annotated[str, typer.Argument(help="topic/partition/offset/line, as `list` prints it.")]
CHARACTERS_SHOWN = 4000
REPORTS_LOOKED_AT = 10_000
_ADDRESS = re.compile(r"(.+)/([0-9]{1,9})/(-?[0-9]{1,18})/([0-9]{1,9})")


@app.command("list")
def list_letters(
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    reason: Annotated[DeadLetterReason | None, typer.Option(help="Only of this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    json_: options.Json = False,
) -> None:
    """List dead letters, the newest first."""
    from ops import query, show

    with query.connect(clickhouse, within_s=3.0) as client:
        lines = query.dead_letters(client, reason=reason, limit=limit)
    if json_:
        print(json.dumps([line._asdict() | {"address": line.address} for line in lines], default=str))
    else:
        stdout.print(show.dead_letter_table(lines))


@app.command("show")
def show_letter(
    address: Address,
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    raw: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the value's bytes here.")] = None,
    json_: options.Json = False,
) -> None:
    """Show one dead letter with its bytes."""
    from ops import query

    parts = _parts(address)
    with query.connect(clickhouse, within_s=3.0) as client:
        letter = _found(query.dead_letter(client, *parts), address)
    if raw is not None:
        with options.usable(raw):
            raw.write_bytes(letter.value or b"")
    if json_:
        print(letter.model_dump_json())
        return
    text = (letter.value or b"").decode("utf-8", "backslashreplace")
    more = " …" if len(text) > CHARACTERS_SHOWN else ""
    stdout.print(cell(f"{letter.address}: {letter.reason} at {letter.at.isoformat()} ({letter.stage})"))
    stdout.print(cell(letter.message))
    stdout.print(cell(text[:CHARACTERS_SHOWN] + more))


@app.command("redrive")
def redrive(
    address: Address,
    broker: options.To = options.DEFAULT_BROKER,
    clickhouse: options.At = options.DEFAULT_CLICKHOUSE,
    mended: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Send these bytes instead of the letter's own.")
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="The bytes are many events, one a line, as in the rest of a record.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Send it although it was sent back before.")] = False,
) -> None:
    """Send one dead letter back to its topic."""
    from ops import client as kafka
    from ops import query

    parts = _parts(address)
    with query.connect(clickhouse, within_s=3.0) as client:
        letter = _found(query.dead_letter(client, *parts), address)
        if not again and query.was_redriven(client, letter.address):
            raise _sent_before(address)
    if mended is not None:
        with options.usable(mended):
            letter = letter.model_copy(update={"value": mended.read_bytes()})
    if not letter.value:
        raise AgentracerError(
            f"{address!r} holds no bytes that could be sent back ({letter.reason}: {letter.message}); "
            "give the event itself with --mended FILE"
        )
    if not again and asyncio.run(_was_redriven_lately(broker, letter.address)):
        raise _sent_before(address)
    asyncio.run(kafka.resend(broker, letter, ndjson=lines))
    asyncio.run(kafka.report(broker, _redriven(letter)))
    stdout.print(cell(f"sent {letter.address} back to {letter.topic}"))


async def _was_redriven_lately(broker: str, address: str) -> bool:
    """Look among the latest reports, which the store may not have yet."""
    from ops import client as kafka

    tails = await kafka.read_tails(broker, TopicName.PIPELINE_EVENTS, [0], REPORTS_LOOKED_AT)
    wanted = {"address": address}
    return any(
        key == PipelineEventKind.REDRIVEN.encode()
        and value
        and PipelineEvent.model_validate_json(value).detail == wanted
        for key, value in tails[0].records
    )


def _sent_before(address: str) -> AgentracerError:
    return AgentracerError(f"{address!r} was sent back before; give --again to send it once more")


def _redriven(letter: DeadLetter) -> PipelineEvent:
    unique = base64.urlsafe_b64encode(f"{letter.address}@{time.time_ns()}".encode()).decode()
    return PipelineEvent(
        pipeline_event_id=f"redriven-{unique}"[:256],
        kind=PipelineEventKind.REDRIVEN,
        topic=letter.topic,
        partition=letter.partition,
        detail={"address": letter.address},
        at=datetime.now(UTC),
    )


def _parts(address: str) -> tuple[str, int, int, int]:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise SettingsError(f"{address!r} is no address; give topic/partition/offset/line as `list` prints it")
    return found[1], int(found[2]), int(found[3]), int(found[4])


def _found(letter: DeadLetter | None, address: str) -> DeadLetter:
    if letter is None:
        raise AgentracerError(f"the store has no dead letter {address!r}; `agentracer dead-letters list` lists them")
    return letter

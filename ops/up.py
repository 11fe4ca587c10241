"""`agentracer up`: every role on one machine, until Ctrl-C."""

import signal
import threading
from pathlib import Path
from types import FrameType

from rich.console import Console

from ops.pipeline import Pipeline, Where
from ops.plain import address
from ops.run_path import worker_settings

_CHECK_EVERY_S = 1.0


def keep_up(where: Where, choices: dict[str, str | Path | None], console: Console) -> None:
    """Start every role and keep them until SIGINT or SIGTERM; raises when one ends by itself.

    A signal that comes while they start takes effect when they have; a second one ends all at once.
    """
    stop = threading.Event()

    def end(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    with Pipeline(where, settings=worker_settings(choices), on_note=console.print) as pipeline:
        console.print(f"broker      {pipeline.bootstrap}", markup=False, highlight=False)
        console.print(f"clickhouse  {address(pipeline.clickhouse)}", markup=False, highlight=False)
        if where.store is None and where.clickhouse is None:
            console.print("the store is forgotten at the end; --store DIR keeps it")
        console.print("send with `agentracer send`, look with `agentracer verdicts`; Ctrl-C ends it")
        while not stop.wait(_CHECK_EVERY_S):
            pipeline.check()
        console.print("draining")

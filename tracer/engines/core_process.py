"""What of ours runs inside the processes that vLLM starts, and how they tell why they died.

Rules: vLLM calls nobody's code there before it loads a model, but it does set up logging, so a log handler is the way
in; it writes the first error into a file that the parent reads; it ends its process when the parent is gone, however
the parent went, since vLLM's core would live on for ever; it leaves the terminal's process group, so that Ctrl-C
drains the worker and not the engine under it; vLLM's own log goes to stderr only where VLLM_LOGGING_LEVEL asks for it.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from pathlib import Path

_CAUSE, _SETUP = "cause.txt", "logging.json"
ORPHANED = 17
"""Exit status of a core whose parent is gone."""


class CauseHandler(logging.Handler):
    """Writes the cause of every error into a file, one line each, and ties the process to its parent."""

    def __init__(self, path: str) -> None:
        super().__init__(logging.ERROR)
        self._path = Path(path)
        self._is_child = _follow_parent()

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line; where the folder is gone nobody waits for it."""
        if not self._is_child:
            return
        error = record.exc_info[1] if record.exc_info else None
        said = f"{type(error).__name__}: {error}" if error else record.getMessage()
        with contextlib.suppress(OSError), self._path.open("a") as file:
            file.write(" ".join(said.split())[:1_000] + "\n")


def _follow_parent() -> bool:
    """Tie this process to its parent, and tell whether it has one that started it as a child."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return False
    os.setpgid(0, 0)
    sentinel = parent.sentinel

    def leave_after_it() -> None:
        wait([sentinel])
        os._exit(ORPHANED)

    threading.Thread(target=leave_after_it, name="parent", daemon=True).start()
    return True


def logging_setup(folder: Path) -> Path:
    """Write the logging set-up for one engine's processes; their causes come into the same folder."""
    level = os.environ.get("VLLM_LOGGING_LEVEL")
    handlers: dict[str, dict[str, str]] = {
        "cause": {"()": f"{__name__}.{CauseHandler.__name__}", "path": str(folder / _CAUSE)}
    }
    if level:
        handlers["stderr"] = {"class": "logging.StreamHandler", "level": level}
    vllm = {"handlers": list(handlers), "level": level or "ERROR", "propagate": False}
    setup = {"version": 1, "disable_existing_loggers": False, "handlers": handlers, "loggers": {"vllm": vllm}}
    path = folder / _SETUP
    path.write_text(json.dumps(setup))
    return path


def cause(folder: Path) -> str | None:
    """Return the first error that the processes wrote, where they wrote one."""
    try:
        return next(iter((folder / _CAUSE).read_text().splitlines()), None)
    except OSError:
        return None

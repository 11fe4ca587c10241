"""The process in which a tracer's engine computes: vLLM's core, which multiprocessing starts from the worker.

Rules: it is the worker's child and no resource tracker, which multiprocessing starts too.
"""

from contextlib import suppress
from pathlib import Path

_SIGNS = (b"spawn_main", b"EngineCore")
"""What its command line says, before it has named itself and after."""


def core_of(worker: int) -> int | None:
    """Return the core of a worker, if it has one."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and _parent(folder) == worker and _is_core(folder):
            return int(folder.name)
    return None


def _parent(folder: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):  # it may end while it is looked at
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return None


def _is_core(folder: Path) -> bool:
    with suppress(OSError):
        command = (folder / "cmdline").read_bytes()
        return any(sign in command for sign in _SIGNS)
    return False

"""A measurement in a process of its own: what one leaves in memory, in caches or in a profile reaches no other.

Rules: a function at the top of its module, called with what JSON can say, and its answer the same; what it prints goes
to standard error; a child that fails raises with what it said.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
ROOT = Path(__file__).parents[1]
LONGEST_S = 900.0


def alone(measure: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call `measure` in a process of its own; raises RuntimeError when that process fails."""
    call = json.dumps([_module_of(measure), measure.__name__, arguments, named])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.alone", call],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        timeout=LONGEST_S,
    )
    if done.returncode:
        raise RuntimeError(f"{measure.__name__}{arguments!r} ended with {done.returncode}; it said: {done.stderr}")
    answer: T = json.loads(done.stdout)
    return answer


def _module_of(measure: Callable[..., Any]) -> str:
    main = sys.modules["__main__"]
    if measure.__module__ != "__main__" or main.__spec__ is None:
        return measure.__module__
    return main.__spec__.name


def _main(call: str) -> None:
    module, name, arguments, named = json.loads(call)
    with contextlib.redirect_stdout(sys.stderr):
        answer = getattr(import_module(module), name)(*arguments, **named)
    print(json.dumps(answer))


if __name__ == "__main__":
    _main(sys.argv[1])

"""Work for the sampler to find, in a process of its own, since it needs the timer that a test's own timeout uses."""

import threading
import time
from typing import TypedDict

from benchmarks.sampler import Profile, Sampler
from benchmarks.sender import Done


class Found(TypedDict):
    """What a profile says."""

    groups: dict[str, float]
    total: float


def profiled(seconds: float) -> Found:
    """Use CPU in two functions, three times as much in the first, while another thread waits."""
    done = threading.Event()
    waiting = threading.Thread(target=done.wait, name="waits")
    waiting.start()
    sampler = Sampler((("inner", ("_inner",)), ("outer", ("_outer",))))
    sampler.start()
    for _ in range(10):
        _outer(seconds / 10)
    sampler.stop()
    done.set()
    profile = sampler.profile()
    return Found(groups=profile.groups, total=profile.total)


def _outer(seconds: float) -> None:
    _inner(0.75 * seconds)
    _spin(0.25 * seconds)


def _inner(seconds: float) -> None:
    _spin(seconds)


def _spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def sent(steps: int, runs: int, failures: int) -> Done:
    """Return what a sender says that sent so much."""
    return Done(acknowledged=steps, steps=steps, runs=runs, failures=failures, began=0.0, ended=1.0, ends={})


def profile(seconds: float) -> Profile:
    """Return a profile of so much CPU."""
    return Profile({"main: fold": seconds}, {"main: assemble.py:fold": seconds}, seconds, seconds)


def failing() -> None:
    """Fail."""
    raise ValueError("as it should")

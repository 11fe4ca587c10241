"""A sampling profiler that says where a process' CPU time goes, of all its threads, by groups of functions.

A timer interrupts the main thread every millisecond. Each thread is then charged to its present stack with the CPU
time that its own clock has gained since the sample before: a thread that waits costs nothing, and what is charged adds
up to what was used. Garbage collection is timed by its callbacks and told apart; sampling's own cost is left out.

Rules: the sum is exact, the split is a sample. The interpreter runs a signal's handler between two steps of the main
thread, so what happens inside one call into C is charged to the function that made it, or that it called back; another
thread that holds the interpreter is seen where it lets go of it. What was used beyond Python's threads is told as such.
"""

import gc
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

INTERVAL_S = 0.001
GC, OTHER = "garbage collection", "other"
Group = tuple[str, tuple[str, ...]]
"""A name, and what a frame's `path:function` contains to belong to it."""


class Profile(NamedTuple):
    """Seconds of CPU."""

    groups: dict[str, float]
    """By thread and group, as `thread: group`."""
    functions: dict[str, float]
    """By thread and innermost Python function."""
    total: float
    """Of the whole process."""
    wall: float


class Sampler:
    """Started and stopped in the main thread; the first group that any frame of a stack belongs to has its time."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._rules = groups
        self._groups: defaultdict[str, float] = defaultdict(float)
        self._functions: defaultdict[str, float] = defaultdict(float)
        self._used: dict[int, float] = {}
        self._collected: defaultdict[int, float] = defaultdict(float)
        self._gc_began = 0.0
        self._known: dict[object, str | None] = {}
        self._cpu = self._wall = self._spent = 0.0
        self._is_sampling = False

    def start(self) -> None:
        """Begin."""
        gc.callbacks.append(self._on_gc)
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self._used = {one: _cpu_of(one) for one in sys._current_frames()}
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        """End."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._cpu = time.process_time() - self._cpu
        self._wall = time.perf_counter() - self._wall
        gc.callbacks.remove(self._on_gc)

    def profile(self) -> Profile:
        """Return what was found, once it has ended."""
        groups = dict(self._groups)
        total = self._cpu - self._spent
        groups["no Python thread"] = max(0.0, total - sum(groups.values()))
        return Profile(groups, _most(self._functions), total, self._wall)

    def _on_gc(self, phase: str, _: Mapping[str, int]) -> None:
        if phase == "start":
            self._gc_began = time.thread_time()
        else:
            self._collected[threading.get_ident()] += time.thread_time() - self._gc_began

    def _sample(self, _signal: int, interrupted: FrameType | None) -> None:
        if self._is_sampling:
            return
        self._is_sampling = True
        began = time.thread_time()
        self._charge_all(interrupted)
        own = threading.get_ident()
        self._used[own] = _cpu_of(own)
        self._spent += time.thread_time() - began
        self._is_sampling = False

    def _charge_all(self, interrupted: FrameType | None) -> None:
        own = threading.get_ident()
        names = {one.ident: one.name for one in threading.enumerate()}
        for ident, top in sys._current_frames().items():
            used = _cpu_of(ident)
            gained = used - self._used.get(ident, 0.0)
            self._used[ident] = used
            if gained <= 0:
                continue
            name = "main" if ident == own else names.get(ident, "unnamed")
            collected = min(gained, self._collected.pop(ident, 0.0))
            if collected:
                self._groups[f"{name}: {GC}"] += collected
            frame = interrupted if ident == own else top
            self._charge(name, frame, gained - collected)

    def _charge(self, thread: str, frame: FrameType | None, gained: float) -> None:
        if frame is not None:
            self._functions[f"{thread}: {_place(frame)}"] += gained
        self._groups[f"{thread}: {self._group_of(frame)}"] += gained

    def _group_of(self, frame: FrameType | None) -> str:
        found: set[str] = set()
        while frame is not None:
            code = frame.f_code
            if code not in self._known:
                self._known[code] = _rule_for(f"{code.co_filename}:{code.co_qualname}", self._rules)
            if (name := self._known[code]) is not None:
                found.add(name)
            frame = frame.f_back
        return next((name for name, _ in self._rules if name in found), OTHER)


def _most(used: Mapping[str, float], count: int = 60) -> dict[str, float]:
    return dict(sorted(used.items(), key=lambda one: -one[1])[:count])


def _rule_for(place: str, rules: Sequence[Group]) -> str | None:
    return next((name for name, parts in rules if any(part in place for part in parts)), None)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}"


def _cpu_of(ident: int) -> float:
    """Return the CPU time of a thread, 0 for one that has just ended."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except OSError:
        return 0.0


def show(profile: Profile, events: int, most: int = 25, *, of: str = "an event") -> str:
    """Return the profile in microseconds of CPU an event, or whatever was counted."""
    each = 1e6 / events
    lines = [f"{profile.total * each:6.2f} µs of CPU {of} in {profile.wall * each:.2f} µs of wall time"]
    lines += [
        f"    {used * each:6.2f}  {name}" for name, used in sorted(profile.groups.items(), key=lambda one: -one[1])
    ]
    lines.append("the innermost Python functions, with what they call in C:")
    lines += [f"    {used * each:6.2f}  {name}" for name, used in list(profile.functions.items())[:most]]
    return "\n".join(lines)

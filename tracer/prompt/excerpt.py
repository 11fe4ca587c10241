"""The steps that fit a number of tokens, and the windows in which a run is read that does not fit as a whole.

Rules: the text never counts more tokens than it may; indices are those of the trajectory, whatever is left out, and
every gap is marked; room goes evenly to the steps, but the first, the last and those that ended in an error keep
several times more; tokens are counted sparingly, since counting a whole run of many megabytes would take minutes.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from schemas import StepEvent, Trajectory
from tracer.rules import error_of

from .render import SHRED_CHARACTERS, Part, heading, left_out_mark, level, parts_of, shortened, written
from .roster import Roster

FAVOUR = 3
"""The first step, the last and those that ended in an error keep so many times what others keep."""
FAVOURED_ERRORS = 8
"""Errors are favoured while they are at most so many, or a quarter of the steps."""
STEP_TOKENS = 40
"""Where steps that don't fit whole would get less, some steps are left out."""

_BYTES_A_TOKEN = 8
"""Text hardly ever has more; what is longer than its room by this measure is shortened before it is counted."""
_ROUNDS = 8
_TRIES = 4
_ENOUGH = 0.9


class Tokenizer(Protocol):
    """What is needed of a model here; every `Serving` has it."""

    @property
    def reserved(self) -> tuple[str, ...]:
        """Texts that data must not hold."""
        ...

    def count(self, text: str) -> int:
        """Return how many tokens a text has."""
        ...


class Excerpt(NamedTuple):
    """Some steps of a trajectory as text."""

    text: str
    shown: tuple[int, ...]
    """Which steps; all that were asked for, unless there is not even room for a line of each."""


class _Draft(NamedTuple):
    """One step before it is known how much of it fits."""

    at: int
    head: str
    parts: tuple[Part, ...]
    weight: int

    @property
    def characters(self) -> int:
        return len(self.head) + sum(len(part.text) for part in self.parts)

    @property
    def bare(self) -> str:
        left_out = sum(len(part.text) for part in self.parts)
        return f"{self.head}\n{left_out_mark(left_out)}" if left_out else self.head

    @property
    def size(self) -> int:
        """Bytes, which no tokenizer makes more tokens of, before any mark is broken up."""
        return sum(len(text.encode(errors="replace")) for text in (self.head, *(part.text for part in self.parts)))


def excerpt(
    trajectory: Trajectory, roster: Roster, indices: Sequence[int], *, tokens: int, serving: Tokenizer
) -> Excerpt:
    """Return the steps at these indices (ascending) within so many tokens; none where not even one line fits."""
    drafts = list(_drafts(trajectory, roster, indices, serving.reserved))
    page = _Page(len(trajectory.steps), tokens, serving)
    whole = page.whole(drafts)
    if whole is not None:
        return Excerpt(whole, tuple(indices))
    if page.share(drafts) < STEP_TOKENS:
        drafts = _spread(drafts, tokens // STEP_TOKENS)
    while drafts:
        text = page.shortened(drafts)
        if text is not None:
            return Excerpt(text, tuple(draft.at for draft in drafts))
        drafts = _spread(drafts, len(drafts) // 2)
    return Excerpt(page.whole([]) or "", ())


def windows(
    trajectory: Trajectory, roster: Roster, *, tokens: int, least: int, serving: Tokenizer
) -> list[tuple[int, ...]]:
    """Return consecutive chunks of the step indices, each sharing one step with the next.

    An excerpt of a chunk within `tokens` keeps `least` tokens (STEP_TOKENS or more) of every step, or all of a
    shorter one; a chunk has two steps even where these need more.
    """
    count = len(trajectory.steps)
    room = tokens - serving.count(f"{_gap(0, count)}\n{_gap(0, count)}\n")
    wants = (_want(draft, least, serving) for draft in _drafts(trajectory, roster, range(count), serving.reserved))
    found: list[tuple[int, ...]] = []
    first, used, before = 0, 0, 0
    for index, want in enumerate(wants):
        if used + want > room and index > first + 1:
            found.append(tuple(range(first, index)))
            first, used = index - 1, before
        used += want
        before = want
    return [*found, tuple(range(first, count))] if count else []


class _Page:
    """Puts drafts together within a number of tokens."""

    def __init__(self, steps: int, tokens: int, serving: Tokenizer) -> None:
        self._steps = steps
        self._tokens = tokens
        self._serving = serving
        self._sizes: dict[int, int] = {}

    def whole(self, drafts: Sequence[_Draft]) -> str | None:
        """Return the drafts unshortened, or None where they don't fit."""
        if sum(draft.characters for draft in drafts) > self._tokens * _BYTES_A_TOKEN:
            return None
        return self._fitting(drafts, [self._written(draft) for draft in drafts])

    def share(self, drafts: Sequence[_Draft]) -> float:
        """Return how many tokens a step of weight 1 would get beside these others."""
        return self._share(drafts, self._room(drafts))

    def shortened(self, drafts: Sequence[_Draft]) -> str | None:
        """Return the drafts, all of them, shortened as far as needed; None where even that does not fit."""
        room = self._room(drafts)
        for _ in range(_TRIES):
            texts = self._within(drafts, room)
            text = self._joined(drafts, texts)
            over = self._serving.count(text) - self._tokens
            if over <= 0:
                return text
            room -= over + 1 + room // 100
            if room <= 0:
                break
        return self._fitting(drafts, [draft.bare for draft in drafts])

    def _fitting(self, drafts: Sequence[_Draft], texts: Sequence[str]) -> str | None:
        text = self._joined(drafts, texts)
        return text if self._serving.count(text) <= self._tokens else None

    def _room(self, drafts: Sequence[_Draft]) -> int:
        return self._tokens - self._count("\n".join(self._gaps(drafts).values()))

    def _within(self, drafts: Sequence[_Draft], room: int) -> list[str]:
        share = self._share(drafts, room)
        return [self._fitted(draft, share * draft.weight) for draft in drafts]

    def _share(self, drafts: Sequence[_Draft], room: int) -> float:
        """Return the share that fills the room; only steps that may fit whole are counted."""
        open_ = {draft.at: draft.size for draft in drafts if draft.at not in self._sizes}
        share = 0.0
        for _ in range(_ROUNDS):
            wants = ((self._sizes.get(draft.at, float("inf")), draft.weight) for draft in drafts)
            share = level(wants, room)
            most = share * _BYTES_A_TOKEN
            small = [draft for draft in drafts if draft.at in open_ and open_[draft.at] <= most * draft.weight]
            if not small:
                break
            for draft in small:
                self._sizes[draft.at] = self._count(self._written(draft))
                del open_[draft.at]
        return share

    def _fitted(self, draft: _Draft, room: float) -> str:
        """Return as much of a step as counts at most so many tokens; at the least the line that it begins with."""
        if self._sizes.get(draft.at, float("inf")) <= room:
            return self._written(draft)
        return _most(lambda kept: self._cut(draft, kept), draft.characters, room, self._count) or draft.bare

    def _cut(self, draft: _Draft, characters: int) -> str:
        if characters < SHRED_CHARACTERS:
            return draft.bare
        return written(draft.head, shortened(draft.parts, characters), self._serving.reserved)

    def _written(self, draft: _Draft) -> str:
        return written(draft.head, draft.parts, self._serving.reserved)

    def _count(self, text: str) -> int:
        return self._serving.count(text + "\n")

    def _gaps(self, drafts: Sequence[_Draft]) -> dict[int, str]:
        """Return the marks of what is not there, by the index of the step that they precede."""
        indices = [-1, *(draft.at for draft in drafts), self._steps]
        return {after: _gap(before + 1, after) for before, after in pairwise(indices) if after - before > 1}

    def _joined(self, drafts: Sequence[_Draft], texts: Sequence[str]) -> str:
        gaps = self._gaps(drafts)
        return "\n".join(_lines(drafts, texts, gaps, self._steps))


def _lines(drafts: Sequence[_Draft], texts: Sequence[str], gaps: dict[int, str], steps: int) -> Iterator[str]:
    for draft, text in zip(drafts, texts, strict=True):
        if draft.at in gaps:
            yield gaps[draft.at]
        yield text
    if steps in gaps:
        yield gaps[steps]


def _most(cut: Callable[[int], str], characters: int, room: float, count: Callable[[str], int]) -> str | None:
    """Return the longest cut found that counts at most so many tokens; None where not even the shortest does.

    `cut` keeps about so many characters; by the tokens of two cuts the next is guessed.
    """
    best = cut(0)
    least = count(best)
    if least > room:
        return None
    kept, used = 0, least
    aim = min(characters, int(room * 3))
    for _ in range(_ROUNDS):
        text = cut(aim)
        found = count(text)
        if used <= found <= room:
            best, kept, used = text, aim, found
        if (found <= room and aim >= characters) or room * _ENOUGH <= found <= room:
            break
        aim_next = int(aim * max(0.0, room * 0.97 - least) / max(1, found - least))
        aim = min(characters, aim_next)
        if aim <= kept:
            break
    return best


def _want(draft: _Draft, least: int, serving: Tokenizer) -> int:
    """Return the tokens that a window sets aside for a step, a tenth more than it is to keep."""
    most = least * draft.weight * 10 // 9 + 1
    if draft.size > most * _BYTES_A_TOKEN // 2:
        return most
    return min(most, serving.count(written(draft.head, draft.parts, serving.reserved) + "\n"))


def _drafts(
    trajectory: Trajectory, roster: Roster, indices: Sequence[int], reserved: tuple[str, ...]
) -> Iterator[_Draft]:
    steps = trajectory.steps
    favoured = _favoured(steps)
    for index in indices:
        step = steps[index]
        head = heading(step, index, roster.id_of(index), reserved)
        yield _Draft(index, head, parts_of(step), FAVOUR if index in favoured else 1)


def _favoured(steps: Sequence[StepEvent]) -> set[int]:
    errors = {index for index, step in enumerate(steps) if error_of(step) is not None}
    few = len(errors) <= max(FAVOURED_ERRORS, len(steps) // 4)
    return {0, len(steps) - 1} | (errors if few else set())


def _spread(drafts: Sequence[_Draft], room: int) -> list[_Draft]:
    """Return at most so many of the drafts, in order: favoured ones first, then others, spread over the run."""
    if len(drafts) <= room:
        return list(drafts)
    kept = _evenly([draft for draft in drafts if draft.weight > 1], room)
    others = [draft for draft in drafts if draft.weight == 1]
    left = min(room - len(kept), len(others))
    kept += [others[(2 * at + 1) * len(others) // (2 * left)] for at in range(left)]
    return sorted(kept, key=lambda draft: draft.at)


def _evenly(drafts: Sequence[_Draft], room: int) -> list[_Draft]:
    """Return so many of the drafts, with the first and the last of them."""
    if room >= len(drafts):
        return list(drafts)
    if room < 2:
        return list(drafts[-1:]) if room == 1 else []
    return [drafts[at * (len(drafts) - 1) // (room - 1)] for at in range(room)]


def _gap(first: int, after: int) -> str:
    last = after - 1
    return f"(step {first} left out)" if first == last else f"(steps {first} to {last} left out)"

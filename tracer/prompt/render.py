"""One step as text: a line that says who did what, then the record of it behind bars.

    [3] A2 tool_call | search
    | I look up when they open.
    arguments | {"day":"Sunday"}
    result | from nine
    | to five
    (1,200 characters left out)
    | and closed on holidays
    error | TimeoutError: no answer

Rules: what stands behind the first bar of a line is data, everything else is ours, and every line of data has a bar:
so no text can forge a step, a mark or the end of the run; the tokenizer's own marks and the tags of an answer are
broken up by a space; what is left out is marked with how much; a step's outcome (it may hold the truth), its times
and its attributes are not shown.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from pydantic import JsonValue

from schemas import StepEvent
from tracer.rules import agent_of

ASIDE_CHARACTERS = 64
"""A tool's name, or a voice, stands on the step's own line up to so many."""
TAGS = ("<|", "<think>", "</think>", "<answer>", "</answer>")
WEIGHTS = {"": 2, "result": 2, "error": 4}
"""Where a step is shortened these parts keep so many times what the others keep."""
SHRED_CHARACTERS = 16
"""A part of which less would be kept is left out."""

_PASSES = 8
_SURROGATES = re.compile("[\ud800-\udfff]")


class Part(NamedTuple):
    """One field of a step; where it is shortened `text` is its beginning and `tail` its end."""

    label: str
    text: str
    left_out: int = 0
    tail: str = ""


def step_lines(step: StepEvent, index: int, short_id: str, reserved: tuple[str, ...] = ()) -> str:
    """Return a whole step; `reserved` are the tokenizer's own marks."""
    return written(heading(step, index, short_id, reserved), parts_of(step), reserved)


def heading(step: StepEvent, index: int, short_id: str, reserved: tuple[str, ...] = ()) -> str:
    """Return the line that a step begins with."""
    short = [one_line(aside, reserved) for aside in _asides(step).values() if len(aside) <= ASIDE_CHARACTERS]
    cut = " (cut by its sender)" if step.truncated else ""
    return f"[{index}] {short_id} {step.kind.value}{cut}" + (f" | {' '.join(short)}" if short else "")


def parts_of(step: StepEvent) -> tuple[Part, ...]:
    """Return what a step holds, what the agent said first."""
    tool = step.tool
    fields = {"": step.content, "input": step.input}
    fields |= {label: aside for label, aside in _asides(step).items() if len(aside) > ASIDE_CHARACTERS}
    if tool is not None:
        fields |= {"arguments": _json(tool.arguments), "result": _json(tool.result)}
    fields["error"] = ": ".join(text for text in (step.error_type, tool.error if tool else None) if text)
    return tuple(Part(label, text) for label, text in fields.items() if text)


def shortened(parts: Sequence[Part], characters: int) -> tuple[Part, ...]:
    """Return the parts with about so many characters kept in all, each at its two ends."""
    weighted = [(len(part.text), WEIGHTS.get(part.label, 1)) for part in parts]
    share = level(weighted, characters)
    return tuple(
        _cut(part, math.floor(weight * share) if weight * share < size else size)
        for part, (size, weight) in zip(parts, weighted, strict=True)
    )


def level(wants: Iterable[tuple[float, int]], room: float) -> float:
    """Return the largest share such that every (size, weight), given weight x share or its size, fits the room."""
    ranked = sorted(wants, key=lambda want: want[0] / want[1])
    weight = sum(want[1] for want in ranked)
    for size, own in ranked:
        if size / own * weight > room:
            return max(0.0, room / weight)
        room -= size
        weight -= own
    return math.inf


def written(head: str, parts: Sequence[Part], reserved: tuple[str, ...]) -> str:
    """Return a step of these parts, shortened or not."""
    return "\n".join([head, *(_part(part, reserved) for part in parts)])


def data(label: str, text: str, reserved: tuple[str, ...] = ()) -> str:
    """Return a text with every line of it behind a bar, the first one after its label."""
    first, *others = unmarked(text, reserved).splitlines() or [""]
    return "\n".join([f"{label} | {first}".strip(), *(f"| {line}".rstrip() for line in others)])


def left_out_mark(characters: int) -> str:
    """Return the line that stands for what a shortened text lacks."""
    return f"({characters:,} characters left out)"


def one_line(text: str, reserved: tuple[str, ...] = ()) -> str:
    """Return a text on one line, without the tokenizer's marks."""
    return unmarked(" ".join(text.splitlines()), reserved)


def unmarked(text: str, reserved: tuple[str, ...] = ()) -> str:
    """Return a text in which no mark of the tokenizer and no tag of an answer is left."""
    pattern = _marks(reserved)
    text = text if text.isascii() else _SURROGATES.sub("\ufffd", text)
    for _ in range(_PASSES):
        text, found = pattern.subn(_broken, text)
        if not found:
            return text
    while pattern.search(text):  # a mark that holds the space by which it is broken
        text = pattern.sub("", text)
    return text


@lru_cache(maxsize=16)
def _marks(reserved: tuple[str, ...]) -> re.Pattern[str]:
    marks = {*TAGS, *(mark for mark in reserved if mark.strip())}
    return re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)), re.IGNORECASE)


def _broken(found: re.Match[str]) -> str:
    mark = found[0]
    return f"{mark[0]} {mark[1:]}" if len(mark) > 1 else ""


def _part(part: Part, reserved: tuple[str, ...]) -> str:
    if not part.left_out:
        return data(part.label, part.text, reserved)
    mark = left_out_mark(part.left_out)
    if not part.text:
        return f"{part.label} {mark}".strip()
    return "\n".join([data(part.label, part.text, reserved), mark, data("", part.tail, reserved)])


def _cut(part: Part, characters: int) -> Part:
    size = len(part.text)
    if characters >= size:
        return part
    kept = characters if characters >= SHRED_CHARACTERS else 0
    end = kept * 2 // 5
    return Part(part.label, part.text[: kept - end], size - kept, part.text[size - end :])


def _asides(step: StepEvent) -> dict[str, str]:
    asides = {"tool": step.tool.name if step.tool else "", "as": step.agent.removeprefix(agent_of(step)).strip()}
    return {label: aside for label, aside in asides.items() if aside}


def _json(value: JsonValue) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

"""What a model answers: `<think>…</think><answer>A2 | 14</answer>`, written as a grammar and read back.

Rules: the grammar names only the agents and steps it is given, and each of its sentences that thinks is exact;
between the two parts up to two newlines may stand (models that think by themselves write them), nothing else;
reading never raises on any text and takes the last answer that is well formed, whatever stands around it; an agent
or a step that is not there is read all the same.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tracer.engines.protocol import Grammar

THINK_CHARACTERS = 1_200
"""A constrained model thinks in at most so many characters."""

_ANSWER = re.compile(r"<answer>\s*(A[1-9][0-9]{0,8})\s*\|\s*([0-9]{1,9})\s*</answer>")
_EXACT = re.compile(r"<think>(.*?)</think>\n{0,2}<answer>A[1-9][0-9]{0,8} \| (?:0|[1-9][0-9]{0,8})</answer>", re.DOTALL)
_TAG = re.compile(r"</?(?:think|answer)>")


class Answer(NamedTuple):
    """What was read."""

    agent_id: str
    """A short id, perhaps of nobody."""
    step_index: int
    """From 0 to 999,999,999, perhaps not in the trajectory."""
    think: str
    """What was thought before; empty where nothing was."""
    is_exact: bool
    """Whether the text is exactly the form, with a thought in it and nothing before or after."""


def answer_grammar(
    ids: Iterable[str], steps: Iterable[int], *, thinks: bool, think_characters: int = THINK_CHARACTERS
) -> Grammar:
    """Return the grammar of an answer by these agents' short ids and these steps; there is at least one of each."""
    answer = f'"<answer>" {_one_of(ids)} " | " {_one_of(map(str, steps))} "</answer>"'
    if not thinks:
        return Grammar(f"root ::= {answer}\n")
    think = f'"<think>" "\\n"? [^< \\t\\r\\n] [^<]{{0,{think_characters - 1}}} "</think>"'
    return Grammar(f'root ::= think "\\n"? "\\n"? answer\nthink ::= {think}\nanswer ::= {answer}\n')


def read_answer(text: str) -> Answer | None:
    """Return the last well-formed answer of a text, or None."""
    answers = deque(_ANSWER.finditer(text), maxlen=1)
    if not answers:
        return None
    (found,) = answers
    think = _thought(text[: found.start()])
    return Answer(found[1], int(found[2]), think, is_exact=_is_exact(text))


def _is_exact(text: str) -> bool:
    found = _EXACT.fullmatch(text)
    return found is not None and bool(found[1].strip()) and _TAG.search(found[1]) is None


def _thought(before: str) -> str:
    _, _, after = before.rpartition("<think>")
    return after.partition("</think>")[0].strip()


def _one_of(texts: Iterable[str]) -> str:
    """Return an expression for one of these texts, of letters and digits, that grows with their digits' patterns.

    Texts are grouped by their first character, and characters after which the same can follow share a class: the
    numbers from 0 to 4,999 take three alternatives instead of five thousand.
    """
    return _after(tuple(sorted(set(texts))))


def _after(texts: Sequence[str]) -> str:
    tails: dict[str, list[str]] = {}
    for text in texts:
        if text:
            tails.setdefault(text[0], []).append(text[1:])
    classes: dict[tuple[str, ...], str] = {}
    for first, rest in tails.items():
        classes[tuple(rest)] = classes.get(tuple(rest), "") + first
    options = " | ".join(f"[{firsts}] {_after(rest)}".strip() for rest, firsts in classes.items())
    return f"({options}){'?' if '' in texts else ''}" if options else ""

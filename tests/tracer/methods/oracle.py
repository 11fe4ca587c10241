"""A model that knows the decisive pair, as a function of the request, and a serving that counts cheaply."""

import re
from collections.abc import Callable, Sequence
from functools import cache

from schemas import StepEvent, Tokens, Trajectory
from schemas.errors import ContextError
from tests.factories import step, trajectory
from tracer.engines.protocol import Completion, Finish, Request
from tracer.methods.protocol import Ask, Budget, Case
from tracer.prompt.roster import roster_of

Script = Callable[[Request], str | Completion]
TAIL = 4_000
"""A question is in the last so many characters of a request."""


class CheapServing:
    """Four characters are a token; nothing is cached; a word is said with nearly all of the probability."""

    version = "cheap"
    reserved = ("<|im_start|>", "<|im_end|>")

    def __init__(self, script: Script, context_tokens: int = 100_000) -> None:
        self.context_tokens = context_tokens
        self.asked: list[Request] = []
        self._script = script

    def count(self, text: str) -> int:
        return -(-len(text) // 4)

    async def generate(self, request: Request) -> Completion:
        prompt = sum(self.count(message.content) for message in request.messages)
        if prompt + request.max_tokens > self.context_tokens:
            raise ContextError(f"{prompt} tokens are too many")
        self.asked.append(request)
        said = self._script(request)
        if isinstance(said, Completion):
            return said
        tops = tuple({word: -0.001} for word in said.split()[: request.max_tokens])
        return spoken(said, prompt, tops=tops if request.logprobs else ())


class Oracle:
    """Answers every question of every method rightly; where the decisive step is not shown it names one that is."""

    def __init__(self, of: Trajectory, decisive: int) -> None:
        self.step_index = decisive
        self.agent_id = roster_of(of.steps).id_of(decisive)

    def __call__(self, request: Request) -> str:
        text = request.messages[-1].content
        question = text[-TAIL:]
        if found := re.search(r"Is step (\d+), done by|shown up to step (\d+)\.", question):
            return self._either("yes", "no", is_one=int(found[1] or found[2]) == self.step_index)
        if found := re.search(r"in the first half, steps? (\d+)(?: to (\d+))?,", question):
            return self._either("first", "second", is_one=self.step_index <= int(found[2] or found[1]))
        if found := re.search(r"Suppose that at step (\d+) ", question):
            return self._either("yes", "no", is_one=int(found[1]) == self.step_index)
        if "one sentence" in question:
            return "It did the wrong thing."
        return f"<think>Seen.</think><answer>{self._pair(text)}</answer>"

    def _either(self, one: str, other: str, *, is_one: bool) -> str:
        return one if is_one else other

    def _pair(self, text: str) -> str:
        shown = {int(number): agent for number, agent in re.findall(r"^\[(\d+)\] (A\d+) ", text, re.MULTILINE)}
        if self.step_index in shown:
            return f"{self.agent_id} | {self.step_index}"
        number = min(shown)
        return f"{shown[number]} | {number}"


def spoken(text: str, prompt: int = 0, *, tops: tuple[dict[str, float], ...] = ()) -> Completion:
    """Return a completion of this text, of one token a word."""
    return Completion(text, Finish.STOP, Tokens(input=prompt, output=len(text.split())), tops)


@cache
def short_step(at: int) -> StepEvent:
    """Return a step that says next to nothing, by one of three agents."""
    return step(index=at, agent=f"agent-{at % 3}", content="")


def run_of(count: int, steps: Sequence[StepEvent] = ()) -> Trajectory:
    """Return a failed run of so many short steps, or of the given ones."""
    return trajectory(list(steps) or [short_step(at) for at in range(count)])


def case_of(of: Trajectory, **fields: object) -> Case:
    """Return the case of a trajectory."""
    return Case(of, roster_of(of.steps), **fields)  # type: ignore[arg-type]  # what a test wants changed


def ask_of(serving: CheapServing, tokens: int = 10**9, seconds: float = 1e6) -> Ask:
    """Return a way to ask that is not bounded, unless it is said."""
    return Ask(serving, Budget(tokens, seconds), clock=lambda: 0.0)

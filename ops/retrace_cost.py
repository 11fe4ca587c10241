"""What tracing some runs will cost, before any of them is traced: tokens, time and money, from the store's past.

Rules: pure; without a past verdict of the tracer nothing is known of time, and tokens are those of one reading; where
there are some, their median says how often a text is read, how much of that is cached, how much is written and how
long it takes; no run costs more tokens or time than its budget allows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from ops.query_runs import Past
from tracer.engines.limits import Purse

BYTES_A_TOKEN = 4
"""Of English text; other languages and numbers have fewer."""


class Limits(NamedTuple):
    """What bounds the cost of one run, and what tokens are worth."""

    tokens: int | None
    """Prompt tokens that are computed, and generated ones; None: a rule, which reads none."""
    seconds: float
    concurrency: int
    purse: Purse | None = None
    """None where tokens cost nothing, as far as is known."""


class Rates(NamedTuple):
    """What past verdicts of a tracer say of the next."""

    reads: float
    """Prompt tokens for a token of the run's text."""
    computed: float
    """The share of prompt tokens that were not cached."""
    written: float
    """Generated tokens for a run."""
    ms_a_token: float
    """For a prompt token; 0 where none was read."""
    ms_a_run: float


@dataclass(frozen=True)
class Estimate:
    """What tracing these runs will cost, about."""

    trajectories: int
    steps: int
    prompt_tokens: int | None
    """None: the tracer reads none."""
    output_tokens: int | None
    """None: the tracer writes none, or nobody knows."""
    seconds: float | None
    """None: nobody knows."""
    cost: float | None
    """In the currency of the endpoint's prices; None where there are none."""
    past_verdicts: int
    """It rests on so many verdicts of this tracer."""


def estimate(text_bytes: Sequence[int], steps: int, past: Sequence[Past], limits: Limits) -> Estimate:
    """Estimate the cost of runs whose texts have so many bytes and that have so many steps together."""
    rates = rates_of(past)
    if limits.tokens is None:
        seconds = _spread([rates.ms_a_run / 1000] * len(text_bytes), limits) if rates else None
        return Estimate(len(text_bytes), steps, None, None, seconds, None, len(past))
    prompts = [_prompt(size, rates, limits.tokens) for size in text_bytes]
    written = round(rates.written * len(prompts)) if rates else None
    return Estimate(
        trajectories=len(text_bytes),
        steps=steps,
        prompt_tokens=round(sum(prompts)),
        output_tokens=written,
        seconds=_spread([_seconds(prompt, rates) for prompt in prompts], limits) if rates else None,
        cost=limits.purse.cost(round(sum(prompts)), written or 0) if limits.purse else None,
        past_verdicts=len(past),
    )


def rates_of(past: Sequence[Past]) -> Rates | None:
    """Return the medians of past verdicts; None where there are none."""
    if not past:
        return None
    return Rates(
        reads=_median(past, _reads, 1.0),
        computed=_median(
            past, lambda one: 1.0 - one.cached_tokens / one.input_tokens if one.input_tokens else None, 1.0
        ),
        written=_median(past, lambda one: one.output_tokens, 0.0),
        ms_a_token=_median(past, lambda one: one.traced_ms / one.input_tokens if one.input_tokens else None, 0.0),
        ms_a_run=_median(past, lambda one: one.traced_ms, 0.0),
    )


def _reads(one: Past) -> float | None:
    return one.input_tokens * BYTES_A_TOKEN / one.text_bytes if one.input_tokens and one.text_bytes else None


def _median(past: Iterable[Past], of: Callable[[Past], float | None], otherwise: float) -> float:
    values = [value for value in map(of, past) if value is not None]
    return float(median(values)) if values else otherwise


def _prompt(size: int, rates: Rates | None, budget: int) -> float:
    """Return the prompt tokens of one run; those that are computed stay within the budget."""
    reads, computed = (rates.reads, rates.computed) if rates else (1.0, 1.0)
    wanted = max(1.0, size / BYTES_A_TOKEN) * reads
    return min(wanted, budget / computed) if computed > 0 else wanted


def _seconds(prompt: float, rates: Rates) -> float:
    return (prompt * rates.ms_a_token or rates.ms_a_run) / 1000


def _spread(seconds: Sequence[float], limits: Limits) -> float:
    """Return how long all take when so many are traced at a time, none longer than it may."""
    whole = sum(min(one, limits.seconds) for one in seconds)
    return whole / max(1, min(limits.concurrency, len(seconds)))

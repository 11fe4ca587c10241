"""What a retrace will cost: counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.query_runs import Past
from ops.retrace_cost import Limits, Rates, estimate, rates_of
from tracer.engines.limits import Purse

MODEL = Limits(tokens=200_000, seconds=300.0, concurrency=8)
RULE = Limits(tokens=None, seconds=600.0, concurrency=8)
CHEAP = Past(traced_ms=1_000, input_tokens=2_000, cached_tokens=1_000, output_tokens=10, text_bytes=4_000)
PASTS = st.builds(
    lambda ms, read, cached, written, size: Past(ms, read, min(cached, read), written, size),
    *(st.integers(0, 10**6) for _ in range(5)),
)


def test_without_a_past_verdict_tokens_are_of_one_reading_and_nobody_knows_the_time() -> None:
    found = estimate([4_000, 400], 12, [], MODEL)
    assert (found.trajectories, found.steps, found.past_verdicts) == (2, 12, 0)
    assert found.prompt_tokens == 1_000 + 100
    assert (found.output_tokens, found.seconds, found.cost) == (None, None, None)


def test_no_run_is_taken_to_read_more_than_its_budget() -> None:
    assert estimate([4_000_000, 400], 2, [], MODEL).prompt_tokens == 200_000 + 100


def test_past_verdicts_say_how_often_a_text_is_read_and_what_is_written() -> None:
    found = estimate([4_000, 8_000], 2, [CHEAP], MODEL)
    assert found.prompt_tokens == 2_000 + 4_000, "a token of text was read twice"
    assert found.output_tokens == 20


def test_a_budget_bounds_what_is_computed_and_not_what_is_cached() -> None:
    assert estimate([4_000], 1, [CHEAP], MODEL._replace(tokens=600)).prompt_tokens == 1_200
    all_cached = CHEAP._replace(cached_tokens=2_000)
    assert estimate([4_000], 1, [all_cached], MODEL._replace(tokens=600)).prompt_tokens == 2_000


def test_time_goes_with_the_tokens_and_is_shared_among_those_at_a_time() -> None:
    assert estimate([4_000] * 8, 8, [CHEAP], MODEL).seconds == pytest.approx(1.0)
    assert estimate([8_000] * 8, 8, [CHEAP], MODEL).seconds == pytest.approx(2.0)
    assert estimate([4_000] * 8, 8, [CHEAP], MODEL._replace(concurrency=2)).seconds == pytest.approx(4.0)
    assert estimate([4_000], 1, [CHEAP], MODEL).seconds == pytest.approx(1.0), "one alone is no faster"


def test_no_run_takes_longer_than_it_may() -> None:
    slow = CHEAP._replace(traced_ms=1_000_000)
    assert estimate([4_000, 4_000], 2, [slow], MODEL._replace(concurrency=1)).seconds == pytest.approx(600.0)


def test_a_rule_reads_nothing_and_takes_as_long_as_it_took() -> None:
    found = estimate([4_000] * 4, 4, [Past(20, 0, 0, 0, 4_000)], RULE._replace(concurrency=1))
    assert (found.prompt_tokens, found.output_tokens, found.cost) == (None, None, None)
    assert found.seconds == pytest.approx(0.08)


def test_money_is_that_of_the_prices_for_what_is_read_and_written() -> None:
    priced = MODEL._replace(purse=Purse(input_price=2.0, output_price=50.0, limit=None))
    assert estimate([4_000_000], 1, [CHEAP], priced._replace(tokens=10**9)).cost == pytest.approx(4.0 + 10 * 5e-5)
    assert estimate([4_000_000], 1, [], priced._replace(tokens=10**9)).cost == pytest.approx(2.0), "what is read alone"


def test_the_middle_of_the_past_counts_and_not_its_extremes() -> None:
    wild = CHEAP._replace(traced_ms=10**7, output_tokens=10**6)
    rates = rates_of([CHEAP, wild, CHEAP])
    assert rates == Rates(reads=2.0, computed=0.5, written=10.0, ms_a_token=0.5, ms_a_run=1_000.0)


def test_verdicts_whose_run_is_gone_or_that_read_nothing_say_nothing_of_reading() -> None:
    rates = rates_of([CHEAP._replace(text_bytes=0), Past(50, 0, 0, 0, 4_000)])
    assert rates is not None
    assert (rates.reads, rates.computed, rates.ms_a_token) == (1.0, 0.5, 0.5)
    assert rates_of([]) is None


@given(st.lists(st.integers(0, 10**8), max_size=6), st.lists(PASTS, max_size=6), st.integers(1, 10**6))
def test_an_estimate_is_finite_and_never_negative(sizes: list[int], past: list[Past], tokens: int) -> None:
    found = estimate(sizes, len(sizes), past, MODEL._replace(tokens=tokens, purse=Purse(1.0, 1.0, None)))
    assert found.prompt_tokens is not None
    assert found.cost is not None
    assert 0 <= found.prompt_tokens < 10**15
    assert 0 <= found.cost < 10**12
    assert found.seconds is None or 0 <= found.seconds <= 300.0 * len(sizes)

"""The dearest token of input is dearer only by the writing to the cache that a call can lead to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.pricing.data import default_book
from tollway.pricing.table import PriceRow
from tollway.pricing.usage import CacheWrites, Usage


def row(model: str = "claude-sonnet-5") -> PriceRow:
    priced = default_book().find("Anthropic", model)
    assert priced is not None
    return priced.row


@pytest.mark.parametrize("writes", CacheWrites)
def test_claude_bills_writing_at_five_quarters_and_twice_its_input(writes: CacheWrites) -> None:
    plain = row().steps[0].rates.input
    times = {CacheWrites.NONE: 4, CacheWrites.FIVE_MINUTES: 5, CacheWrites.ONE_HOUR: 8}[writes]
    assert row().dearest(1000, "standard", audio=False, writes=writes).input == plain * times // 4


def test_without_a_word_about_it_anything_may_be_written() -> None:
    anything = row().dearest(1000, "standard", audio=False, writes=CacheWrites.ONE_HOUR)
    assert row().dearest(1000, "standard", audio=False) == anything


COUNTS = st.integers(0, 200_000)


@given(
    st.sampled_from(["claude-sonnet-5", "claude-haiku-5-5", "claude-sonnet-4-5", "claude-opus-5-5"]),
    st.sampled_from(CacheWrites),
    st.sampled_from(["standard", "fast", "auto"]),
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
)
def test_no_usage_within_the_bounds_costs_more(
    model: str, writes: CacheWrites, tier: str, plain: int, read: int, written: int, output: int
) -> None:
    usage = Usage(
        input=plain,
        cache_read=read,
        cache_write_5m=written if writes is CacheWrites.FIVE_MINUTES else 0,
        cache_write_1h=written if writes is CacheWrites.ONE_HOUR else 0,
        output=output,
        tier="standard" if tier == "auto" else tier,
    )
    dearest = row(model).dearest(usage.input_tokens, tier, audio=False, writes=writes)
    assert row(model).cost(usage) <= -(-(usage.input_tokens * dearest.input + output * dearest.output) // 1000)

"""What calls cost: by hand, against the source itself, and never above the ceiling that was held for them."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from genai_prices import Usage as SourceUsage
from genai_prices.data import providers as source_providers
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.pricing.data import default_book
from tollway.pricing.table import PriceRow, Rates, Step, override_row
from tollway.pricing.usage import Usage

BOOK = default_book()
SOURCE = {"OpenAI": "openai", "Anthropic": "anthropic", "Gemini": "google", "Bedrock": "aws", "AzureOpenAI": "azure"}
CONTEXTS = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SOURCE_DAY = datetime(2026, 11, 10, 12, tzinfo=UTC)


def row(provider_type: str, model: str, at: datetime = SOURCE_DAY) -> PriceRow:
    found = BOOK.find(provider_type, model, (at - EPOCH) // timedelta(milliseconds=1))
    assert found is not None, model
    return found.row


@pytest.mark.parametrize(
    ("provider_type", "model", "usage", "nano_usd"),
    [
        # 0.15 and 0.60 USD per million: 1000 * 150 + 500 * 600 nano-USD.
        pytest.param("OpenAI", "gpt-4o-mini", Usage(input=1000, output=500), 450_000, id="gpt-4o-mini"),
        # One token of 0.15 USD per million is 150 nano-USD, exactly.
        pytest.param("OpenAI", "gpt-4o-mini", Usage(input=1), 150, id="one-token"),
        # 0.075 USD per million cached.
        pytest.param("OpenAI", "gpt-4o-mini", Usage(input=10, cache_read=990), 1_500 + 74_250, id="cached"),
        # 0.025 USD per million cached: three tokens are 75 nano-USD.
        pytest.param("OpenAI", "gpt-5-mini", Usage(cache_read=3), 75, id="fractions-of-a-cent"),
        # Batch caches at 0.0125 USD per million: 12.5 nano-USD, rounded up once.
        pytest.param("OpenAI", "gpt-5-mini", Usage(cache_read=1, tier="batch"), 13, id="rounded-up-once"),
        pytest.param("OpenAI", "gpt-5-mini", Usage(cache_read=2, tier="batch"), 25, id="not-per-token"),
        pytest.param("OpenAI", "gpt-4.1-mini", Usage(input=1000, output=1000), 400_000 + 1_600_000, id="gpt-4.1-mini"),
        pytest.param("OpenAI", "gpt-5-mini", Usage(input=100, output=100, tier="priority"), 405_000, id="priority"),
        # Reasoning is a part of output: it costs nothing more.
        pytest.param("OpenAI", "gpt-5-mini", Usage(output=100, reasoning=90), 200_000, id="reasoning-is-output"),
        # At 272,000 tokens of input the base prices, one more and the whole call is billed at twice and 1.5 times.
        pytest.param("OpenAI", "gpt-5.4", Usage(input=272_000, output=10), 680_150_000, id="at-the-cliff"),
        pytest.param("OpenAI", "gpt-5.4", Usage(input=272_001, output=10), 1_360_230_000, id="over-the-cliff"),
        pytest.param("OpenAI", "gpt-5.4", Usage(input=1, cache_read=272_000), 136_005_000, id="cached-input-counts"),
        # 3, 15, 0.30, 3.75 and 6 USD per million.
        pytest.param(
            "Anthropic",
            "claude-sonnet-4-6",
            Usage(input=10, cache_read=1000, cache_write_5m=100, cache_write_1h=100, output=10),
            30_000 + 300_000 + 375_000 + 600_000 + 150_000,
            id="claude-cache",
        ),
        pytest.param(
            "Gemini", "gemini-2.5-flash", Usage(input=10, audio_input=10), 3_000 + 10_000, id="audio-is-dearer"
        ),
        pytest.param("OpenAI", "text-embedding-3-small", Usage(input=7), 140, id="embedding"),
    ],
)
def test_a_call_costs_what_the_price_list_says(provider_type: str, model: str, usage: Usage, nano_usd: int) -> None:
    assert row(provider_type, model).cost(usage) == nano_usd


@pytest.mark.parametrize("tier", ["", "default", "standard", "DEFAULT"])
def test_the_standard_tier_has_many_names(tier: str) -> None:
    assert row("OpenAI", "gpt-4o-mini").cost(Usage(input=1, tier=tier)) == 150


@pytest.mark.parametrize("tier", ["auto", "scale", "no-such-tier"])
def test_a_tier_that_the_row_does_not_know_costs_what_the_dearest_does(tier: str) -> None:
    assert row("OpenAI", "gpt-4o-mini").cost(Usage(input=1, output=1, tier=tier)) == 250 + 1000


def test_an_announced_price_comes_into_force_on_its_day() -> None:
    last_day = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    assert row("Gemini", "gemini-4-argon", last_day).cost(Usage(input=1)) == 2_000
    assert row("Gemini", "gemini-4-argon", last_day + timedelta(minutes=1)).cost(Usage(input=1)) == 4_000


def test_without_a_time_the_announced_price_holds_which_is_the_dearer() -> None:
    announced = BOOK.find("Gemini", "gemini-4-argon")
    assert announced is not None
    assert announced.row.cost(Usage(input=1)) == 4_000


def source_cost(provider_type: str, model: str, usage: Usage) -> Decimal | None:
    """What genai-prices itself says, in nano-USD."""
    provider = next(each for each in source_providers if each.id == SOURCE[provider_type])
    found = provider.find_model(model, all_providers=source_providers)
    assert found is not None, model
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_tokens": usage.audio_input,
        "output_audio_tokens": usage.audio_output,
    }
    priced = found.calc_price(
        SourceUsage(**counts),
        provider,
        genai_request_timestamp=SOURCE_DAY,
        price_context=CONTEXTS.get(usage.tier),
    )
    return priced.total_price * 10**9


def states(provider_type: str, model: str, key: str) -> bool:
    """Whether the source has a price of its own for a class: where it has none, ours is the dearer."""
    provider = next(each for each in source_providers if each.id == SOURCE[provider_type])
    found = provider.find_model(model, all_providers=source_providers)
    return found is not None and getattr(found.get_prices(SOURCE_DAY), key) is not None


def some_usage(dice: random.Random, provider_type: str, model: str) -> Usage:
    def count(key: str = "", most: int = 300_000) -> int:
        return dice.choice([0, 1, dice.randrange(most)]) if not key or states(provider_type, model, key) else 0

    known = row(provider_type, model).service_tiers.keys() if provider_type != "AzureOpenAI" else ()
    return Usage(
        input=count(),
        output=count("output_mtok", 20_000),
        cache_read=count("cache_read_mtok"),
        cache_write_5m=count("cache_write_mtok"),
        cache_write_1h=count("cache_write_1h_mtok"),
        audio_input=count("input_audio_mtok"),
        audio_output=count("output_audio_mtok", 5_000),
        tier=dice.choice(["", *sorted(CONTEXTS.keys() & known)]),
    )


def test_two_hundred_calls_cost_what_the_source_says_rounded_up_to_a_nano_usd() -> None:
    dice = random.Random(20261110)
    everything = [(kind, name) for kind in SOURCE for name in BOOK.names(kind) if "YYYY" not in name]
    for kind, name in dice.sample(everything, 200):
        usage = some_usage(dice, kind, name)
        exact = source_cost(kind, name, usage)
        assert exact is not None
        assert exact <= row(kind, name).cost(usage) < exact + 1, (kind, name, usage)


PRICES = st.integers(0, 10_000_000)
RATES = st.builds(Rates, *[PRICES] * 7)
TIERS = ["", "default", "batch", "flex", "priority", "auto", "unheard-of"]


@st.composite
def steps(draw: st.DrawFn) -> tuple[Step, ...]:
    starts = draw(st.sets(st.integers(1, 2_000), max_size=3))
    return tuple(Step(above, draw(RATES)) for above in sorted({0, *starts}))


ROWS = st.builds(
    lambda standard, tiers: PriceRow("m", "test", "2026-11-10", standard, tiers),
    steps(),
    st.dictionaries(st.sampled_from(["batch", "flex", "priority"]), steps(), max_size=3),
)
COUNTS = st.integers(0, 1_000)


@settings(deadline=None)
@given(ROWS, st.data())
def test_no_call_within_its_bounds_costs_more_than_its_ceiling(priced: PriceRow, data: st.DataObject) -> None:
    audio = data.draw(st.booleans())
    asked = data.draw(st.sampled_from(TIERS))
    spoken = COUNTS if audio else st.just(0)
    answering = {"", asked} if asked in priced.service_tiers or asked in ("", "default") else TIERS
    usage = data.draw(
        st.builds(
            Usage,
            input=COUNTS,
            output=COUNTS,
            cache_read=COUNTS,
            cache_write_5m=COUNTS,
            cache_write_1h=COUNTS,
            audio_input=spoken,
            audio_output=spoken,
            tier=st.sampled_from(sorted(answering)),
        )
    )
    input_bound = usage.input_tokens + data.draw(st.integers(0, 10))
    output_bound = usage.output_tokens + data.draw(st.integers(0, 10))
    dearest = priced.dearest(input_bound, asked, audio)
    assert priced.cost(usage) <= -(-(input_bound * dearest.input + output_bound * dearest.output) // 1000)


def test_a_short_call_is_not_held_at_the_prices_of_long_context() -> None:
    long_context = row("OpenAI", "gpt-5.4")
    assert long_context.dearest(272_000, "default", audio=False).input == 2_500_000
    assert long_context.dearest(272_001, "default", audio=False).input == 5_000_000


def test_an_automatic_tier_is_held_at_the_dearest() -> None:
    priced = row("OpenAI", "gpt-4o-mini")
    assert priced.dearest(100, "", audio=False).output == 600_000
    assert priced.dearest(100, "auto", audio=False).output == 1_000_000


def test_a_class_without_a_price_costs_what_a_dearer_one_does() -> None:
    stated = override_row("in-house-llama", 100_000, 400_000, source="AIProvider openai").steps[0].rates
    assert stated == Rates(100_000, 400_000, 100_000, 100_000, 100_000, 100_000, 400_000)


def test_claude_cache_writes_without_a_price_cost_what_claude_multiplies_by() -> None:
    rates = override_row("claude-in-house", 3_000_000, 15_000_000, source="AIProvider anthropic").steps[0].rates
    assert (rates.cache_write_5m, rates.cache_write_1h) == (3_750_000, 6_000_000)


def test_an_override_holds_in_every_tier() -> None:
    priced = override_row("in-house-llama", 100_000, 400_000, cache_read=10_000, source="AIProvider openai")
    assert {priced.cost(Usage(output=10, cache_read=10, tier=tier)) for tier in TIERS} == {4_100}


@settings(deadline=None)
@given(ROWS)
def test_a_row_comes_back_from_the_journal_as_it_was(priced: PriceRow) -> None:
    assert PriceRow.from_json(priced.to_json()) == priced


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("{}", id="no-fields"),
        pytest.param('{"model":"m","source":"s","date":"","steps":[]}', id="no-steps"),
        pytest.param('{"model":"m","source":"s","date":"","steps":[[1,[1,1,1,1,1,1,1]]]}', id="no-first-step"),
        pytest.param('{"model":"m","source":"s","date":"","steps":[[0,[1,1,1,1,1,1,-1]]]}', id="negative"),
        pytest.param('{"model":"m","source":"s","date":"","steps":[[0,[1,1,1,1,1,1,0.5]]]}', id="fraction"),
    ],
)
def test_what_is_no_row_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        PriceRow.from_json(text)

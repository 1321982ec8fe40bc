"""Reading usage: every token is in one class, what a stream says last counts, and garbage is no usage."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage
from tollway.providers.anthropic.family import ANTHROPIC

TOTALS = {"message_input": 100.0, "message_output": 50.0}
ENDED = {**TOTALS, "message_ended": "end_turn"}


def read(**values: float | str) -> Usage | None:
    return ANTHROPIC.usage({**ENDED, **values})


def test_each_token_is_counted_in_one_class() -> None:
    usage = read(
        message_cache_read=30.0, message_cache_write=25.0, message_cache_write_5m=20.0, message_cache_write_1h=5.0,
        message_reasoning=15.0, message_tier="standard",
    )  # fmt: skip
    assert usage == Usage(
        input=100, cache_read=30, cache_write_5m=20, cache_write_1h=5, output=50, reasoning=15, tier="standard"
    )
    assert usage.input_tokens == 155


def test_what_is_written_to_the_cache_costs_what_the_book_says_for_its_duration() -> None:
    priced = default_book().find("Anthropic", "claude-sonnet-4-5")
    assert priced is not None
    usage = read(message_cache_read=10.0, message_cache_write_5m=20.0, message_cache_write_1h=5.0)
    assert usage is not None
    assert priced.row.cost(usage) == 100 * 3_000 + 10 * 300 + 20 * 3_750 + 5 * 6_000 + 50 * 15_000


def test_what_was_written_without_a_word_for_how_long_costs_the_most() -> None:
    usage = read(message_cache_write=25.0, message_cache_write_5m=20.0)
    assert usage is not None
    assert (usage.cache_write_5m, usage.cache_write_1h) == (20, 5)


def test_what_a_stream_says_last_counts_and_what_it_does_not_repeat_stays() -> None:
    usage = ANTHROPIC.usage(
        {
            "started_message_input": 100.0,
            "started_message_cache_read": 7.0,
            "started_message_tier": "standard",
            "message_input": 120.0,
            "message_output": 50.0,
            "streamed_message_ended": "end_turn",
        }
    )
    assert usage == Usage(input=120, cache_read=7, output=50, tier="standard")


def test_a_stream_that_did_not_come_to_its_end_has_no_usage_but_what_it_said_so_far() -> None:
    fields = {"started_message_input": 100.0, "started_message_cache_write_1h": 9.0, "message_output": 3.0}
    assert ANTHROPIC.usage(fields) is None
    assert ANTHROPIC.usage_so_far(fields) == Usage(input=100, cache_write_1h=9, output=3)
    assert ANTHROPIC.usage_so_far({}) is None


def test_a_counted_prompt_is_free() -> None:
    assert ANTHROPIC.usage({"counted_tokens": 5_000.0}) == Usage()


@pytest.mark.parametrize(
    ("words", "tier"),
    [
        ({"message_tier": "standard", "message_speed": "fast"}, "fast"),
        ({"message_tier": "priority", "message_speed": "standard"}, "priority"),
        ({"message_tier": "standard", "message_place": "us", "message_speed": "fast"}, "us"),
        ({"message_tier": "standard", "message_place": "global", "message_speed": "standard"}, "standard"),
        ({"message_tier": "standard", "message_place": "not_available"}, "standard"),
        ({}, ""),
    ],
    ids=str,
)
def test_the_tier_is_the_word_that_changes_the_price(words: dict[str, str], tier: str) -> None:
    usage = read(**words)
    assert usage is not None
    assert usage.tier == tier


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"message_tier": "standard"},
        {**ENDED, "message_ended": "end_turn", "message_input": -1.0},
        {**ENDED, "message_input": 1.5},
        {**ENDED, "message_input": float("nan")},
        {**ENDED, "message_input": float("inf")},
        {**ENDED, "message_output": 1e18},
        {**ENDED, "message_output": "50"},
        {**ENDED, "message_output": True},
        {**ENDED, "message_cache_read": -5.0},
        TOTALS,
        {"message_input": 1.0, "message_ended": "end_turn"},
        {"message_output": 1.0, "message_ended": "end_turn"},
    ],
    ids=str,
)
def test_missing_or_implausible_counts_are_no_usage(values: Mapping[str, float | str]) -> None:
    assert ANTHROPIC.usage(values) is None


COUNTS = st.integers(0, 1000)
CLASSES = ["message_cache_read", "message_cache_write", "message_cache_write_5m", "message_cache_write_1h"]


@given(st.fixed_dictionaries(dict.fromkeys(TOTALS, COUNTS), optional=dict.fromkeys(CLASSES, COUNTS)))
def test_nothing_that_the_provider_counted_is_left_out(values: dict[str, int]) -> None:
    usage = ANTHROPIC.usage({**values, "message_ended": "stop"})
    assert usage is not None
    written = max(
        values.get("message_cache_write", 0),
        values.get("message_cache_write_5m", 0) + values.get("message_cache_write_1h", 0),
    )
    assert usage.input_tokens == values["message_input"] + values.get("message_cache_read", 0) + written
    assert usage.output_tokens == values["message_output"]

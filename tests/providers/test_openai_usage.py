"""Reading usage: every token is in one class, the classes add up to the provider's totals, and garbage is no usage."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.pricing.usage import Usage
from tollway.providers.openai.family import OPENAI

TOTALS = {"prompt_tokens": 100.0, "completion_tokens": 50.0}


def read(**values: float | str) -> Usage | None:
    return OPENAI.usage({**TOTALS, **values})


def test_each_token_is_counted_in_one_class() -> None:
    usage = read(
        cached_tokens=30.0, cache_write_tokens=20.0, audio_input_tokens=10.0, audio_output_tokens=5.0,
        reasoning_tokens=15.0, service_tier="priority", response_model="gpt-5-mini",
    )  # fmt: skip
    assert usage == Usage(
        input=40, cache_read=30, cache_write_5m=20, audio_input=10, output=45, audio_output=5, reasoning=15,
        tier="priority",
    )  # fmt: skip


def test_reasoning_that_only_the_total_counts_is_output() -> None:
    usage = read(reasoning_tokens=70.0, total_tokens=220.0)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning) == (100, 120, 70)


RESPONSE = {"input_tokens": 100.0, "output_tokens": 50.0, "total_tokens": 150.0, "service_tier": "flex"}
STREAMED = {
    "streamed_input_tokens": 100.0, "streamed_output_tokens": 50.0, "streamed_status": "completed",
    "streamed_service_tier": "flex",
}  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        {**RESPONSE, "input_cached_tokens": 30.0, "input_cache_write_tokens": 20.0, "output_reasoning_tokens": 15.0},
        {**STREAMED, "streamed_cached_tokens": 30.0, "streamed_cache_write_tokens": 20.0,
         "streamed_reasoning_tokens": 15.0},
    ],
    ids=["as JSON", "streamed"],
)  # fmt: skip
def test_a_response_is_read_as_a_chat_completion_is(values: Mapping[str, float | str]) -> None:
    assert OPENAI.usage(values) == Usage(
        input=50, cache_read=30, cache_write_5m=20, output=50, reasoning=15, tier="flex"
    )


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_what_the_beginning_of_a_stream_counts_is_not_what_the_call_consumed(status: str) -> None:
    assert OPENAI.usage({**STREAMED, "streamed_status": status}) is None


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_stream_that_ended_in_any_way_has_its_count(status: str) -> None:
    assert OPENAI.usage({**STREAMED, "streamed_status": status}) is not None


def test_an_embedding_says_by_its_total_that_it_has_no_output() -> None:
    usage = OPENAI.usage({"prompt_tokens": 8.0, "total_tokens": 8.0, "response_model": "text-embedding-3-small"})
    assert usage == Usage(input=8)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"input_tokens": 100.0},
        {"streamed_input_tokens": 100.0, "streamed_status": "completed"},
        {**RESPONSE, "output_tokens": -1.0},
        {"service_tier": "default"},
        {"prompt_tokens": 1.0},
        {"completion_tokens": 1.0},
        {**TOTALS, "prompt_tokens": -1.0},
        {**TOTALS, "prompt_tokens": 1.5},
        {**TOTALS, "prompt_tokens": float("nan")},
        {**TOTALS, "prompt_tokens": float("inf")},
        {**TOTALS, "prompt_tokens": 1e18},
        {**TOTALS, "prompt_tokens": "100"},
        {**TOTALS, "prompt_tokens": True},
        {**TOTALS, "cached_tokens": -5.0},
    ],
    ids=str,
)
def test_missing_or_implausible_counts_are_no_usage(values: Mapping[str, float | str]) -> None:
    assert OPENAI.usage(values) is None


COUNTS = st.integers(0, 1000)


@given(st.fixed_dictionaries(
    dict.fromkeys(TOTALS, COUNTS),
    optional=dict.fromkeys(
        ["cached_tokens", "cache_write_tokens", "audio_input_tokens", "audio_output_tokens", "reasoning_tokens"], COUNTS
    ),
))  # fmt: skip
def test_classes_add_up_to_the_totals_whatever_the_details_say(values: dict[str, int]) -> None:
    usage = OPENAI.usage(values)
    assert usage is not None
    assert usage.input_tokens == values["prompt_tokens"]
    assert usage.output_tokens == values["completion_tokens"]
    classes = (usage.input, usage.cache_read, usage.cache_write_5m, usage.audio_input, usage.output, usage.audio_output)
    assert min(classes) >= 0
    assert 0 <= usage.reasoning <= usage.output

"""Reading what a call consumed from the numbers that Envoy extracted of the answer.

Chat completions and embeddings count `prompt_tokens` and `completion_tokens`, responses `input_tokens` and
`output_tokens`, in a stream inside of the `response` that its last event carries. OpenAI counts cached, cache-writing
and audio tokens inside of the input, audio and reasoning inside of the output (openai SDK, `types/completion_usage.py`,
`types/responses/response_usage.py`). Some compatible servers count reasoning only in `total_tokens`: what the total has
beyond the input is output. Embeddings have no output, and say so only by their total.
"""

from collections.abc import Mapping
from typing import Final

from tollway.pricing.usage import Usage

USAGE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt_tokens": ("usage", "prompt_tokens"),
    "completion_tokens": ("usage", "completion_tokens"),
    "total_tokens": ("usage", "total_tokens"),
    "cached_tokens": ("usage", "prompt_tokens_details", "cached_tokens"),
    "cache_write_tokens": ("usage", "prompt_tokens_details", "cache_write_tokens"),
    "audio_input_tokens": ("usage", "prompt_tokens_details", "audio_tokens"),
    "reasoning_tokens": ("usage", "completion_tokens_details", "reasoning_tokens"),
    "audio_output_tokens": ("usage", "completion_tokens_details", "audio_tokens"),
    "service_tier": ("service_tier",),
    "response_model": ("model",),
    # A response as JSON.
    "input_tokens": ("usage", "input_tokens"),
    "output_tokens": ("usage", "output_tokens"),
    "input_cached_tokens": ("usage", "input_tokens_details", "cached_tokens"),
    "input_cache_write_tokens": ("usage", "input_tokens_details", "cache_write_tokens"),
    "output_reasoning_tokens": ("usage", "output_tokens_details", "reasoning_tokens"),
    # A response in the events of a stream.
    "streamed_input_tokens": ("response", "usage", "input_tokens"),
    "streamed_output_tokens": ("response", "usage", "output_tokens"),
    "streamed_total_tokens": ("response", "usage", "total_tokens"),
    "streamed_cached_tokens": ("response", "usage", "input_tokens_details", "cached_tokens"),
    "streamed_cache_write_tokens": ("response", "usage", "input_tokens_details", "cache_write_tokens"),
    "streamed_reasoning_tokens": ("response", "usage", "output_tokens_details", "reasoning_tokens"),
    "streamed_service_tier": ("response", "service_tier"),
    "streamed_model": ("response", "model"),
    "streamed_status": ("response", "status"),
}

_CHAT: Final = {
    "input": "prompt_tokens",
    "output": "completion_tokens",
    "total": "total_tokens",
    "cache_read": "cached_tokens",
    "cache_write": "cache_write_tokens",
    "audio_input": "audio_input_tokens",
    "reasoning": "reasoning_tokens",
    "audio_output": "audio_output_tokens",
    "tier": "service_tier",
}
_RESPONSE: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "total": "total_tokens",
    "cache_read": "input_cached_tokens",
    "cache_write": "input_cache_write_tokens",
    "reasoning": "output_reasoning_tokens",
    "tier": "service_tier",
}
_STREAMED_RESPONSE: Final = {
    "input": "streamed_input_tokens",
    "output": "streamed_output_tokens",
    "total": "streamed_total_tokens",
    "cache_read": "streamed_cached_tokens",
    "cache_write": "streamed_cache_write_tokens",
    "reasoning": "streamed_reasoning_tokens",
    "tier": "streamed_service_tier",
}
_WORDINGS: Final = (_CHAT, _RESPONSE, _STREAMED_RESPONSE)
"""What each format calls a class of tokens. That which counts the input is the one that answered."""

_UNFINISHED: Final = frozenset({"queued", "in_progress"})
"""A count in the events that begin a stream is none of what the answer will have consumed."""

_IMPLAUSIBLE: Final = 2**40

Value = int | float | str


def openai_usage(fields: Mapping[str, Value]) -> Usage | None:
    """Usage from values named as in `USAGE_FIELDS`; None if they are missing, or no counts of tokens.

    Details that do not fit into their total are cut, the dearest class first: the classes always add up to the total.
    """
    words = next((wording for wording in _WORDINGS if wording["input"] in fields), None)
    if words is None or fields.get("streamed_status") in _UNFINISHED:
        return None
    counts = _counts(fields, words)
    if counts is None or not ("output" in counts or "total" in counts):
        return None
    return _classes(counts, _tier(fields.get(words["tier"], "")))


def _counts(fields: Mapping[str, Value], words: Mapping[str, str]) -> Mapping[str, int] | None:
    """What is said of each class of tokens; None if any of it is no count."""
    counts = {}
    for word, key in words.items():
        if key in fields and word != "tier":
            count = _count(fields[key])
            if count is None:
                return None
            counts[word] = count
    return counts


def _classes(counts: Mapping[str, int], tier: str) -> Usage:
    everything_in = counts["input"]
    everything_out = max(counts.get("output", 0), counts.get("total", 0) - everything_in)
    audio_input = min(counts.get("audio_input", 0), everything_in)
    cache_write = min(counts.get("cache_write", 0), everything_in - audio_input)
    cache_read = min(counts.get("cache_read", 0), everything_in - audio_input - cache_write)
    audio_output = min(counts.get("audio_output", 0), everything_out)
    output = everything_out - audio_output
    return Usage(
        input=everything_in - audio_input - cache_write - cache_read,
        cache_read=cache_read,
        cache_write_5m=cache_write,
        audio_input=audio_input,
        output=output,
        audio_output=audio_output,
        reasoning=min(counts.get("reasoning", 0), output),
        tier=tier,
    )


def _count(value: Value) -> int | None:
    """Envoy's numbers are doubles. Anything but a whole, plausible number of tokens is None."""
    if (type(value) is not int and type(value) is not float) or not 0 <= value <= _IMPLAUSIBLE:
        return None
    count = int(value)
    return count if count == value else None


def _tier(value: Value) -> str:
    return value[:64] if isinstance(value, str) else ""

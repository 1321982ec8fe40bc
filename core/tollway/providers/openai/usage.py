"""Reading what a chat completion consumed from the numbers that Envoy extracted of the answer.

OpenAI counts cached, cache-writing and audio tokens inside `prompt_tokens`, audio and reasoning inside
`completion_tokens` (openai SDK, `types/completion_usage.py`). Some compatible servers count reasoning only in
`total_tokens`: what the total has beyond the prompt is output.
"""

from collections.abc import Mapping
from typing import Final

from tollway.pricing.usage import Usage

_PROMPT: Final = ("usage", "prompt_tokens_details")
_COMPLETION: Final = ("usage", "completion_tokens_details")

USAGE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt_tokens": ("usage", "prompt_tokens"),
    "completion_tokens": ("usage", "completion_tokens"),
    "total_tokens": ("usage", "total_tokens"),
    "cached_tokens": (*_PROMPT, "cached_tokens"),
    "cache_write_tokens": (*_PROMPT, "cache_write_tokens"),
    "audio_input_tokens": (*_PROMPT, "audio_tokens"),
    "reasoning_tokens": (*_COMPLETION, "reasoning_tokens"),
    "audio_output_tokens": (*_COMPLETION, "audio_tokens"),
    "service_tier": ("service_tier",),
    "response_model": ("model",),
}

_COUNTS: Final = tuple(name for name in USAGE_FIELDS if name.endswith("_tokens"))
_REQUIRED: Final = ("prompt_tokens", "completion_tokens")
_IMPLAUSIBLE: Final = 2**40

Value = int | float | str


def chat_completion_usage(fields: Mapping[str, Value]) -> Usage | None:
    """Usage from values named as in `USAGE_FIELDS`; None if they are missing, or no counts of tokens.

    Details that do not fit into their total are cut, the dearest class first: the classes always add up to the total.
    """
    counts = {name: _count(fields[name]) for name in _COUNTS if name in fields}
    if None in counts.values() or not all(name in counts for name in _REQUIRED):
        return None
    return _classes({name: count or 0 for name, count in counts.items()}, _tier(fields.get("service_tier", "")))


def _classes(counts: Mapping[str, int], tier: str) -> Usage:
    prompt = counts["prompt_tokens"]
    completion = max(counts["completion_tokens"], counts.get("total_tokens", 0) - prompt)
    audio_input = min(counts.get("audio_input_tokens", 0), prompt)
    cache_write = min(counts.get("cache_write_tokens", 0), prompt - audio_input)
    cache_read = min(counts.get("cached_tokens", 0), prompt - audio_input - cache_write)
    audio_output = min(counts.get("audio_output_tokens", 0), completion)
    output = completion - audio_output
    return Usage(
        input=prompt - audio_input - cache_write - cache_read,
        cache_read=cache_read,
        cache_write_5m=cache_write,
        audio_input=audio_input,
        output=output,
        audio_output=audio_output,
        reasoning=min(counts.get("reasoning_tokens", 0), output),
        tier=tier,
    )


def _count(value: Value) -> int | None:
    """Envoy's numbers are doubles. Anything but a whole, plausible number of tokens is None."""
    if isinstance(value, bool | str) or not 0 <= value <= _IMPLAUSIBLE or value != int(value):
        return None
    return int(value)


def _tier(value: Value) -> str:
    return value[:64] if isinstance(value, str) else ""

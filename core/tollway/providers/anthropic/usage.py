"""Reading what a message consumed from the numbers that Envoy extracted of the answer.

Anthropic's `input_tokens` exclude what was read from the cache or written to it (anthropic SDK, `types/usage.py`), and
`output_tokens` include all thinking. In a stream `message_start` tells the input and `message_delta`, cumulative, what
it came to in the end, in the same words as a JSON answer. So each word may have been said twice, and the later telling
counts, whatever the order in which it was seen; one that says null leaves the earlier. The count of output in
`message_start` is only that of a beginning and is never read.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from tollway.pricing.usage import Usage

Value = int | float | str

_TOLD: Final = {
    "input": "input_tokens",
    "cache_write": "cache_creation_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "output": "output_tokens",
    "reasoning": "output_tokens_details.thinking_tokens",
    "tier": "service_tier",
    "speed": "speed",
    "place": "inference_geo",
}
"""Our words and the members of `usage` that they stand for."""

_AT_START: Final = frozenset(_TOLD) - {"output", "reasoning"}
_STARTED: Final = "started_"

USAGE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    **{f"message_{word}": ("usage", *path.split(".")) for word, path in _TOLD.items()},
    **{f"{_STARTED}message_{word}": ("message", "usage", *_TOLD[word].split(".")) for word in sorted(_AT_START)},
    # Why a JSON answer ended, or a stream in its last `message_delta`: then the counts are final.
    "message_ended": ("stop_reason",),
    "streamed_message_ended": ("delta", "stop_reason"),
    "counted_tokens": ("input_tokens",),
}

_KEYS: Final = {word: (f"message_{word}", f"{_STARTED}message_{word}") for word in _TOLD}
"""Where each word is told, the later telling first."""

_WORDS: Final = frozenset({"tier", "speed", "place"})
_ORDINARY: Final = frozenset({"", "standard", "global", "not_available"})
_IMPLAUSIBLE: Final = 2**40


def message_usage(fields: Mapping[str, Value]) -> Usage | None:
    """Usage from values named as in `USAGE_FIELDS`; None if they are missing, not final, or no counts of tokens."""
    if "counted_tokens" in fields:
        # The answer to a request for nothing but a count, which is free.
        return Usage()
    if not ("message_ended" in fields or "streamed_message_ended" in fields):
        return None
    return _read(fields, required={"input", "output"})


def message_usage_so_far(fields: Mapping[str, Value]) -> Usage | None:
    """What a stream had said before it was cut: all of its input, and what it told of its output."""
    return _read(fields, required={"input"})


def _read(fields: Mapping[str, Value], required: AbstractSet[str]) -> Usage | None:
    said = {word: value for word, keys in _KEYS.items() if (value := _last_told(fields, keys)) is not None}
    counts = {}
    for word in said.keys() - _WORDS:
        count = _count(said[word])
        if count is None:
            return None
        counts[word] = count
    return _classes(counts, _tier(said)) if counts.keys() >= required else None


def _last_told(fields: Mapping[str, Value], keys: tuple[str, str]) -> Value | None:
    latest, first = keys
    return fields[latest] if latest in fields else fields.get(first)


def _classes(counts: Mapping[str, int], tier: str) -> Usage:
    five_minutes, one_hour = counts.get("cache_write_5m", 0), counts.get("cache_write_1h", 0)
    # What is written without a word for how long costs what the longest does.
    unsaid = max(counts.get("cache_write", 0) - five_minutes - one_hour, 0)
    output = counts.get("output", 0)
    return Usage(
        input=counts["input"],
        cache_read=counts.get("cache_read", 0),
        cache_write_5m=five_minutes,
        cache_write_1h=one_hour + unsaid,
        output=output,
        reasoning=min(counts.get("reasoning", 0), output),
        tier=tier,
    )


def _count(value: Value) -> int | None:
    """Envoy's numbers are doubles. Anything but a whole, plausible number of tokens is None."""
    if (type(value) is not int and type(value) is not float) or not 0 <= value <= _IMPLAUSIBLE:
        return None
    count = int(value)
    return count if count == value else None


def _tier(said: Mapping[str, Value]) -> str:
    """The first word that is out of the ordinary: each stands for prices of its own. One that a price row does not know
    costs what its dearest does."""
    words = [str(said[word])[:64] for word in ("place", "tier", "speed") if word in said]
    return next((word for word in words if word not in _ORDINARY), "standard" if words else "")

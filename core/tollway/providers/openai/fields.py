"""Which fields of a chat completion are known, and which can cost more than the request's bytes bound.

These are allow-lists for three reasons. A field nobody described may change what a call costs. A field may refer to
state under the key that all agents share. And some servers match keys without regard to case, so that `MAX_TOKENS`
beside `max_tokens` would win there; an unknown spelling is refused here. A test holds the lists against the official
SDK's own types: a field that is new there must be put in one of them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Stable codes of what can be wrong with a request."""

    UNREADABLE = "request.unreadable"
    TOO_LARGE = "request.too_large"
    CONFLICT = "request.conflict"
    STATEFUL = "request.stateful"
    UNBOUNDED = "request.unbounded"
    UNKNOWN_FIELD = "request.unknown_field"


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Why a field must not be there (`null` is as good as absent)."""

    reason: Reason
    why: str


READ: Final = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "n",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "tools",
    }
)
"""Fields that `request` looks into."""

HARMLESS: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
"""What they cost is bounded by their own bytes and the output cap. (Cache writes are priced; `audio` names a voice.)"""

SEARCHES: Final = Forbidden(Reason.UNBOUNDED, "the provider searches, at a cost that the request does not bound")

FORBIDDEN: Final = {
    "background": Forbidden(Reason.UNBOUNDED, "a background run goes on where nobody can meter or end it"),
    "conversation": Forbidden(Reason.STATEFUL, "a stored conversation is billed again, and its size is not known here"),
    "moderation": Forbidden(Reason.UNBOUNDED, "it runs a second model, whose cost the request does not bound"),
    "prediction": Forbidden(
        Reason.UNBOUNDED, "rejected tokens of a prediction are billed, and the provider takes no output cap beside it"
    ),
    "previous_response_id": Forbidden(
        Reason.STATEFUL, "a stored response is billed again, and its size is not known here"
    ),
    "prompt": Forbidden(Reason.STATEFUL, "the size of a stored prompt is not known here"),
    "search_parameters": Forbidden(
        Reason.UNBOUNDED, "the provider searches, at a cost that the request does not bound"
    ),
    "web_search_options": Forbidden(
        Reason.UNBOUNDED, "the provider searches, at a cost that the request does not bound"
    ),
}

EXTENSIONS: Final = frozenset(
    {
        "chat_template_kwargs",
        "cache_prompt",
        "enable_thinking",
        "guided_choice",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "ignore_eos",
        "include_reasoning",
        "include_stop_str_in_output",
        "keep_alive",
        "min_p",
        "min_tokens",
        "random_seed",
        "reasoning",
        "reasoning_format",
        "repetition_penalty",
        "return_token_ids",
        "safe_prompt",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "thinking",
        "top_a",
        "top_k",
        "typical_p",
    }
)
"""What compatible servers know beyond OpenAI: sampling, guided output and thinking, all of it under the output cap.

Not let through, though they look as harmless: `best_of` and `use_beam_search` (several answers are generated for one),
`models`, `route` and `provider` (another model may answer), `plugins` and `enable_search` (provider-run tools),
`chat_template` (a program that can write a prompt of any length).
"""

STREAM_OPTIONS: Final = frozenset({"include_usage", "include_obfuscation", "continuous_usage_stats"})

MESSAGE: Final = frozenset(
    {
        "annotations",
        "audio",
        "content",
        "function_call",
        "name",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "refusal",
        "role",
        "tool_call_id",
        "tool_calls",
    }
)
"""Fields of a message, of any role, among them what SDKs and compatible servers hand out and agents send back."""

TEXT_PART: Final = frozenset({"cache_control", "prompt_cache_breakpoint", "refusal", "text", "type"})
TEXT_PARTS: Final = frozenset({"text", "refusal"})

FORBIDDEN_PARTS: Final = {
    "file": Forbidden(Reason.UNBOUNDED, "a file is rendered into more tokens than its bytes bound"),
    "image_url": Forbidden(Reason.UNBOUNDED, "what an image costs depends on its size in pixels, not in bytes"),
    "input_audio": Forbidden(Reason.UNBOUNDED, "what audio costs depends on its duration, not on its bytes"),
    "video_url": Forbidden(Reason.UNBOUNDED, "what a video costs depends on its duration, not on its bytes"),
}

CALLERS_TOOLS: Final = frozenset({"function", "custom"})
"""Tools that the agent runs itself. Every other type is run, and billed, by the provider."""

TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})

SEARCHING_MODELS: Final = ("-search-preview", "-search-api")
"""Models that search the web for a fee on every call, without any field that asks for it."""

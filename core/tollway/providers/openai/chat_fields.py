"""Which fields of a chat completion are known, and which can cost more than the request's bytes bound."""

from typing import Final

from tollway.providers.openai import fields
from tollway.providers.openai.fields import (
    AUDIO,
    FILE,
    IMAGE,
    MODERATES,
    SEARCHES,
    STORED_CONVERSATION,
    STORED_PROMPT,
    STORED_RESPONSE,
    VIDEO,
    Parts,
)
from tollway.providers.reading import Forbidden, Reason

READ: Final = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "n",
        "prompt_cache_options",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "tools",
    }
)
"""Fields that the parser looks into."""

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

FORBIDDEN: Final = {
    "background": Forbidden(Reason.UNBOUNDED, "a background run goes on where nobody can meter or end it"),
    "conversation": STORED_CONVERSATION,
    "moderation": MODERATES,
    "prediction": Forbidden(
        Reason.UNBOUNDED, "rejected tokens of a prediction are billed, and the provider takes no output cap beside it"
    ),
    "previous_response_id": STORED_RESPONSE,
    "prompt": STORED_PROMPT,
    "search_parameters": SEARCHES,
    "web_search_options": SEARCHES,
}

EXTENSIONS: Final = fields.EXTENSIONS | {"reasoning"}

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

PARTS: Final = Parts(
    texts=frozenset({"text", "refusal"}),
    fields=frozenset({"cache_control", "prompt_cache_breakpoint", "refusal", "text", "type"}),
    forbidden={"file": FILE, "image_url": IMAGE, "input_audio": AUDIO, "video_url": VIDEO},
)

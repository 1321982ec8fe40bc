"""What is known of request fields whatever the operation: the lists that operations share, and why some may not pass.

Each operation's own lists stand beside its parser (`chat_fields`, `response_fields`, `embeddings`). They are
allow-lists for three reasons. A field nobody described may change what a call costs. A field may refer to state under
the key that all agents share. And some servers match keys without regard to case, so that `MAX_TOKENS` beside
`max_tokens` would win there; an unknown spelling is refused here. Tests hold the lists against the official SDK's own
types: a field that is new there must be put in one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tollway.providers.reading import Forbidden, Reason

NOTHING: Final[Mapping[str, Forbidden]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a content may have: kinds of text, the fields such a part may have, and the kinds refused."""

    texts: frozenset[str]
    fields: frozenset[str]
    forbidden: Mapping[str, Forbidden]


IMAGE: Final = Forbidden(Reason.UNBOUNDED, "what an image costs depends on its size in pixels, not in bytes")
AUDIO: Final = Forbidden(Reason.UNBOUNDED, "what audio costs depends on its duration, not on its bytes")
VIDEO: Final = Forbidden(Reason.UNBOUNDED, "what a video costs depends on its duration, not on its bytes")
FILE: Final = Forbidden(Reason.UNBOUNDED, "a file is rendered into more tokens than its bytes bound")

SEARCHES: Final = Forbidden(Reason.UNBOUNDED, "the provider searches, at a cost that the request does not bound")
MODERATES: Final = Forbidden(Reason.UNBOUNDED, "it runs a second model, whose cost the request does not bound")
STORED_CONVERSATION: Final = Forbidden(
    Reason.STATEFUL, "a stored conversation is billed again, and its size is not known here"
)
STORED_RESPONSE: Final = Forbidden(Reason.STATEFUL, "a stored response is billed again, and its size is not known here")
STORED_PROMPT: Final = Forbidden(Reason.STATEFUL, "the size of a stored prompt is not known here")
LONG_CACHE: Final = Forbidden(Reason.UNBOUNDED, "what it costs to keep a prompt in the cache so long is not known here")

CALLERS_TOOLS: Final = frozenset({"function", "custom"})
"""Tools that the agent runs itself. Every other type is run, and billed, by the provider, or described to the model in
words of the provider's own."""

TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
UNPRICED_TIERS: Final = {"ultrafast": Forbidden(Reason.UNBOUNDED, "its price is not known here")}

CACHE_OPTIONS: Final = frozenset({"mode", "prewarm", "ttl"})
FORBIDDEN_CACHE_OPTIONS: Final = {"comparison_response_id": STORED_RESPONSE}
CACHE_TTL: Final = "30m"
"""How long a cache entry may be asked to live: the price of writing one is known for this."""

SEARCHING_MODELS: Final = ("-search-preview", "-search-api")
"""Models that search the web for a fee on every call, without any field that asks for it."""

EXTENSIONS: Final = frozenset(
    {
        "cache_prompt",
        "chat_template_kwargs",
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

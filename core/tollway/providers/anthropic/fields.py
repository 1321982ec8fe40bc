"""Which fields, content blocks and tools of a message are known, and which can cost more than the bytes bound.

These are allow-lists: a field that nobody described may change what a call costs, or refer to state under the key that
all agents share. A test holds the lists against the official SDK's own types: what is new there must be judged first.
"""

from typing import Final

from tollway.providers.reading import Forbidden, Reason

COUNTED: Final = frozenset(
    {
        "cache_control",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
"""Fields of a request to count tokens: all that becomes input."""

READ: Final = COUNTED - {"tool_choice"} | {"inference_geo", "max_tokens", "service_tier", "stream"}
"""Fields that the parser looks into."""

HARMLESS: Final = frozenset({"metadata", "stop_sequences", "temperature", "tool_choice", "top_k", "top_p"})
"""What they cost is bounded by their own bytes and the output cap. `2023-06-01` has sampling parameters."""

_STORED: Final = "what is stored under the key that all agents share has no size known here"
_OTHER_MODEL: Final = "another model may answer, at a price that this one does not bound"

FORBIDDEN: Final = {
    "billing_policy": Forbidden(Reason.STATEFUL, "it changes who pays"),
    "compaction": Forbidden(Reason.UNBOUNDED, "the provider summarises by further runs of the model, and bills each"),
    "container": Forbidden(Reason.STATEFUL, _STORED),
    "context_management": Forbidden(
        Reason.UNBOUNDED, "the provider may summarise by further runs of the model, and bills each"
    ),
    "diagnostics": Forbidden(
        Reason.STATEFUL, "it compares with an earlier message under the key that all agents share"
    ),
    "fallback_credit_token": Forbidden(Reason.STATEFUL, "it redeems what was granted to the key that all agents share"),
    "fallbacks": Forbidden(Reason.UNBOUNDED, _OTHER_MODEL),
    "mcp_servers": Forbidden(Reason.UNBOUNDED, "the provider calls these servers as often as the model likes"),
    "thread": Forbidden(Reason.STATEFUL, _STORED),
}

GEOGRAPHY: Final = "global"
"""Elsewhere the same tokens cost more, by a factor that no price row states."""

TIERS: Final = frozenset({"auto", "standard_only"})
SPEEDS: Final = frozenset({"standard", "fast"})
LIFETIMES: Final = frozenset({"5m", "1h"})
"""Of what is written to the cache."""

ROLES: Final = frozenset({"user", "assistant", "system"})
MESSAGE: Final = frozenset({"content", "role"})
CACHE_CONTROL: Final = frozenset({"ttl", "type"})
OUTPUT_CONFIG: Final = frozenset({"effort", "format"})
THINKING: Final = frozenset({"budget_tokens", "display", "type"})
THOUGHTS: Final = frozenset({"adaptive", "between_tools", "disabled", "enabled"})
LEAST_THINKING: Final = 1024

_BLOCK: Final = frozenset({"cache_control", "type"})

BLOCKS: Final = {
    "document": _BLOCK | {"citations", "context", "source", "title"},
    "image": _BLOCK | {"source", "transformations"},
    "redacted_thinking": frozenset({"data", "type"}),
    "search_result": _BLOCK | {"citations", "content", "source", "title"},
    "text": _BLOCK | {"citations", "text"},
    "thinking": frozenset({"signature", "thinking", "type"}),
    "tool_result": _BLOCK | {"content", "is_error", "tool_use_id", "toolset_name"},
    "tool_use": _BLOCK | {"caller", "id", "input", "name", "toolset_name"},
}
"""Content blocks, and the fields that each may have."""

_PROVIDER_RUN: Final = Forbidden(Reason.UNBOUNDED, "it belongs to a tool that the provider runs, at its own cost")

FORBIDDEN_BLOCKS: Final = {
    "bash_code_execution_tool_result": _PROVIDER_RUN,
    "browser_state": Forbidden(Reason.UNBOUNDED, "what it costs is not documented"),
    "code_execution_tool_result": _PROVIDER_RUN,
    "container_upload": Forbidden(Reason.STATEFUL, _STORED),
    "server_tool_use": _PROVIDER_RUN,
    "text_editor_code_execution_tool_result": _PROVIDER_RUN,
    "tool_reference": Forbidden(Reason.UNBOUNDED, "the provider puts a whole tool definition in its place"),
    "tool_search_tool_result": _PROVIDER_RUN,
    "web_fetch_tool_result": _PROVIDER_RUN,
    "web_search_tool_result": _PROVIDER_RUN,
}

BASE64_SOURCE: Final = frozenset({"data", "media_type", "type"})
TEXT_SOURCE: Final = frozenset({"content", "data", "media_type", "type"})
IMAGE_TYPES: Final = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})

_BY_URL: Final = Forbidden(Reason.UNBOUNDED, "the provider fetches it, and its size is not known here")
_BY_FILE: Final = Forbidden(Reason.STATEFUL, _STORED)

FORBIDDEN_IMAGES: Final = {"file": _BY_FILE, "url": _BY_URL}
FORBIDDEN_DOCUMENTS: Final = {
    "base64": Forbidden(Reason.UNBOUNDED, "every page of a PDF becomes an image and a text, whatever its bytes"),
    "file": _BY_FILE,
    "url": _BY_URL,
}
CITED: Final = Forbidden(Reason.UNBOUNDED, "the provider marks every sentence that can be cited, and bills the marks")

CALLERS_TOOL: Final = frozenset(
    {
        "allowed_callers",
        "cache_control",
        "defer_loading",
        "description",
        "eager_input_streaming",
        "input_examples",
        "input_schema",
        "max_characters",
        "name",
        "strict",
        "type",
    }
)
"""Fields of a tool that the agent runs itself."""

CALLERS_TOOLS: Final = {
    "custom": 0,
    "bash_20250124": 1024,
    "memory_20250818": 2048,
    "text_editor_20250124": 2048,
    "text_editor_20250429": 2048,
    "text_editor_20250728": 2048,
}
"""Tools that the agent runs itself, and how many tokens each may be beyond its bytes: of all but the first Anthropic
writes the definition (245 and 700 tokens are documented for the shell and the editor). Every other type is run, and
billed, by the provider, or answers in images of any number."""

"""Which fields and items of a response's request are known, and which can cost more than the request's bytes bound."""

from dataclasses import dataclass
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
    Parts,
)
from tollway.providers.reading import Forbidden, Reason

READ: Final = frozenset(
    {
        "background",
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "prompt_cache_options",
        "reasoning",
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
        "include",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "temperature",
        "text",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
"""What they cost is bounded by their own bytes and the output cap."""

FORBIDDEN: Final = {
    "access_programs": Forbidden(
        Reason.UNBOUNDED, "it uses an access that the account was granted, at a cost that is not known here"
    ),
    "background_options": Forbidden(Reason.STATEFUL, "a background run is stored, and goes on where nobody can end it"),
    "context_management": Forbidden(
        Reason.UNBOUNDED, "the provider runs the model once more to compact the context, without a cap"
    ),
    "conversation": STORED_CONVERSATION,
    "image": IMAGE,
    "moderation": MODERATES,
    "previous_response_id": STORED_RESPONSE,
    "prompt": STORED_PROMPT,
    "search_parameters": SEARCHES,
}

EXTENSIONS: Final = fields.EXTENSIONS | {"frequency_penalty", "logit_bias", "presence_penalty", "seed", "stop"}
"""Beyond those of every operation, sampling that OpenAI knows in chat completions only."""

STREAM_OPTIONS: Final = frozenset({"include_obfuscation"})

REASONING: Final = frozenset({"context", "effort", "generate_summary", "mode", "summary"})
REASONING_MODES: Final = frozenset({"standard"})
"""Others may run the model several times, and nothing says that one output cap holds for all of it."""

PARTS: Final = Parts(
    texts=frozenset({"input_text", "output_text", "reasoning_text", "refusal", "summary_text"}),
    fields=frozenset({"annotations", "logprobs", "prompt_cache_breakpoint", "refusal", "text", "type"}),
    forbidden={"input_audio": AUDIO, "input_file": FILE, "input_image": IMAGE},
)


@dataclass(frozen=True, slots=True)
class Item:
    """The fields that an item of the input may have, and those of them that hold a text or a list of parts."""

    fields: frozenset[str]
    contents: tuple[str, ...] = ()


_OF_ANY_CALL: Final = frozenset(
    {"async", "call_id", "caller", "created_by", "id", "name", "namespace", "status", "type"}
)
_OUTPUT: Final = Item(_OF_ANY_CALL | {"output"}, ("output",))

ITEMS: Final = {
    "custom_tool_call": Item(_OF_ANY_CALL | {"input"}),
    "custom_tool_call_output": _OUTPUT,
    "function_call": Item(_OF_ANY_CALL | {"arguments"}),
    "function_call_output": _OUTPUT,
    "message": Item(frozenset({"content", "id", "phase", "role", "status", "type"}), ("content",)),
    "reasoning": Item(
        frozenset({"content", "encrypted_content", "id", "status", "summary", "type"}), ("content", "summary")
    ),
}
"""Items that carry all their text in the request. (`encrypted_content` is longer than the text that it hides.)"""

_PROVIDERS_TOOL: Final = Forbidden(
    Reason.UNBOUNDED, "it belongs to a tool that the provider runs, whose cost the request does not bound"
)
_UNFOLDS: Final = Forbidden(Reason.UNBOUNDED, "into how many tokens it unfolds is not known here")

FORBIDDEN_ITEMS: Final = {
    "additional_tools": _PROVIDERS_TOOL,
    "apply_patch_call": _PROVIDERS_TOOL,
    "apply_patch_call_output": _PROVIDERS_TOOL,
    "code_interpreter_call": _PROVIDERS_TOOL,
    "compaction": _UNFOLDS,
    "compaction_trigger": _UNFOLDS,
    "computer_call": _PROVIDERS_TOOL,
    "computer_call_output": _PROVIDERS_TOOL,
    "configuration_update": Forbidden(
        Reason.UNBOUNDED, "it changes how the model is run, behind what was checked here"
    ),
    "file_search_call": _PROVIDERS_TOOL,
    "image_generation_call": _PROVIDERS_TOOL,
    "item_reference": Forbidden(Reason.STATEFUL, "the size of a stored item is not known here"),
    "local_shell_call": _PROVIDERS_TOOL,
    "local_shell_call_output": _PROVIDERS_TOOL,
    "mcp_approval_request": _PROVIDERS_TOOL,
    "mcp_approval_response": _PROVIDERS_TOOL,
    "mcp_call": _PROVIDERS_TOOL,
    "mcp_list_tools": _PROVIDERS_TOOL,
    "program": _PROVIDERS_TOOL,
    "program_output": _PROVIDERS_TOOL,
    "shell_call": _PROVIDERS_TOOL,
    "shell_call_output": _PROVIDERS_TOOL,
    "tool_search_call": _PROVIDERS_TOOL,
    "tool_search_output": _PROVIDERS_TOOL,
    "web_search_call": _PROVIDERS_TOOL,
}

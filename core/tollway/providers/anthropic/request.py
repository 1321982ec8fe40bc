"""Parsing a message: one strict reading, and nothing passes whose cost the request's bytes do not bound.

**The bound of input tokens.** Every tokenizer in use makes at most one token of a UTF-8 byte, and the JSON of a text
has at least as many bytes as the text. What the provider adds is covered by constants: marks around messages and blocks
(which their JSON syntax, of 20 bytes and more, covers already), the start of the answer, the sentence that asks for a
format, and the system prompt that explains tools (documented are 159 to 804 tokens, by model and choice). `content`
adds what blocks and tools have beyond their bytes.
"""

from typing import Final

from tollway.pricing.usage import CacheWrites
from tollway.providers.anthropic import fields
from tollway.providers.anthropic.content import Found, check_cache_control, check_content, check_tool, is_text
from tollway.providers.port import Operation, ParsedCall
from tollway.providers.reading import (
    LARGEST_CAP,
    Fields,
    Reason,
    check_fields,
    flag,
    list_of,
    model_name,
    object_of,
    one_of,
    read_request,
    refuse,
    whole_number,
    wrong_type,
)

MESSAGES: Final = Operation("messages", streams=True)
COUNT_TOKENS: Final = Operation("messages.count_tokens", streams=False)

EDITED: Final = ("max_tokens", "service_tier", "thinking")
"""What `edits` may change."""

TOKENS_PER_REQUEST: Final = 256
TOKENS_PER_MESSAGE: Final = 8
TOKENS_FOR_TOOLS: Final = 1024

_USUAL_ROLES: Final = ("user", "assistant")
_KNOWN: Final = fields.READ | fields.HARMLESS


def parse_message(body: bytes, content_type: str) -> ParsedCall:
    """Parse a request for a message. Raises `RequestRefused`."""
    document = read_request(body, content_type)
    request = document.values
    check_fields(request, _KNOWN, "", fields.FORBIDDEN)
    found = _check_input(request)
    cap = _output_cap(request)
    thinks = _check_thinking(request, cap)
    _check_geography(request)
    return ParsedCall(
        operation=MESSAGES,
        model=model_name(request),
        stream=flag(request, "stream"),
        output_cap=cap,
        answers=1,
        input_bound=max(len(body) + found.hidden_tokens, 1),
        # It is a part of the format.
        wants_usage=True,
        tier=_tier(request),
        cache_writes=found.cache_writes,
        # Thinking needs its least and one token to answer.
        least_output=fields.LEAST_THINKING + 1 if thinks else 1,
        places=document.places(EDITED, bulk="messages"),
    )


def parse_count(body: bytes, content_type: str) -> ParsedCall:
    """Parse a request to count tokens, which costs nothing and generates nothing. Raises `RequestRefused`."""
    request = read_request(body, content_type).values
    check_fields(request, fields.COUNTED, "", fields.FORBIDDEN)
    _check_input(request)
    return ParsedCall(
        operation=COUNT_TOKENS,
        model=model_name(request),
        stream=False,
        output_cap=0,
        answers=1,
        input_bound=0,
        wants_usage=True,
        cache_writes=CacheWrites.NONE,
    )


def _check_input(request: Fields) -> Found:
    """Everything that becomes input."""
    found = Found(hidden_tokens=TOKENS_PER_REQUEST)
    check_cache_control(request, "", found)
    _check_messages(request, found)
    _check_tools(request, found)
    _check_output_config(request)
    if request.get("system") is not None:
        check_content(request["system"], "system", found)
    return found


def _check_messages(request: Fields, found: Found) -> None:
    messages = list_of(request.get("messages"), "messages")
    if not messages:
        wrong_type("messages", "a list of at least one message")
    for index, each in enumerate(messages):
        if not _is_text(each):
            param = f"messages[{index}]"
            message = object_of(each, param)
            check_fields(message, fields.MESSAGE, f"{param}.")
            one_of(message, "role", fields.ROLES, f"{param}.")
            check_content(message.get("content"), f"{param}.content", found)
    found.hidden_tokens += TOKENS_PER_MESSAGE * len(messages)


def _is_text(message: object) -> bool:
    """Whether it is the usual message, of which the checks would say and find nothing."""
    return (
        isinstance(message, dict)
        and message.keys() <= fields.MESSAGE
        and message.get("role") in _USUAL_ROLES
        and is_text(message.get("content"))
    )


def _check_tools(request: Fields, found: Found) -> None:
    tools = request.get("tools")
    if tools is None:
        return
    found.hidden_tokens += TOKENS_FOR_TOOLS
    for index, each in enumerate(list_of(tools, "tools")):
        check_tool(object_of(each, f"tools[{index}]"), f"tools[{index}]", found)


def _check_output_config(request: Fields) -> None:
    if request.get("output_config") is not None:
        config = object_of(request["output_config"], "output_config")
        check_fields(config, fields.OUTPUT_CONFIG, "output_config.")


def _output_cap(request: Fields) -> int:
    """The cap, which Anthropic requires. 0 asks for nothing but the prompt to be written to the cache."""
    cap = whole_number(request, "max_tokens", 0, LARGEST_CAP)
    if cap is None:
        wrong_type("max_tokens", f"an integer between 0 and {LARGEST_CAP}")
    return cap


def _check_thinking(request: Fields, cap: int) -> bool:
    """Whether a part of the output is set aside for thinking, all of which counts towards the cap."""
    if request.get("thinking") is None:
        return False
    thinking = object_of(request["thinking"], "thinking")
    check_fields(thinking, fields.THINKING, "thinking.")
    kind = one_of(thinking, "type", fields.THOUGHTS, "thinking.")
    budget = whole_number(thinking, "budget_tokens", fields.LEAST_THINKING, LARGEST_CAP, "thinking.")
    if not kind or (kind == "enabled") != (budget is not None):
        wrong_type("thinking", "an object with a type, and with `budget_tokens` where that is `enabled`")
    if budget is not None and budget >= cap:
        refuse(Reason.CONFLICT, "`thinking.budget_tokens` must be less than `max_tokens`.", "thinking.budget_tokens")
    return budget is not None


def _check_geography(request: Fields) -> None:
    geography = request.get("inference_geo")
    if geography is not None and geography != fields.GEOGRAPHY:
        refuse(
            Reason.UNBOUNDED,
            "Only the `inference_geo` `global` can be used through Tollway: elsewhere the same tokens cost more, by a "
            "factor that is not known here.",
            "inference_geo",
        )


def _tier(request: Fields) -> str:
    """The dearest price list that may apply; without a word, standard capacity is asked for (`edits`)."""
    fast = one_of(request, "speed", fields.SPEEDS) == "fast"
    if one_of(request, "service_tier", fields.TIERS) == "auto":
        return "auto"
    return "fast" if fast else "standard"

"""`POST /v1/chat/completions`: one strict reading, and nothing passes whose cost the request's bytes do not bound.

**The bound of input tokens.** Every tokenizer in use makes at most one token of a UTF-8 byte, and the JSON of a text
has at least as many bytes as the text (escapes only lengthen it). So the texts of a request, tool definitions and
schemas included, are at most as many tokens as the whole body has bytes. What a provider adds is covered by an
overhead: the markers around each message and tool (which their JSON syntax, of 20 bytes and more, covers already), the
start of the answer, and a preamble or default system prompt of the chat template, once per request. It would fail for
a provider that renders a schema with its `$ref`s expanded, or normalises text into longer text; settlement shows that.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from tollway.providers.json_scan import Body, after_brace, members
from tollway.providers.openai import chat_fields
from tollway.providers.openai.checks import (
    TOKENS_PER_MESSAGE,
    check_caching,
    check_content,
    check_tools,
    is_text,
    model_of,
    options,
    tier_of,
)
from tollway.providers.openai.dialect import Described, Dialect
from tollway.providers.openai.edits import COMMON_EDITED, NULL, Member, Rewriting, common_changes, replacement
from tollway.providers.openai.fields import NOTHING
from tollway.providers.port import Edit, Operation, ParsedCall
from tollway.providers.reading import (
    LARGEST_CAP,
    Fields,
    Reason,
    check_fields,
    flag,
    object_of,
    read_request,
    refuse,
    whole_number,
    wrong_type,
)

CHAT_COMPLETIONS: Final = Operation("chat.completions", streams=True)

MOST_ANSWERS: Final = 128
CAPS: Final = ("max_completion_tokens", "max_tokens")
_EDITED: Final = (*CAPS, *COMMON_EDITED, "stream_options")

_KNOWN: Final = chat_fields.READ | chat_fields.HARMLESS
_KNOWN_EXTENDED: Final = _KNOWN | chat_fields.EXTENSIONS


def parse(body: bytes, content_type: str, dialect: Dialect) -> ParsedCall:
    """Raises `RequestRefused`."""
    document = read_request(body, content_type)
    request = document.values
    known = _KNOWN_EXTENDED if dialect.extended else _KNOWN
    check_fields(request, known, "", chat_fields.FORBIDDEN)
    messages = _messages(request)
    check_tools(request)
    check_caching(request)
    _check_storage(request)
    stream = flag(request, "stream")
    return ParsedCall(
        operation=CHAT_COMPLETIONS,
        model=model_of(request),
        stream=stream,
        output_cap=_output_cap(request),
        answers=whole_number(request, "n", 1, MOST_ANSWERS) or 1,
        input_bound=len(body) + messages * TOKENS_PER_MESSAGE + dialect.tokens_per_request,
        wants_usage=_wants_usage(request) and stream,
        tier=tier_of(request),
        audio=_speaks(request),
        places=document.places(_EDITED, bulk="messages"),
    )


def edits(call: ParsedCall, body: Body, cap: int | None, dialect: Dialect) -> Sequence[Edit]:
    """As for every operation, and usage asked for in a stream."""
    rewriting = Rewriting(body, call.places)
    return rewriting.edits(_changes(call, rewriting, cap, dialect), _usage_edits(call, rewriting))


DESCRIBED: Final = Described(CHAT_COMPLETIONS, parse, edits)


def _output_cap(request: Fields) -> int | None:
    newer, older = CAPS
    if request.get(newer) is not None and request.get(older) is not None:
        refuse(
            Reason.CONFLICT,
            "Set either `max_completion_tokens` or the older `max_tokens`, not both.",
            "max_tokens",
        )
    cap = whole_number(request, newer, 1, LARGEST_CAP)
    return cap if cap is not None else whole_number(request, older, 1, LARGEST_CAP)


def _wants_usage(request: Fields) -> bool:
    return flag(options(request, "stream_options", chat_fields.STREAM_OPTIONS), "include_usage", "stream_options.")


def _speaks(request: Fields) -> bool:
    """Audio that a model speaks counts as completion tokens, so the output cap bounds it."""
    modalities = request.get("modalities")
    if modalities is None:
        return False
    if not isinstance(modalities, list) or any(modality not in ("text", "audio") for modality in modalities):
        wrong_type("modalities", 'a list of "text" and "audio"')
    return "audio" in modalities


def _check_storage(request: Fields) -> None:
    """What asks to be stored is forwarded as `store: false`; labels of what is stored make no sense then."""
    if flag(request, "store") and request.get("metadata"):
        refuse(
            Reason.STATEFUL,
            "`metadata` labels stored completions, and Tollway lets none be stored: leave out `store` and `metadata`.",
            "metadata",
        )


def _messages(request: Fields) -> int:
    """Check every message; returns how many there are."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        wrong_type("messages", "a list of at least one message")
    for index, message in enumerate(messages):
        if not _is_text(message):
            param = f"messages[{index}]"
            _check_message(object_of(message, param), param)
    return len(messages)


def _is_text(message: object) -> bool:
    """Whether it is the usual message, of which `_check_message` would say nothing."""
    return (
        isinstance(message, dict)
        and message.keys() <= chat_fields.MESSAGE
        and "audio" not in message
        and is_text(message.get("content"), chat_fields.PARTS)
    )


def _check_message(message: Fields, param: str) -> None:
    check_fields(message, chat_fields.MESSAGE, f"{param}.", NOTHING)
    if message.get("audio") is not None:
        refuse(
            Reason.STATEFUL,
            "An earlier audio answer, kept by the provider, cannot be referred to through Tollway: its size is not "
            "known here. Send its transcript as text.",
            f"{param}.audio",
        )
    check_content(message.get("content"), f"{param}.content", chat_fields.PARTS)


def _changes(call: ParsedCall, rewriting: Rewriting, cap: int | None, dialect: Dialect) -> Iterator[Member]:
    cap_name = dialect.chat_cap if call.output_cap is None else _cap_name(rewriting)
    yield from common_changes(call, rewriting, cap, cap_name, dialect.unasked)
    if call.stream and rewriting.value("stream_options") == NULL:
        yield "stream_options", '{"include_usage":true}'


def _cap_name(rewriting: Rewriting) -> str:
    """The key that the request's own cap has."""
    newer, older = CAPS
    return older if rewriting.value(newer) == NULL else newer


def _usage_edits(call: ParsedCall, rewriting: Rewriting) -> Iterator[Edit]:
    """Ask for usage in the `stream_options` that are there."""
    if not call.stream or call.wants_usage or rewriting.value("stream_options") == NULL:
        return
    given = rewriting.places["stream_options"]
    inside = members(rewriting.body, given)
    if "include_usage" in inside:
        yield replacement(inside["include_usage"], "true")
    else:
        yield Edit(after_brace(rewriting.body, given.start), 0, '"include_usage":true' + ("," if inside else ""))

"""Parsing a chat completion: one strict reading, and nothing passes whose cost the request's bytes do not bound.

**The bound of input tokens.** Every tokenizer in use makes at most one token of a UTF-8 byte, and the JSON of a text
has at least as many bytes as the text (escapes only lengthen it). So the texts of a request, tool definitions and
schemas included, are at most as many tokens as the whole body has bytes. What a provider adds is covered by an
overhead: the markers around each message and tool (which their JSON syntax, of 20 bytes and more, covers already), the
start of the answer, and a preamble or default system prompt of the chat template, once per request. It would fail for
a provider that renders a schema with its `$ref`s expanded, or normalises text into longer text; settlement shows that.
"""

import re
from collections.abc import Mapping
from typing import Final, NoReturn

from tollway.providers.json_scan import TooLarge, Unreadable, read_object
from tollway.providers.openai import fields
from tollway.providers.openai.fields import Forbidden, Reason
from tollway.providers.port import Kind, Operation, ParsedCall, RequestRefused

CHAT_COMPLETIONS: Final = Operation("chat.completions", streams=True)

TOKENS_PER_MESSAGE: Final = 8
LARGEST_CAP: Final = 2**31 - 1
MOST_ANSWERS: Final = 128
CAPS: Final = ("max_completion_tokens", "max_tokens")

_JSON_TYPE: Final = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?;?', re.IGNORECASE)
_MODEL: Final = re.compile(r"[\x21-\x7e]{1,256}")

Body = Mapping[str, object]


def parse_chat_completion(
    body: bytes, content_type: str, extensions: frozenset[str], tokens_per_request: int
) -> ParsedCall:
    """Parse a body in which OpenAI's fields and `extensions` are known. Raises `RequestRefused`."""
    request = read_request(body, content_type)
    _refuse_unknown_fields(request, fields.READ | fields.HARMLESS | extensions)
    messages = _messages(request)
    _check_tools(request)
    _check_storage(request)
    stream = _flag(request, "stream")
    return ParsedCall(
        operation=CHAT_COMPLETIONS,
        model=_model(request),
        stream=stream,
        output_cap=_output_cap(request),
        answers=_whole_number(request, "n", MOST_ANSWERS) or 1,
        input_bound=len(body) + messages * TOKENS_PER_MESSAGE + tokens_per_request,
        wants_usage=_wants_usage(request) and stream,
        tier=_tier(request),
        audio=_speaks(request),
    )


def read_request(body: bytes, content_type: str) -> dict[str, object]:
    if not _JSON_TYPE.fullmatch(content_type.strip()):
        _refuse(Reason.UNREADABLE, "The request's content-type must be application/json in UTF-8.")
    try:
        return read_object(body)
    except TooLarge as error:
        raise RequestRefused(Reason.TOO_LARGE, str(error), kind=Kind.TOO_LARGE) from None
    except Unreadable as error:
        raise RequestRefused(Reason.UNREADABLE, str(error)) from None


def _refuse(reason: Reason, message: str, param: str | None = None) -> NoReturn:
    raise RequestRefused(reason, message, param)


def _refuse_forbidden(forbidden: Forbidden, what: str, param: str) -> NoReturn:
    _refuse(forbidden.reason, f"{what} cannot be used through Tollway: {forbidden.why}.", param)


def _wrong_type(param: str, expected: str) -> NoReturn:
    _refuse(Reason.UNREADABLE, f"`{param}` must be {expected}.", param)


def _shown(name: str) -> str:
    """A key of the caller's, short and printable enough for a sentence, a log and a header."""
    return ascii(name)[1:-1][:64]


def _refuse_unknown_fields(request: Body, known: frozenset[str]) -> None:
    for name in request.keys() - known:
        forbidden = fields.FORBIDDEN.get(name)
        if forbidden is None:
            _unknown(_shown(name))
        if request[name] is not None:
            _refuse_forbidden(forbidden, f"`{name}`", name)


def _unknown(param: str) -> NoReturn:
    _refuse(
        Reason.UNKNOWN_FIELD,
        f"Tollway does not know what `{param}` can cost, so it lets no call with it pass. Leave it out.",
        param,
    )


def _model(request: Body) -> str:
    model = request.get("model")
    if not isinstance(model, str) or not _MODEL.fullmatch(model):
        _wrong_type("model", "a model's name: up to 256 printable ASCII characters without spaces")
    if any(mark in model for mark in fields.SEARCHING_MODELS):
        _refuse_forbidden(fields.SEARCHES, "A model that searches by itself", "model")
    return model


def _output_cap(request: Body) -> int | None:
    if all(request.get(name) is not None for name in CAPS):
        _refuse(
            Reason.CONFLICT,
            "Set either `max_completion_tokens` or the older `max_tokens`, not both.",
            "max_tokens",
        )
    caps = [_whole_number(request, name, LARGEST_CAP) for name in CAPS]
    return caps[0] if caps[1] is None else caps[1]


def _whole_number(request: Body, name: str, most: int) -> int | None:
    value = request.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= most:
        _wrong_type(name, f"an integer between 1 and {most}")
    return value


def _flag(request: Body, name: str, path: str = "") -> bool:
    value = request.get(name)
    if value is not None and not isinstance(value, bool):
        _wrong_type(path + name, "true or false")
    return value is True


def _wants_usage(request: Body) -> bool:
    options = request.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        _wrong_type("stream_options", "an object")
    for name in options.keys() - fields.STREAM_OPTIONS:
        _unknown(f"stream_options.{_shown(name)}")
    return _flag(options, "include_usage", "stream_options.")


def _tier(request: Body) -> str:
    tier = request.get("service_tier")
    if tier is None:
        return ""
    if not isinstance(tier, str) or tier not in fields.TIERS:
        _wrong_type("service_tier", f"one of {', '.join(sorted(fields.TIERS))}")
    return tier


def _speaks(request: Body) -> bool:
    """Audio that a model speaks counts as completion tokens, so the output cap bounds it."""
    modalities = request.get("modalities")
    if modalities is None:
        return False
    if not isinstance(modalities, list) or any(modality not in ("text", "audio") for modality in modalities):
        _wrong_type("modalities", 'a list of "text" and "audio"')
    return "audio" in modalities


def _check_storage(request: Body) -> None:
    """What asks to be stored is forwarded as `store: false`; labels of what is stored make no sense then."""
    if _flag(request, "store") and request.get("metadata"):
        _refuse(
            Reason.STATEFUL,
            "`metadata` labels stored completions, and Tollway lets none be stored: leave out `store` and `metadata`.",
            "metadata",
        )


def _check_tools(request: Body) -> None:
    tools = request.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        _wrong_type("tools", "a list")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            _wrong_type(f"tools[{index}]", "an object")
        if _type(tool, f"tools[{index}]") not in fields.CALLERS_TOOLS:
            _refuse(
                Reason.UNBOUNDED,
                "Only tools of the types `function` and `custom`, which the agent runs itself, can be used through "
                "Tollway: the request does not bound what a tool run by the provider costs.",
                f"tools[{index}].type",
            )


def _messages(request: Body) -> int:
    """Check every message; returns how many there are."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        _wrong_type("messages", "a list of at least one message")
    for index, message in enumerate(messages):
        _check_message(message, index)
    return len(messages)


def _check_message(message: object, index: int) -> None:
    if not isinstance(message, dict):
        _wrong_type(f"messages[{index}]", "an object")
    if not message.keys() <= fields.MESSAGE:
        _unknown(f"messages[{index}].{_shown(min(message.keys() - fields.MESSAGE))}")
    if message.get("audio") is not None:
        _refuse(
            Reason.STATEFUL,
            "An earlier audio answer, kept by the provider, cannot be referred to through Tollway: its size is not "
            "known here. Send its transcript as text.",
            f"messages[{index}].audio",
        )
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        _check_parts(content, f"messages[{index}].content")


def _check_parts(content: object, param: str) -> None:
    if not isinstance(content, list):
        _wrong_type(param, "a text or a list of parts")
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            _wrong_type(f"{param}[{index}]", "an object")
        _check_part(part, f"{param}[{index}]")


def _check_part(part: Body, param: str) -> None:
    kind = _type(part, param)
    if kind not in fields.TEXT_PARTS:
        _refuse_part(part, kind, param)
    if not part.keys() <= fields.TEXT_PART:
        _unknown(f"{param}.{_shown(min(part.keys() - fields.TEXT_PART))}")


def _type(thing: Body, param: str) -> str:
    kind = thing.get("type")
    if not isinstance(kind, str):
        _wrong_type(f"{param}.type", "a text")
    return kind


def _refuse_part(part: Body, kind: str, param: str) -> NoReturn:
    file = part.get("file")
    if isinstance(file, dict) and file.get("file_id") is not None:
        _refuse(
            Reason.STATEFUL,
            "Files stored at the provider cannot be used through Tollway: their size is not known here, and the key "
            "they lie under is shared.",
            f"{param}.file.file_id",
        )
    forbidden = fields.FORBIDDEN_PARTS.get(kind)
    if forbidden is None:
        _unknown(f"{param}.type")
    _refuse_forbidden(forbidden, f"A content part of type `{kind}`", param)

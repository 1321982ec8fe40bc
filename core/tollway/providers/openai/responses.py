"""`POST /v1/responses`: as chat completions, of a request that is complete in itself.

The bound of input tokens is that of `chat_completions`. What the provider would have to look up (a stored response,
conversation, prompt or item) is refused, and nothing is stored. A model's reasoning comes back with the next request
only as the text, encrypted, that `include: ["reasoning.encrypted_content"]` hands out: an id alone is a reference to
what is stored.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

from tollway.providers.json_scan import Body
from tollway.providers.openai import response_fields
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
from tollway.providers.openai.edits import COMMON_EDITED, Rewriting, common_changes
from tollway.providers.openai.fields import NOTHING
from tollway.providers.port import Edit, Operation, ParsedCall
from tollway.providers.reading import (
    LARGEST_CAP,
    Fields,
    Reason,
    check_fields,
    flag,
    kind_of,
    object_of,
    read_request,
    refuse,
    refuse_forbidden,
    unknown,
    whole_number,
    wrong_type,
)

RESPONSES: Final = Operation("responses", streams=True)

CAP: Final = "max_output_tokens"
_MESSAGE: Final = response_fields.ITEMS["message"]
_EDITED: Final = (CAP, *COMMON_EDITED)

_KNOWN: Final = response_fields.READ | response_fields.HARMLESS
_KNOWN_EXTENDED: Final = _KNOWN | response_fields.EXTENSIONS


def parse(body: bytes, content_type: str, dialect: Dialect) -> ParsedCall:
    """Raises `RequestRefused`. Usage is in every answer, so a caller of a stream always sees it."""
    document = read_request(body, content_type)
    request = document.values
    known = _KNOWN_EXTENDED if dialect.extended else _KNOWN
    check_fields(request, known, "", response_fields.FORBIDDEN)
    items = _items(request)
    check_tools(request)
    check_caching(request)
    _check_running(request)
    stream = flag(request, "stream")
    return ParsedCall(
        operation=RESPONSES,
        model=model_of(request),
        stream=stream,
        output_cap=whole_number(request, CAP, 1, LARGEST_CAP),
        answers=1,
        input_bound=len(body) + items * TOKENS_PER_MESSAGE + dialect.tokens_per_request,
        wants_usage=stream,
        tier=tier_of(request),
        least_output=dialect.least_response,
        places=document.places(_EDITED, bulk="input"),
    )


def edits(call: ParsedCall, body: Body, cap: int | None, dialect: Dialect) -> Sequence[Edit]:
    rewriting = Rewriting(body, call.places)
    return rewriting.edits(common_changes(call, rewriting, cap, CAP, dialect.unasked))


DESCRIBED: Final = Described(RESPONSES, parse, edits)


def _check_running(request: Fields) -> None:
    """How the model is run: at once, once, and without storing anything."""
    if flag(request, "background"):
        refuse(
            Reason.STATEFUL,
            "A background run cannot be used through Tollway: it is stored, and goes on where nobody can end it.",
            "background",
        )
    flag(request, "store")
    options(request, "stream_options", response_fields.STREAM_OPTIONS)
    mode = options(request, "reasoning", response_fields.REASONING).get("mode")
    if mode is not None and not (isinstance(mode, str) and mode in response_fields.REASONING_MODES):
        refuse(
            Reason.UNBOUNDED,
            "Only the standard mode of reasoning can be used through Tollway: another may run the model several times.",
            "reasoning.mode",
        )


def _items(request: Fields) -> int:
    """Check instructions and input; returns how many texts and items they are."""
    if not isinstance(request.get("instructions"), str | None):
        wrong_type("instructions", "a text")
    given = request.get("input")
    if isinstance(given, str):
        return 2
    if not isinstance(given, list) or not given:
        wrong_type("input", "a text or a list of at least one item")
    for index, item in enumerate(given):
        if not _is_text(item):
            param = f"input[{index}]"
            _check_item(object_of(item, param), param)
    return 1 + len(given)


def _is_text(item: object) -> bool:
    """Whether it is the usual message, of which `_check_item` would say nothing."""
    return (
        isinstance(item, dict)
        and item.keys() <= _MESSAGE.fields
        and item.get("type", "message") == "message"
        and isinstance(item.get("role"), str)
        and is_text(item.get("content"), response_fields.PARTS)
    )


def _check_item(item: Fields, param: str) -> None:
    kind = _item_type(item, param)
    if kind not in response_fields.ITEMS:
        _refuse_item(kind, param)
    known = response_fields.ITEMS[kind]
    check_fields(item, known.fields, f"{param}.", NOTHING)
    for name in known.contents:
        check_content(item.get(name), f"{param}.{name}", response_fields.PARTS)
    if kind == "reasoning":
        _check_reasoning(item, param)


def _refuse_item(kind: str, param: str) -> NoReturn:
    if kind not in response_fields.FORBIDDEN_ITEMS:
        unknown(f"{param}.type")
    refuse_forbidden(response_fields.FORBIDDEN_ITEMS[kind], f"An item of type `{kind}`", param)


def _item_type(item: Fields, param: str) -> str:
    """The type may be left out: what has a role is a message then, and everything else a reference."""
    if item.get("type") is not None:
        return kind_of(item, param)
    return "message" if item.get("role") is not None else "item_reference"


def _check_reasoning(item: Fields, param: str) -> None:
    if item.get("id") is not None and not item.get("encrypted_content") and not item.get("content"):
        refuse(
            Reason.STATEFUL,
            "Reasoning that is stored at the provider cannot be referred to through Tollway: its size is not known "
            'here. Ask for it with `include: ["reasoning.encrypted_content"]`, and send that back.',
            f"{param}.encrypted_content",
        )

"""What parsers of all families share: reading a body, and the words in which a request is refused.

Nothing here knows a provider's fields. Sentences name a field and what is expected of it, and never quote a value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NoReturn

from tollway.providers.json_scan import Document, TooLarge, Unreadable, read_document
from tollway.providers.port import Kind, RequestRefused

LARGEST_CAP: Final = 2**31 - 1

_JSON_TYPE: Final = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?;?', re.IGNORECASE)
_USUAL_TYPE: Final = "application/json"
_MODEL: Final = re.compile(r"[\x21-\x7e]+")
_LONGEST_MODEL: Final = 256
_MODELS: Final = 1024
"""So many names are remembered as good or bad: they are the callers', and agents use few."""

Fields = Mapping[str, object]


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
    """Why something must not be there (of a field, `null` is as good as absent)."""

    reason: Reason
    why: str


def read_request(body: bytes, content_type: str) -> Document:
    """The JSON body. Raises `RequestRefused`, as everything here does."""
    if content_type != _USUAL_TYPE and not _JSON_TYPE.fullmatch(content_type.strip()):
        refuse(Reason.UNREADABLE, "The request's content-type must be application/json in UTF-8.")
    try:
        return read_document(body)
    except TooLarge as error:
        raise RequestRefused(Reason.TOO_LARGE, str(error), kind=Kind.TOO_LARGE) from None
    except Unreadable as error:
        raise RequestRefused(Reason.UNREADABLE, str(error)) from None


def refuse(reason: Reason, message: str, param: str | None = None) -> NoReturn:
    raise RequestRefused(reason, message, param)


def refuse_forbidden(forbidden: Forbidden, what: str, param: str) -> NoReturn:
    refuse(forbidden.reason, f"{what} cannot be used through Tollway: {forbidden.why}.", param)


def wrong_type(param: str, expected: str) -> NoReturn:
    refuse(Reason.UNREADABLE, f"`{param}` must be {expected}.", param)


def unknown(param: str) -> NoReturn:
    refuse(
        Reason.UNKNOWN_FIELD,
        f"Tollway does not know what `{param}` can cost, so it lets no call with it pass. Leave it out.",
        param,
    )


def shown(name: str) -> str:
    """A key of the caller's, short and printable enough for a sentence, a log and a header."""
    return ascii(name)[1:-1][:64]


NOTHING: Final[Mapping[str, Forbidden]] = MappingProxyType({})


def check_fields(
    holder: Fields, known: frozenset[str], param: str, forbidden: Mapping[str, Forbidden] = NOTHING
) -> None:
    """Every field of `holder` must be known; a forbidden one may be null. `param` leads to the holder ("" or "a.")."""
    if holder.keys() <= known:
        return
    for name in sorted(holder.keys() - known):
        if name not in forbidden:
            unknown(param + shown(name))
        if holder[name] is not None:
            refuse_forbidden(forbidden[name], f"`{param}{name}`", param + name)


def model_name(request: Fields) -> str:
    model = request.get("model")
    if not isinstance(model, str) or len(model) > _LONGEST_MODEL or not _is_model(model):
        wrong_type("model", "a model's name: up to 256 printable ASCII characters without spaces")
    return model


@lru_cache(_MODELS)
def _is_model(name: str) -> bool:
    return _MODEL.fullmatch(name) is not None


def whole_number(holder: Fields, name: str, least: int, most: int, path: str = "") -> int | None:
    value = holder.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        wrong_type(path + name, f"an integer between {least} and {most}")
    return value


def flag(holder: Fields, name: str, path: str = "") -> bool:
    value = holder.get(name)
    if value is not None and not isinstance(value, bool):
        wrong_type(path + name, "true or false")
    return value is True


def one_of(holder: Fields, name: str, words: frozenset[str], path: str = "") -> str:
    """A word out of a list; "" where there is none."""
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or value not in words:
        wrong_type(path + name, f"one of {', '.join(sorted(words))}")
    return value


def object_of(value: object, param: str) -> Fields:
    if not isinstance(value, dict):
        wrong_type(param, "an object")
    return value


def list_of(value: object, param: str, expected: str = "a list") -> list[object]:
    if not isinstance(value, list):
        wrong_type(param, expected)
    return value


def kind_of(holder: Fields, param: str) -> str:
    """The word that says what an object is."""
    kind = holder.get("type")
    if not isinstance(kind, str):
        wrong_type(f"{param}.type", "a text")
    return kind

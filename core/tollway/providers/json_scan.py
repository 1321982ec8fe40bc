"""The one reading of a JSON request body that every later decision stands on.

A provider's parser and ours must never understand a body differently: then a caller could show us one model or cap and
the provider another. So whatever parsers disagree about is refused here: duplicate keys at any level, invalid UTF-8,
lone surrogates, a byte order mark, NaN and Infinity, integers beyond 64 bits, trailing data, absurd nesting.

`read_object` reads, `members` says at which bytes of the body each member's value stands, so that an edit can replace
exactly those bytes.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

import msgspec

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 100
"""Containers within each other. Tool schemas of real agents reach 30."""
MAX_VALUES: Final = 262_144
"""Three bytes of JSON (`[],`) become some sixty bytes of Python object: this bounds what a body can cost us."""

_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**64 - 1
_ANY: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()
_RAW_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY: Final = re.compile(rb'[ \t\r\n,]*+"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+:[ \t\r\n]*+')


class Unreadable(Exception):  # noqa: N818 - it says what the body is
    """The body is not a JSON object that every parser understands alike. The message quotes no value of the body."""


class TooLarge(Unreadable):
    """It may be well-formed, but is more than we are willing to take in."""


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes `start` up to, not including, `end`."""

    start: int
    end: int


def read_object(body: bytes) -> dict[str, object]:
    """The object that `body` says, as plain Python values. Raises `Unreadable`."""
    if len(body) > MAX_BYTES:
        raise TooLarge(f"The request body has {len(body)} bytes; at most {MAX_BYTES} are accepted.")
    _refuse_too_many_values(body)
    document = _decode(body)
    if not isinstance(document, dict):
        raise Unreadable("The request body is not a JSON object.")
    _refuse_extremes(document)
    _refuse_duplicate_keys(body, document)
    return document


def members(body: bytes, within: Span | None = None) -> dict[str, Span]:
    """Where each member's value stands in the object at `within` (the whole body, if None), in order.

    Only for a body that `read_object` accepted: with duplicate keys there is no one answer.
    """
    start, end = (within.start, within.end) if within else (0, len(body))
    values = _RAW_MEMBERS.decode(body[start:end])
    position = after_brace(body, start)
    spans: dict[str, Span] = {}
    for name, raw in values.items():
        key = _KEY.match(body, position, end)
        if key is None:
            raise ValueError("the object has duplicate keys")
        position = key.end() + memoryview(raw).nbytes
        spans[name] = Span(key.end(), position)
    return spans


def after_brace(body: bytes, start: int = 0) -> int:
    """The offset right behind the `{` of the object that begins at or, after white space, behind `start`."""
    return body.index(b"{", start) + 1


def _decode(body: bytes) -> object:
    try:
        return _ANY.decode(body)
    except UnicodeDecodeError:
        raise Unreadable("The request body is not valid UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, ValueError):
        # Some of the parser's own sentences quote values; none is worth a leak.
        raise Unreadable("The request body is not valid JSON.") from None


def _refuse_duplicate_keys(body: bytes, document: dict[str, object]) -> None:
    """Most SDKs write JSON exactly as our encoder does; what encodes to the same bytes again has lost no member.

    Else a slower parser looks, one that shows all members.
    """
    if _ENCODER.encode(document) != body:
        _ALL_MEMBERS.decode(body.decode())


def _refuse_same_key(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) != len(pairs):
        raise Unreadable("The request body has an object with the same key twice.")


_ALL_MEMBERS: Final = json.JSONDecoder(object_pairs_hook=_refuse_same_key)


def _refuse_extremes(document: dict[str, object]) -> None:
    """Absurd nesting, and integers that some parsers would round."""
    level: list[object] = [document]
    for _ in range(MAX_DEPTH):
        children = [child for container in level for child in _children(container)]
        if [child for child in children if type(child) is int and not _SMALLEST <= child <= _LARGEST]:
            raise Unreadable("The request body has an integer of more than 64 bits.")
        level = [child for child in children if type(child) is dict or type(child) is list]
        if not level:
            return
    raise _too_deep()


def _children(container: object) -> Iterable[object]:
    return container.values() if isinstance(container, dict) else cast("list[object]", container)


def _too_deep() -> Unreadable:
    return Unreadable(f"The request body nests more than {MAX_DEPTH} JSON values into each other.")


def _refuse_too_many_values(body: bytes) -> None:
    """Before anything is parsed, so all of it must hold for any bytes."""
    if len(body) <= 2 * MAX_VALUES:
        return  # a value takes at least two bytes: itself and a separator
    if _separators(body) <= MAX_VALUES:
        return  # even counting those inside of texts
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if unescaped.count(b'"') > 4 * MAX_VALUES or _separators(b"".join(unescaped.split(b'"')[::2])) > MAX_VALUES:
        raise TooLarge(f"The request body has more than {MAX_VALUES} JSON values.")


def _separators(text: bytes) -> int:
    """As many as there are values at least, but for one."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")

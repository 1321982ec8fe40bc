"""The one reading of a JSON request body that every later decision stands on.

A provider's parser and ours must never understand a body differently: then a caller could show us one model or cap and
the provider another. So whatever parsers disagree about is refused here: duplicate keys at any level, invalid UTF-8,
lone surrogates, a byte order mark, NaN and Infinity, integers beyond 64 bits, trailing data, absurd nesting.

`read_document` reads; it and `members` say at which bytes of the body a member's value stands, so that an edit can
replace exactly those bytes.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, TypeAlias, cast

import msgspec

from tollway.values import value

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 100
"""Containers within each other. Tool schemas of real agents reach 30."""
MAX_VALUES: Final = 262_144
"""Three bytes of JSON (`[],`) become some sixty bytes of Python object: this bounds what a body can cost us."""

_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**64 - 1
_LARGE: Final = 65_536
_RARE: Final = 1024
"""One in so many bytes."""
_CONTAINERS: Final = frozenset({dict, list})
_TOO_DEEP: Final = f"The request body nests more than {MAX_DEPTH} JSON values into each other."

_ANY: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()
_RAW_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY: Final = re.compile(rb'[ \t\r\n,]*+"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+:[ \t\r\n]*+')


Body: TypeAlias = bytes | bytearray
"""Large ones stay in the memory into which they were received, and nobody changes them there."""


class Unreadable(Exception):  # noqa: N818 - it says what the body is
    """The body is not a JSON object that every parser understands alike. The message quotes no value of the body."""


class TooLarge(Unreadable):
    """It may be well-formed, but is more than we are willing to take in."""


@value(frozen=True, slots=True)
class Span:
    """The bytes `start` up to, not including, `end`."""

    start: int
    end: int


@value(frozen=True, slots=True)
class Document:
    """The object that a body says: `values`, as plain Python values, and how its bytes say it.

    `canonical`: they are exactly what our encoder writes of the values, as most SDKs do too: no white space, no escape
    that is not needed, no key twice.
    """

    body: bytes
    values: dict[str, object]
    canonical: bool

    def places(self, names: Iterable[str], bulk: str = "") -> Mapping[str, Span]:
        """Where the values of those of `names` stand that the object has. `bulk` is the member that may be large."""
        asked = [name for name in names if name in self.values]
        if not asked:
            return {}
        found = self._around(bulk, asked) if self.canonical else {}
        spans = found if len(found) == len(asked) else members(self.body)
        return {name: spans[name] for name in asked}

    def _around(self, bulk: str, asked: Collection[str]) -> dict[str, Span]:
        """Of canonical text places follow from sizes alone, from each end up to the bulk."""
        found: dict[str, Span] = {}
        end = len(self.body) - len("}")
        for name, content in reversed(self.values.items()):
            if name == bulk or len(found) == len(asked):
                break
            start = end - len(_ENCODER.encode(content))
            if name in asked:
                found[name] = Span(start, end)
            end = start - len(_ENCODER.encode(name)) - len(":,")
        start = len("{")
        for name, content in self.values.items():
            if name == bulk or len(found) == len(asked):
                break
            start += len(_ENCODER.encode(name)) + len(":")
            end = start + len(_ENCODER.encode(content))
            if name in asked:
                found[name] = Span(start, end)
            start = end + len(",")
        return found


def read_document(body: bytes) -> Document:
    """Read `body` once and strictly. Raises `Unreadable`."""
    if len(body) > MAX_BYTES:
        raise TooLarge(f"The request body has {len(body)} bytes; at most {MAX_BYTES} are accepted.")
    _refuse_too_many_values(body)
    values = _decode(body)
    if not isinstance(values, dict):
        raise Unreadable("The request body is not a JSON object.")
    _refuse_extremes(values)
    canonical = _is_written(values, body)
    if not canonical:
        _refuse_duplicate_keys(values, body)
    return Document(body, values, canonical)


def read_object(body: bytes) -> dict[str, object]:
    """The object that `body` says, as plain Python values. Raises `Unreadable`."""
    return read_document(body).values


def members(body: Body, within: Span | None = None) -> dict[str, Span]:
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


def after_brace(body: Body, start: int = 0) -> int:
    """The offset right behind the `{` of the object that begins at or, after white space, behind `start`."""
    return body.index(b"{", start) + 1


def _decode(body: bytes) -> object:
    try:
        return _ANY.decode(body)
    except UnicodeDecodeError:
        raise Unreadable("The request body is not valid UTF-8.") from None
    except RecursionError:
        raise Unreadable(_TOO_DEEP) from None
    except (msgspec.DecodeError, ValueError):
        # Some of the parser's own sentences quote values; none is worth a leak.
        raise Unreadable("The request body is not valid JSON.") from None


def _is_written(values: dict[str, object], text: bytes) -> bool:
    """Whether `text` is what our encoder writes of `values`. A large one is compared bit by bit, and never stands
    in memory a second time."""
    if len(text) <= _LARGE:
        return _ENCODER.encode(values) == text
    position = 0
    for piece in _pieces(values):
        if not text.startswith(piece, position):
            return False
        position += len(piece)
    return position == len(text)


def _pieces(values: dict[str, object]) -> Iterator[bytes]:
    """What our encoder writes, up to each member and each item of its list."""
    mark = b"{"
    for name, content in values.items():
        yield b"%b%b:" % (mark, _ENCODER.encode(name))
        if type(content) is list and content:
            mark = b"["
            for item in content:
                yield mark + _ENCODER.encode(item)
                mark = b","
            yield b"]"
        else:
            yield _ENCODER.encode(content)
        mark = b","
    yield b"}"


def _refuse_duplicate_keys(values: dict[str, object], body: bytes) -> None:
    """A key that stands twice makes a body longer than what is written of its values.

    Text that is the same but for white space has lost no member. Else a slower parser looks, one that shows them all.
    """
    if not _is_written(values, msgspec.json.format(body, indent=-1)):
        _ALL_MEMBERS.decode(body.decode())


def _refuse_same_key(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) != len(pairs):
        raise Unreadable("The request body has an object with the same key twice.")


_ALL_MEMBERS: Final = json.JSONDecoder(object_pairs_hook=_refuse_same_key)


def _refuse_extremes(document: dict[str, object]) -> None:
    """Absurd nesting, and integers that some parsers would round."""
    containers: list[Iterable[object]] = [document.values()]
    for children in containers:  # more come to its end on the way
        for child in children:
            if type(child) is str:
                continue  # as most are
            if type(child) is dict:
                containers.append(child.values())
            elif type(child) is list:
                containers.append(child)
            elif type(child) is int and not _SMALLEST <= child <= _LARGEST:
                raise Unreadable("The request body has an integer of more than 64 bits.")
    if len(containers) > MAX_DEPTH:
        _refuse_absurd_nesting(document)


def _refuse_absurd_nesting(document: dict[str, object]) -> None:
    level: list[object] = [document]
    for _ in range(MAX_DEPTH):
        level = [child for container in level for child in _children(container) if type(child) in _CONTAINERS]
        if not level:
            return
    raise Unreadable(_TOO_DEEP)


def _children(container: object) -> Iterable[object]:
    return container.values() if type(container) is dict else cast("list[object]", container)


def _refuse_too_many_values(body: bytes) -> None:
    """Before anything is parsed, so all of it must hold for any bytes."""
    if len(body) <= 2 * MAX_VALUES:
        return  # a value takes at least two bytes: itself and a separator
    if _count(body, b",") + _count(body, b"[") + _count(body, b"{") <= MAX_VALUES:
        return  # even counting those inside of texts
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if unescaped.count(b'"') > 4 * MAX_VALUES or _separators(b"".join(unescaped.split(b'"')[::2])) > MAX_VALUES:
        raise TooLarge(f"The request body has more than {MAX_VALUES} JSON values.")


def _separators(text: bytes) -> int:
    """As many as there are values at least, but for one."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _count(text: bytes, character: bytes) -> int:
    """As `bytes.count`, which looks at each byte; what is rare is found many times faster."""
    if text.count(character, 0, _LARGE) > _LARGE // _RARE:
        return text.count(character)
    position, found = text.find(character), 0
    while position >= 0:
        if found == len(text) // _RARE:
            return found + text.count(character, position)
        position, found = text.find(character, position + 1), found + 1
    return found

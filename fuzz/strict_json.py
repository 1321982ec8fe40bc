"""A second reading of JSON, to compare ours with: RFC 8259 by the letter, and nothing that parsers disagree on.

It stands on no parser. It refuses what `tollway.providers.json_scan` says it refuses: duplicate keys at any level,
invalid UTF-8, lone surrogates, a byte order mark, numbers that are not finite, integers beyond 64 bits, absurd nesting.
"""

import re
from dataclasses import dataclass
from typing import Final

DEEPEST: Final = 100

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_HEX: Final = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: Final = {"true": True, "false": False, "null": None}


class Refused(Exception):  # noqa: N818 - it says what the text is
    """The text is not JSON that every reader takes alike."""


@dataclass(frozen=True, slots=True)
class Member:
    """The value of a member of the outermost object, and the bytes that it has in the text."""

    value: object
    start: int
    end: int


def strict_members(body: bytes) -> dict[str, Member]:
    """The members of the object that `body` says. Raises `Refused`."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not UTF-8") from None
    return _Reading(text).outermost()


def strict_object(body: bytes) -> dict[str, object]:
    return {name: member.value for name, member in strict_members(body).items()}


class _Reading:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open = 0

    def outermost(self) -> dict[str, Member]:
        self._space()
        if self._peek() != "{":
            raise Refused("not an object")
        spans: dict[str, tuple[int, int]] = {}
        values = self._object(spans)
        self._space()
        if self._at != len(self._text):
            raise Refused("something follows")
        return {name: Member(value, *map(self._bytes, spans[name])) for name, value in values.items()}

    def _bytes(self, position: int) -> int:
        return len(self._text[:position].encode())

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _take(self, sign: str) -> None:
        if self._peek() != sign:
            raise Refused(f"no {sign}")
        self._at += 1

    def _value(self) -> object:
        match self._peek():
            case "{":
                return self._object({})
            case "[":
                return self._list()
            case '"':
                return self._string()
        return self._word_or_number()

    def _enter(self, sign: str) -> None:
        self._take(sign)
        self._open += 1
        if self._open > DEEPEST:
            raise Refused("too deep")
        self._space()

    def _leave(self, sign: str) -> None:
        self._take(sign)
        self._open -= 1

    def _object(self, spans: dict[str, tuple[int, int]]) -> dict[str, object]:
        self._enter("{")
        found: dict[str, object] = {}
        while self._peek() != "}":
            if found:
                self._comma()
            name = self._string()
            self._space()
            self._take(":")
            self._space()
            start = self._at
            value = self._value()
            if name in found:
                raise Refused("a key twice")
            found[name], spans[name] = value, (start, self._at)
            self._space()
        self._leave("}")
        return found

    def _list(self) -> list[object]:
        self._enter("[")
        found: list[object] = []
        while self._peek() != "]":
            if found:
                self._comma()
            found.append(self._value())
            self._space()
        self._leave("]")
        return found

    def _comma(self) -> None:
        self._take(",")
        self._space()

    def _string(self) -> str:
        self._take('"')
        pieces: list[str] = []
        while True:
            plain = _PLAIN.match(self._text, self._at)
            assert plain is not None
            pieces.append(plain[0])
            self._at = plain.end()
            sign = self._peek()
            if sign == '"':
                self._at += 1
                return "".join(pieces)
            if sign != "\\":
                raise Refused("a string that does not end")
            self._at += 1
            pieces.append(self._escaped())

    def _escaped(self) -> str:
        sign = self._peek()
        self._at += 1
        if sign in _ESCAPES and sign:
            return _ESCAPES[sign]
        if sign != "u":
            raise Refused("an unknown escape")
        unit = self._hex()
        if 0xD800 <= unit < 0xDC00:
            if self._text[self._at : self._at + 2] != "\\u":
                raise Refused("half a surrogate pair")
            self._at += 2
            low = self._hex()
            if not 0xDC00 <= low < 0xE000:
                raise Refused("half a surrogate pair")
            return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xDC00 <= unit < 0xE000:
            raise Refused("half a surrogate pair")
        return chr(unit)

    def _hex(self) -> int:
        digits = _HEX.match(self._text, self._at)
        if digits is None:
            raise Refused("no four hexadecimal digits")
        self._at += 4
        return int(digits[0], 16)

    def _word_or_number(self) -> object:
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise Refused("no value")
        self._at = number.end()
        whole, *rest = number.groups()
        return _float(number[0]) if any(rest) else _integer(whole)


def _integer(digits: str) -> int:
    # Python refuses to read thousands of digits; so do we.
    if len(digits) > 20 or not -(2**63) <= int(digits) <= 2**64 - 1:
        raise Refused("an integer of more than 64 bits")
    return int(digits)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Refused("a number that is not finite")
    return value

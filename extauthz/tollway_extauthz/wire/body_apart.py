"""A large `CheckRequest` taken apart without being read: its body stays where it was received, the rest is small.

Protobuf's reader would copy the body, and Python's side of it copy it again. What is written in an unusual way (a field
twice, say, of which the last counts) is left to that reader.
"""

from typing import Final

from tollway_extauthz.wire.writing import sized

_WAY: Final = (1, 4, 2)  # CheckRequest.attributes, AttributeContext.request, AttributeContext.Request.http
_RAW_BODY: Final = 12
_VARINT, _EIGHT_BYTES, _SIZED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10

_Place = tuple[int, int, int]
"""Where a field begins, where its content does, and where both end."""


class _Unusual(Exception):  # noqa: N818 - it says what the message is
    pass


def body_apart(message: bytearray) -> tuple[bytes, bytearray] | None:
    """The message without its body, and the body, into which `message` itself is made. None where it is unusual, and
    then unchanged."""
    try:
        within = [(0, 0, len(message))]
        for number in (*_WAY, _RAW_BODY):
            _, start, end = within[-1]
            within.append(_field(message, number, start, end))
    except (_Unusual, IndexError):
        return None
    whole, attributes, request, http, (begin, first, last) = within
    rest = bytes(message[http[1] : begin]) + bytes(message[last : http[2]])
    for tag, inner, outer in ((0x12, http, request), (0x22, request, attributes), (0x0A, attributes, whole)):
        rest = bytes(message[outer[1] : inner[0]]) + sized(tag, rest) + bytes(message[inner[2] : outer[2]])
    del message[last:]
    del message[:first]
    return rest, message


def _field(message: bytearray, number: int, start: int, end: int) -> _Place:
    """The only field of this number between two places."""
    found = None
    at = start
    while at < end:
        tag, content = _varint(message, at)
        size, begin = _size(message, tag & 7, content)
        after = begin + size
        if after > end:
            raise _Unusual
        if tag >> 3 == number:
            if found is not None or tag & 7 != _SIZED:
                raise _Unusual
            found = at, begin, after
        at = after
    if found is None:
        raise _Unusual
    return found


def _size(message: bytearray, kind: int, content: int) -> tuple[int, int]:
    """The size of a field's content, and where that begins."""
    if kind == _SIZED:
        return _varint(message, content)
    if kind == _VARINT:
        _, after = _varint(message, content)
        return after - content, content
    if kind in (_FOUR_BYTES, _EIGHT_BYTES):
        return (4 if kind == _FOUR_BYTES else 8), content
    raise _Unusual


def _varint(message: bytearray, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = message[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise _Unusual

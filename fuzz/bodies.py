"""What must hold for the body of any request, whoever's family it is of.

A body is refused, in a sentence that is safe to show, or it is understood as `strict_json` understands it, bounded by
no less than what it carries, and edited so that nothing but the edited members differs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fuzz.strict_json import Member, strict_members
from tollway.providers.port import Edit, Family, Operation, ParsedCall, RequestRefused

CAPS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_EDITED: Final = frozenset({*CAPS, "service_tier", "store", "stream_options", "thinking"})
"""The members that an edit may add or change."""
_LONGEST_SENTENCE: Final = 400
_TRIED: Final = (1, 20, 1_000_000)


@dataclass(frozen=True, slots=True)
class Door:
    """An operation of a family."""

    family: Family
    operation: Operation


def check_body(door: Door, body: bytes) -> None:
    call = parsed(door, body)
    if call is None:
        return
    said = strict_members(body)
    values = {name: member.value for name, member in said.items()}
    _check_understanding(call, values)
    assert call.input_bound >= least_input(call, values, len(body)), "the bound is below what the request carries"
    for cap in (None, *_TRIED):
        if cap is None or (cap >= call.least_output and call.output_cap != 0):
            _check_edits(door, call, body, said, cap)


def parsed(door: Door, body: bytes) -> ParsedCall | None:
    try:
        return door.family.parse(door.operation, body, "application/json")
    except RequestRefused as refused:
        check_refusal(refused)
        return None


def check_refusal(refused: RequestRefused) -> None:
    for text in (refused.message, refused.reason, refused.param or "-"):
        assert text.isascii(), "a refusal is not plain ASCII"
        assert text.isprintable(), "a refusal does not fit into one line"
        assert 0 < len(text) <= _LONGEST_SENTENCE, "a refusal is longer than a sentence"


def spliced(body: bytes, edits: Sequence[Edit]) -> bytes:
    """The body as the gateway forwards it; edits have to be sorted and disjoint."""
    pieces, position = [], 0
    for edit in edits:
        assert edit.offset >= position
        assert edit.length >= 0
        assert edit.offset + edit.length <= len(body)
        pieces += [body[position : edit.offset], edit.text.encode()]
        position = edit.offset + edit.length
    return b"".join([*pieces, body[position:]])


def _check_understanding(call: ParsedCall, said: dict[str, object]) -> None:
    caps = [said[name] for name in CAPS if said.get(name) is not None]
    assert call.model == said["model"]
    assert call.stream is (said.get("stream") is True)
    assert call.output_cap in (caps or [None, 0])
    assert call.answers == (said.get("n") or 1)


def _check_edits(door: Door, call: ParsedCall, body: bytes, said: dict[str, Member], cap: int | None) -> None:
    forwarded = spliced(body, door.family.edits(call, body, cap))
    after = strict_members(forwarded)
    assert after.keys() - said.keys() <= _EDITED
    assert said.keys() <= after.keys()
    for name in said.keys() - _EDITED:
        assert _text(body, said[name]) == _text(forwarded, after[name]), f"{name} does not travel as it came"
    assert "store" not in after or after["store"].value is not True
    again = parsed(door, forwarded)
    assert again is not None, "what is forwarded is refused when it comes by again"
    assert (again.model, again.stream, again.answers) == (call.model, call.stream, call.answers)
    if cap is not None:
        assert again.output_cap is not None
        assert again.output_cap == min(cap, call.output_cap or cap)
    assert not door.family.edits(again, forwarded, cap), "what is forwarded would be edited again"


def _text(body: bytes, member: Member) -> bytes:
    return body[member.start : member.end]


def least_input(call: ParsedCall, said: dict[str, object], size: int) -> int:
    """Below this no bound may be: a token for every byte of text that the model reads."""
    if call.operation.name == "messages.count_tokens":
        return 0
    if call.operation.name == "embeddings":
        return _embedded(said["input"])
    texts = sum(len(text.encode()) for text in _texts(said))
    return texts if call.operation.name == "messages" else max(texts, size)


def _embedded(given: object) -> int:
    if isinstance(given, str):
        return len(given.encode())
    assert isinstance(given, list)
    return sum(1 if isinstance(each, int) else _embedded(each) for each in given)


def _texts(value: object) -> Iterable[str]:
    """Every text in a value, but for the pixels of images."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        is_image = value.get("type") == "base64"
        for name, each in value.items():
            if not (is_image and name == "data"):
                yield from _texts(each)

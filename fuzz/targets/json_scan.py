"""The one reading of a body: it takes what `strict_json` takes, as the same values at the same places; nothing else."""

from collections.abc import Iterator

from fuzz import goldens
from fuzz.strict_json import Member, Refused, strict_members
from tollway.providers.json_scan import Unreadable, members, read_object


def seeds() -> Iterator[bytes]:
    yield from goldens.requests("openai")
    yield from goldens.requests("anthropic")
    yield from (
        b'{"a":-0,"b":1e2,"c":1.50,"d":18446744073709551615,"e":-9223372036854775808}',
        b'{"a":{"b":1,"b":2}}',
        b' {\t"\\u0061" : [ ] ,"a\\n":"\\ud83d\\ude00\\/"}\r\n',
        b'{"a":18446744073709551616}',
        b'{"a":1e309}',
        b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 101 + b"]" * 101 + b"}",
    )


def check(data: bytes) -> None:
    ours, theirs = _ours(data), _theirs(data)
    assert (ours is None) == (theirs is None), f"we {_verb(ours)} it, a strict reading {_verb(theirs)} it"
    if ours is None or theirs is None:
        return
    assert same(ours, {name: member.value for name, member in theirs.items()}), "it is read as something else"
    spans = members(data)
    assert {name: (span.start, span.end) for name, span in spans.items()} == {
        name: (member.start, member.end) for name, member in theirs.items()
    }


def _verb(outcome: object) -> str:
    return "refuse" if outcome is None else "take"


def _ours(data: bytes) -> dict[str, object] | None:
    try:
        return read_object(data)
    except Unreadable:
        return None


def _theirs(data: bytes) -> dict[str, Member] | None:
    try:
        return strict_members(data)
    except Refused:
        return None


def same(one: object, other: object) -> bool:
    """Equal, and of the same kinds: 1 is neither 1.0 nor true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other

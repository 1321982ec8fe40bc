"""What an answer says it consumed, in JSON, in the events of a stream, or as Envoy extracted it: counts, or nothing."""

import json
import math
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from fuzz import goldens
from tollway.ledger.holds import MAX_AMOUNT
from tollway.ledger.port import CallFacts, Hold, Source
from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage
from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE
from tollway.providers.port import Family
from tollway.settling.call_end import CallEnd, account

Fields = dict[str, int | float | str]

_MODELS: Final = {"OpenAI": "gpt-4o-mini", "OpenAICompatible": "gpt-4o-mini", "Anthropic": "claude-sonnet-4-5"}
_TOKENS: Final = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "output", "audio_output")


def seeds() -> Iterator[bytes]:
    yield from goldens.answers()
    yield from goldens.usage_fields()
    yield b'{"usage":{"prompt_tokens":1e400,"completion_tokens":NaN,"total_tokens":-1}}'
    yield b'data: {"usage":{"prompt_tokens":1.5,"completion_tokens":true}}\r\n\r\ndata: [DONE]'


def check(data: bytes) -> None:
    documents = list(_documents(data))
    for family in (OPENAI, OPENAI_COMPATIBLE, ANTHROPIC):
        for fields in (extracted(family, documents), _given(documents)):
            check_fields(family, fields)


def check_fields(family: Family, fields: Fields) -> None:
    for usage in (family.usage(fields), family.usage_so_far(fields)):
        if usage is not None:
            _check_usage(usage)
    whole = {key: value for key, value in fields.items() if not isinstance(value, float) or value.is_integer()}
    counts = {key: int(value) if isinstance(value, float) else value for key, value in whole.items()}
    for complete in (True, False):
        _check_account(family, CallEnd("call", 200, complete, True, counts, received=500))


def _check_usage(usage: Usage) -> None:
    for name in _TOKENS:
        count = getattr(usage, name)
        assert type(count) is int, f"{name} is no whole number"
        assert 0 <= count <= 2**42, f"{name} is no number of tokens"
    assert 0 <= usage.reasoning <= usage.output
    assert len(usage.tier) <= 64


def _check_account(family: Family, end: CallEnd) -> None:
    hold = _hold(family.name)
    amounts, source = account(end, hold, family)
    assert amounts.requests == 1, "a call that reached the provider is not counted"
    for amount in (amounts.input_tokens, amounts.output_tokens, amounts.cost):
        assert type(amount) is int
        assert 0 <= amount <= MAX_AMOUNT
    if source is not Source.PROVIDER:
        assert amounts.input_tokens > 0, "a call whose end nobody knows costs nothing"
        assert amounts.cost > 0


def extracted(family: Family, documents: list[Any]) -> Fields:
    """What Envoy's extractors see: numbers as doubles, of a stream the last value that is one."""
    found: Fields = {}
    for document in documents:
        for name, path in family.usage_fields.items():
            value = document
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if (scalar := _scalar(value)) is not None:
                found[name] = scalar
    return found


def _given(documents: list[Any]) -> Fields:
    """The input itself taken for what was extracted."""
    first = documents[0] if documents and isinstance(documents[0], dict) else {}
    return {str(name): scalar for name, value in first.items() if (scalar := _scalar(value)) is not None}


def _scalar(value: object) -> int | float | str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 2**1000 else math.inf


def _documents(data: bytes) -> Iterator[Any]:
    text = data.decode("utf-8", "replace")
    for candidate in (text, *(line[5:] for line in text.splitlines() if line.startswith("data:"))):
        try:
            yield json.loads(candidate)
        except (ValueError, RecursionError):
            continue


@cache
def _hold(family: str) -> Hold:
    offer = default_book().find(family if family != "OpenAICompatible" else "OpenAI", _MODELS[family])
    assert offer is not None
    facts = CallFacts(
        agent="spiffe://cluster.local/ns/a/sa/b/agent/b",
        namespace="a",
        provider="p",
        model=_MODELS[family],
        operation="chat.completions",
        stream=True,
        price=offer.row.to_json(),
        input_ceiling=300,
        answers=2,
        input_rate=150_000,
        output_rate=600_000,
        family=family,
        visible_output=True,
    )
    return Hold("call", facts, size=100, deadline=60_000, granted_at=0)

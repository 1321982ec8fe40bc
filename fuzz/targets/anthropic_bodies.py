"""Request bodies of Anthropic: messages, and messages that are only counted."""

from collections.abc import Iterator
from typing import Final

from fuzz import goldens
from fuzz.bodies import Door, check_body
from tollway.providers.anthropic.family import ANTHROPIC

DOORS: Final = tuple(
    Door(ANTHROPIC, operation)
    for path in ("/v1/messages", "/v1/messages/count_tokens")
    if (operation := ANTHROPIC.operation("POST", path)) is not None
)


def seeds() -> Iterator[bytes]:
    yield from goldens.requests("anthropic")
    yield (
        b'{"model":"claude-sonnet-4-5","max_tokens":9000,"messages":[{"role":"user","content":"x"}],'
        b'"thinking":{"type":"enabled","budget_tokens":8000},"service_tier":null}'
    )


def check(data: bytes) -> None:
    for door in DOORS:
        check_body(door, data)

"""Request bodies of OpenAI and of the servers that speak its format, at every operation."""

from collections.abc import Iterator
from typing import Final

from fuzz import goldens
from fuzz.bodies import Door, check_body
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE

_PATHS: Final = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
DOORS: Final = tuple(
    Door(family, operation)
    for family in (OPENAI, OPENAI_COMPATIBLE)
    for path in _PATHS
    if (operation := family.operation("POST", path)) is not None
)


def seeds() -> Iterator[bytes]:
    yield from goldens.requests("openai")
    yield b'{"model":"gpt-5","input":[[1,2],[3]]}'
    yield b'{"model":"m","messages":[{"role":"user","content":"\\ud83d\\ude00"}],"stream":true,"stream_options":{}}'


def check(data: bytes) -> None:
    for door in DOORS:
        check_body(door, data)

"""Headers that switch features on: what is let through is known, what is taken out is said in printable words."""

from collections.abc import Iterator, Mapping
from typing import Final

from fuzz.bodies import check_refusal
from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.anthropic.features import BETAS
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE
from tollway.providers.port import Family, RequestRefused

_FAMILIES: Final = (OPENAI, OPENAI_COMPATIBLE, ANTHROPIC)


def seeds() -> Iterator[bytes]:
    version = b"anthropic-version: 2023-06-01\n"
    yield version
    yield b"anthropic-version: 2099-01-01\n"
    yield version + b"anthropic-beta: " + ",".join(sorted(BETAS)).encode()
    yield version + b"anthropic-beta: context-1m-2025-08-07 , prompt-caching-2024-07-31,,\xff\x00\nopenai-beta: x"


def check(data: bytes) -> None:
    headers = _headers(data)
    for family in _FAMILIES:
        _check(family, headers)


def _headers(data: bytes) -> Mapping[str, str]:
    """Lines of "name: value", as names and values reach a decision."""
    pairs = (line.decode("utf-8", "replace").partition(":") for line in data.split(b"\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _check(family: Family, headers: Mapping[str, str]) -> None:
    try:
        edits = family.header_edits(headers)
    except RequestRefused as refused:
        check_refusal(refused)
        return
    for edit in edits:
        assert edit.name in family.allowed_headers
        assert edit.value.isascii(), "a header goes on that is not ASCII"
        assert not edit.value or edit.value.isprintable()
        assert not set(edit.value.split(",")) - {""} - BETAS, "an unknown feature goes on"
        assert edit.removed, "a header is edited and nothing taken out"
        assert all(word.isascii() and word.isprintable() and len(word) <= 64 for word in edit.removed)
    edited = {**headers, **{edit.name: edit.value for edit in edits}}
    assert not family.header_edits(edited), "what is sent would be edited again"

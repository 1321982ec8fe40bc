"""Whole requests and answers, as files: `tests/providers/<family>/<case>/`.

Given are `request.json` (the exact bytes), `given.json` (the provider's type, the path, and the granted cap) and, in
some cases, a provider's `response.json` or `response.sse`. Expected are `facts.json` (the parsed call),
`forwarded.json` (the exact bytes that reach the provider) and `usage.json`.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from providers.editing import spliced
from tollway.providers.json_scan import Span
from tollway.providers.port import Family, Operation, ParsedCall
from tollway.providers.registry import family_of

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/*/request.json"))


def names(case: Path) -> str:
    return f"{case.parent.name}-{case.name}"


@pytest.fixture(params=CASES, ids=names)
def case(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_the_request_is_understood_and_edited_as_expected(case: Path, update_golden: bool) -> None:
    family, given = _given(case)
    body = (case / "request.json").read_bytes()
    operation = _operation(family, given)
    call = family.parse(operation, body, "application/json")
    forwarded = spliced(body, family.edits(call, body, given["cap"]))
    _compare(case / "facts.json", _pretty(_facts(call)), update_golden)
    _compare(case / "forwarded.json", forwarded, update_golden)


def test_the_answers_usage_is_read_as_expected(case: Path, update_golden: bool) -> None:
    family, _ = _given(case)
    for answer in case.glob("response.*"):
        usage = family.usage(extracted(family, answer))
        _compare(case / "usage.json", _pretty(usage and dataclasses.asdict(usage)), update_golden)


def test_an_edited_body_is_left_alone_when_it_comes_by_again(case: Path) -> None:
    family, given = _given(case)
    operation = _operation(family, given)
    forwarded = (case / "forwarded.json").read_bytes()
    call = family.parse(operation, forwarded, "application/json")
    assert family.edits(call, forwarded, given["cap"]) == []


def test_edits_look_at_nothing_of_the_body_but_the_places_found_by_parsing(case: Path) -> None:
    family, given = _given(case)
    body = (case / "request.json").read_bytes()
    call = family.parse(_operation(family, given), body, "application/json")
    blank = bytearray(b" " * len(body))
    for span in (Span(0, body.index(b"{") + 1), *call.places.values()):
        blank[span.start : span.end] = body[span.start : span.end]
    assert family.edits(call, bytes(blank), given["cap"]) == family.edits(call, body, given["cap"])


def _facts(call: ParsedCall) -> Mapping[str, Any]:
    """All but where members stand, which `forwarded.json` shows."""
    return {name: fact for name, fact in dataclasses.asdict(call).items() if name != "places"}


def _given(case: Path) -> tuple[Family, Mapping[str, Any]]:
    given = json.loads((case / "given.json").read_bytes())
    family = family_of(given["type"])
    assert family is not None
    return family, given


def _operation(family: Family, given: Mapping[str, Any]) -> Operation:
    operation = family.operation("POST", given["path"])
    assert operation is not None
    return operation


def extracted(family: Family, answer: Path) -> dict[str, int | float | str]:
    """What Envoy's extractors would see: numbers as doubles, of a stream the last value that is one."""
    found: dict[str, int | float | str] = {}
    for document in _documents(answer):
        for name, path in family.usage_fields.items():
            value = document
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found[name] = float(value) if isinstance(value, int) else value
    return found


def _documents(answer: Path) -> Iterator[Any]:
    if answer.suffix == ".json":
        yield json.loads(answer.read_bytes())
        return
    for line in answer.read_text().splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def _pretty(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _compare(expected: Path, actual: bytes, update: bool) -> None:
    if update:
        expected.write_bytes(actual)
    assert actual == expected.read_bytes(), "if this is meant: pytest tests/providers --update-golden"

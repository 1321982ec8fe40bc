"""Files of resources: problems in one line each, or resources that a rule book and the data plane can live with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from tollway.deciding.rulebook import RuleBook
from tollway.ledger.units import Unit
from tollway.pricing.data import default_book
from tollway.resources.models import ResourceSet, RuleFile
from tollway.resources.notices import notices
from tollway.resources.parse import MOST_PROBLEMS, parse_files

_FILES: Final = Path(__file__).parent.parent.parent / "tests" / "crds"
_LONGEST_LINE: Final = 1500
_LARGEST: Final = 2**53


def seeds() -> Iterator[bytes]:
    for path in sorted(_FILES.glob("*/*.yaml")):
        yield path.read_bytes()
    yield b"apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: tollway-system}\ndata: {k: c2s=}\n"
    yield b"apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {team: a}}\n"


def check(data: bytes) -> None:
    parsed = parse_files({"a.yaml": data})
    for problem in parsed.problems:
        assert str(problem).isprintable(), "a problem does not fit into one line"
        assert 0 < len(str(problem)) <= _LONGEST_LINE, "a problem is longer than a sentence"
    for problem in parsed.problems[:MOST_PROBLEMS]:
        assert str(problem).startswith("a.yaml"), "a problem does not name its file"
    # Behind them one sentence says how many more there are, of all files together.
    assert len(parsed.problems) <= MOST_PROBLEMS + 1, "more problems than anybody reads"
    if not parsed.problems:
        _check_resources(parsed.resources)


def _check_resources(found: ResourceSet) -> None:
    for quota in found.quotas:
        assert all(0 <= limit.amount <= _LARGEST for limit in quota.limits)
        assert all((limit.window is None) == (limit.unit is Unit.CONCURRENT) for limit in quota.limits)
    for provider in found.providers:
        assert 0 < provider.endpoint.port < 65_536
        assert provider.endpoint.host.isascii()
    for notice in notices(found):
        assert str(notice).isprintable()
    RuleBook(found, default_book())
    rules = RuleFile(1, replace(found, secrets=()))
    told = msgspec.json.decode(msgspec.json.encode(rules), type=RuleFile)
    assert told == rules, "the data plane reads other resources than were written"

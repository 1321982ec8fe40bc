"""The parser and the schema say the same of every file in `tests/crds`, except where only one of them can know.

A refused file's first line is `# expect:` with a part of the parser's sentence; a second line `# only: parser - …` says
why the schema takes it nevertheless.
"""

from pathlib import Path

import pytest
import yaml

from resources.api_server import ROOT, verdict
from tollway.resources.parse import parse_files

FILES = ROOT / "tests" / "crds"
ACCEPTED = sorted((FILES / "accepted").glob("*.yaml"))
REFUSED = sorted((FILES / "refused").glob("*.yaml"))


class KubectlReader(yaml.SafeLoader):
    """Reads YAML 1.1 as kubectl does, where dates are strings."""


KubectlReader.add_constructor("tag:yaml.org,2002:timestamp", lambda _loader, node: node.value)


def problems(path: Path) -> list[str]:
    return [str(problem) for problem in parse_files({path.name: path.read_bytes()}).problems]


def schema_says(path: Path) -> list[str]:
    return verdict(yaml.load(path.read_text("utf-8"), Loader=KubectlReader))


def expectation(path: Path) -> str:
    return path.read_text("utf-8").splitlines()[0].removeprefix("# expect: ")


def only_the_parser_knows(path: Path) -> bool:
    return path.read_text("utf-8").splitlines()[1].startswith("# only: parser - ")


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_an_accepted_object_is_accepted_by_parser_and_schema(path: Path) -> None:
    assert problems(path) == []
    assert schema_says(path) == []


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_refused_object_is_refused_by_both_unless_only_the_parser_can_know(path: Path) -> None:
    assert any(expectation(path) in problem for problem in problems(path)), problems(path)
    assert bool(schema_says(path)) is not only_the_parser_knows(path), schema_says(path)


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_one_mistake_gives_one_problem(path: Path) -> None:
    assert len(problems(path)) == 1, problems(path)

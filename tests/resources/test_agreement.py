"""The parser and the API server say the same of every file in `tests/crds`, except where only one of them can know.

A refused file's first line is `# expect:` with a part of the parser's sentence; a second line `# only: parser - …` says
why the schema takes it nevertheless. Files go to the server as they are, without a change by any reader of YAML.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from clusters import Answer, Client, Cluster, path_of
from resources.api_server import ROOT, crds, verdict
from resources.test_hostile_input import nearly_right
from tollway.resources.parse import parse_files

FILES = ROOT / "tests" / "crds"
ACCEPTED = sorted((FILES / "accepted").glob("*.yaml"))
REFUSED = sorted((FILES / "refused").glob("*.yaml"))
NAMESPACES = ("team-a", "tollway-system")


class ServersReader(yaml.SafeLoader):
    """Reads YAML 1.1 as the API server does, where dates are strings and no key may stand twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(problem="a key stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


ServersReader.add_constructor("tag:yaml.org,2002:timestamp", lambda _loader, node: node.value)


def problems(path: Path) -> list[str]:
    return [str(problem) for problem in parse_files({path.name: path.read_bytes()}).problems]


def schema_says(path: Path) -> list[str]:
    try:
        return verdict(yaml.load(path.read_text("utf-8"), Loader=ServersReader))
    except yaml.constructor.ConstructorError as error:
        return [str(error)]


def expectation(path: Path) -> str:
    return path.read_text("utf-8").splitlines()[0].removeprefix("# expect: ")


def only_the_parser_knows(path: Path) -> bool:
    return path.read_text("utf-8").splitlines()[1].startswith("# only: parser - ")


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Client:
    for namespace in NAMESPACES:
        cluster.namespace(namespace)
    return cluster.admin


def server_says(server: Client, path: Path) -> Answer:
    """What the server answers to the file's bytes. Nothing is kept."""
    where = path_of(*address(path.read_bytes()))
    return server.send("POST", where, path.read_bytes(), "application/yaml", dryRun="All", fieldValidation="Strict")


def address(data: bytes) -> tuple[str, str, str | None]:
    """Where an object belongs: version, kind, namespace."""
    content = yaml.safe_load(data)
    metadata = content.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    return str(content.get("apiVersion")), str(content.get("kind")), namespace


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_an_accepted_object_is_accepted_by_parser_and_schema(path: Path) -> None:
    assert problems(path) == []
    assert schema_says(path) == []


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_an_accepted_object_is_accepted_by_the_api_server_which_fills_in_the_parsers_defaults(
    path: Path, server: Client
) -> None:
    answer = server_says(server, path)
    assert answer.ok, answer.message
    read_back = parse_files({"server.yaml": yaml.safe_dump(answer.body).encode()})
    assert read_back.problems == ()
    assert read_back.resources == parse_files({path.name: path.read_bytes()}).resources


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_refused_object_is_refused_by_both_unless_only_the_parser_can_know(path: Path) -> None:
    assert any(expectation(path) in problem for problem in problems(path)), problems(path)
    assert bool(schema_says(path)) is not only_the_parser_knows(path), schema_says(path)


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_refused_object_is_refused_by_the_api_server_unless_only_the_parser_can_know(
    path: Path, server: Client
) -> None:
    answer = server_says(server, path)
    assert answer.status in ({201} if only_the_parser_knows(path) else {400, 404, 422}), answer.message
    assert "should match" not in answer.message, "a pattern instead of a sentence"


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_one_mistake_gives_one_problem(path: Path) -> None:
    assert len(problems(path)) == 1, problems(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=nearly_right())
def test_the_schema_as_these_tests_read_it_is_the_schema_as_the_api_server_reads_it(
    content: dict[str, Any], server: Client
) -> None:
    """Of anything in a spec. Metadata is Kubernetes' own, and not what these tests are about."""
    kind = content["kind"] if content.get("kind") in list(crds()) else "AIQuota"
    scope = {} if kind == "AIProvider" else {"namespace": "team-a"}
    sent = {**content, "apiVersion": "tollway.dev/v1alpha1", "kind": kind, "metadata": {"name": "a", **scope}}
    assert server.create(sent, dryRun="All", fieldValidation="Strict").ok is (verdict(sent) == [])

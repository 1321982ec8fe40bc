"""The examples: a real API server takes them, and so does the gateway."""

from pathlib import Path

import pytest
import yaml

from charting.charts import ROOT_NAMESPACE
from clusters import ROOT, Cluster
from tollway.resources.parse import read_object

EXAMPLES = ("cluster", "two-teams")


def sources(example: str) -> list[Path]:
    folder = ROOT / "examples" / example
    return [folder / name for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_file_of_an_example_is_applied_with_it(example: str) -> None:
    folder = ROOT / "examples" / example
    assert sorted(sources(example)) == sorted(set(folder.glob("*.yaml")) - {folder / "kustomization.yaml"})


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken_by_kubernetes_without_a_warning(cluster: Cluster, example: str) -> None:
    cluster.namespace(ROOT_NAMESPACE)
    for document in documents(example):
        if document["kind"] == "Namespace":
            cluster.admin.apply(document).expect()
    dry = ("--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors")
    cluster.admin.kubectl("apply", *dry, "-k", str(ROOT / "examples" / example))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_gateway_understands_every_resource_of_an_example(example: str) -> None:
    ours = [each for each in documents(example) if str(each["apiVersion"]).startswith("tollway.dev/")]
    assert {each["kind"] for each in ours} == {"AgentIdentity", "AIProvider", "AIQuota"}
    for each in ours:
        resource, problems = read_object(each)
        assert resource is not None
        assert problems == ()


def documents(example: str) -> list[dict[str, object]]:
    return [each for file in sources(example) for each in yaml.safe_load_all(file.read_text())]

"""What whoever installs may say, and what happens to what makes no sense."""

import json
import re

import pytest
import yaml

from charting.charts import CHART, SHARED_STORE, Helm

VALUES = (CHART / "values.yaml").read_text()


def test_the_chart_passes_helms_own_checks(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.said("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("uncovered=maybe", "value must be one of 'deny', 'allow'"),
        ("unselected=deny", "value must be one of 'allow', 'refuse'"),
        ("trustDomain=Cluster.Local", "at '/trustDomain'"),
        ("trustDomain=", "at '/trustDomain'"),
        ("secretNamespaces={Team A}", "at '/secretNamespaces/0'"),
        ("secretNamespaces=team-a", "got string, want array"),
        ("gateway.drainSecond=3", "additional properties 'drainSecond' not allowed"),
        ("gateways.drainSeconds=3", "additional properties 'gateways' not allowed"),
        ("gateway.drainSeconds=0", "minimum: got 0, want 1"),
        ("gateway.storage.size=8", "at '/gateway/storage/size'"),
        ("injector.replicas=0", "minimum: got 0, want 1"),
        ("injector.timeoutSeconds=30", "maximum: got 30, want 10"),
        ("images.operator.digest=sha256:12", "at '/images/operator/digest'"),
        ("egress.extras={10.0.0.1}", "at '/egress/extras/0'"),
        ("store.url=postgres://there", "at '/store/url'"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(helm: Helm, value: str, says: str) -> None:
    assert says in helm.refusal(value)


def test_a_shared_store_is_refused_as_long_as_there_is_none(helm: Helm) -> None:
    assert "this version of Tollway has no shared ledger yet" in helm.refusal(SHARED_STORE[0])


def test_every_value_is_documented() -> None:
    lines = VALUES.splitlines()
    named = [number for number, line in enumerate(lines) if re.match(r"^ *[A-Za-z]+:", line)]
    # Below these the words are Kubernetes's.
    undocumented = [
        lines[number].strip()
        for number in named
        if not lines[number - 1].lstrip().startswith("#")
        and lines[number].strip().partition(":")[0] not in {"requests", "limits"}
    ]
    assert undocumented == []


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert paths_of_schema(schema, schema["$defs"]) == paths_of_values(yaml.safe_load(VALUES))


def paths_of_schema(schema: object, definitions: object, path: str = "") -> set[str]:
    assert isinstance(schema, dict)
    assert isinstance(definitions, dict)
    if "$ref" in schema:
        return paths_of_schema(definitions[schema["$ref"].rpartition("/")[2]], definitions, path)
    below = schema.get("properties", {})
    if not below or path.endswith("resources"):
        return {path}
    assert schema["additionalProperties"] is False, path
    # `global` is helm's own.
    found = (paths_of_schema(each, definitions, f"{path}/{key}") for key, each in below.items() if key != "global")
    return set().union(*found)


def paths_of_values(values: object, path: str = "") -> set[str]:
    if not isinstance(values, dict) or not values or path.endswith("resources"):
        return {path}
    return set().union(*(paths_of_values(each, f"{path}/{key}") for key, each in values.items()))

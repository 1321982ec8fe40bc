"""The schemas themselves: explained everywhere, bounded everywhere, and naming what the parser names."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from resources.api_server import ROOT, crds

KINDS = sorted(crds())
PREFIX = {"AgentIdentity": "identity", "AIProvider": "provider", "AIQuota": "quota"}


def schema_of(kind: str) -> dict[str, Any]:
    return crds()[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def parts(schema: dict[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield at, schema
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{at}.{name}")
    if "items" in schema:
        yield from parts(schema["items"], f"{at}[]")
    if "additionalProperties" in schema:
        yield from parts(schema["additionalProperties"], f"{at}{{}}")


def every_part() -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in KINDS:
        yield from parts(schema_of(kind), kind)


def test_the_kinds_are_known_by_their_names_short_names_and_category() -> None:
    names = {kind: crd["spec"]["names"] for kind, crd in crds().items()}
    assert {kind: (name["shortNames"], name["categories"]) for kind, name in names.items()} == {
        "AgentIdentity": (["aid"], ["tollway"]),
        "AIProvider": (["aip"], ["tollway"]),
        "AIQuota": (["aiq"], ["tollway"]),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_version_is_served_stored_and_has_a_status_of_its_own(kind: str) -> None:
    [version] = crds()[kind]["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}
    assert crds()[kind]["metadata"]["name"] == f"{crds()[kind]['spec']['names']['plural']}.tollway.dev"


def test_every_field_is_explained() -> None:
    silent = [at for at, part in every_part() if not at.endswith("{}") and len(part.get("description", "")) < 10]
    # Kubernetes allows no word on metadata; the kind's name is explanation enough.
    assert [at for at in silent if not at.endswith((".metadata", ".kind"))] == []


def test_every_string_list_and_map_is_bounded() -> None:
    bound = {"string": ("maxLength", "enum"), "array": ("maxItems",)}
    unbounded = [
        at
        for at, part in every_part()
        if not any(key in part for key in bound.get(part["type"], part))
        or ("additionalProperties" in part and "maxProperties" not in part)
    ]
    assert [at for at in unbounded if not at.endswith((".apiVersion", ".kind"))] == []


def test_every_number_is_a_whole_one_with_a_least() -> None:
    assert [at for at, part in every_part() if part["type"] == "number"] == []
    assert [at for at, part in every_part() if part["type"] == "integer" and "minimum" not in part] == []


def test_every_list_says_how_it_is_merged() -> None:
    assert [at for at, part in every_part() if part["type"] == "array" and "x-kubernetes-list-type" not in part] == []


def test_every_rule_has_a_sentence() -> None:
    rules = [rule for _, part in every_part() for rule in part.get("x-kubernetes-validations", ())]
    assert len(rules) >= 10
    assert [rule for rule in rules if not rule.get("message")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_accepted_file_uses_every_field_of_the_schema(kind: str) -> None:
    """So that the agreement of parser and schema is about all of them."""
    files = (ROOT / "tests" / "crds" / "accepted").glob(f"{PREFIX[kind]}-*.yaml")
    used = {name for file in files for name in _keys(yaml.safe_load(file.read_text()))}
    spec = schema_of(kind)["properties"]["spec"]
    named = {name for _, part in parts(spec, "spec") for name in part.get("properties", {})}
    assert named - used == set()


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _keys(inner)
    if isinstance(value, list):
        for inner in value:
            yield from _keys(inner)

"""Reads an `*.in.yaml`: a pod as it is created, its namespace, what is declared there, settings; applies patches.

AgentIdentities and AIProviders are as the API server has them: with a creationTimestamp, where their age matters.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tollway.resources.models import AgentIdentity, AIProvider
from tollway.resources.parse import read_object
from tollway.resources.selection import Declared
from tollway_operator.injecting.outcomes import LeftAlone, Operation, Outcome, Patched, Refused
from tollway_operator.injecting.patching import inject
from tollway_operator.injecting.settings import InjectionSettings, NamespaceFacts
from tollway_operator.signing.objects import declared

FIRST = "2026-01-01T00:00:00Z"
IMAGE = "registry.example/tollway/envoy:1"

Json = Any


@dataclass(frozen=True)
class Given:
    pod: Json
    namespace: NamespaceFacts
    settings: InjectionSettings
    resources: list[Json]

    def outcome(self) -> Outcome:
        return inject(self.pod, self.namespace, self.settings)


def read(path: Path) -> Given:
    given = yaml.safe_load(path.read_text())
    settings = dict(given.get("settings", {}))
    settings["secret_namespaces"] = frozenset(settings.get("secret_namespaces", ()))
    resources = given.get("resources", [])
    return Given(
        pod=given["pod"],
        namespace=facts(given.get("namespace", {}), resources),
        settings=InjectionSettings(**{"image": IMAGE, **settings}),
        resources=resources,
    )


def facts(namespace: Json, resources: Iterable[Json]) -> NamespaceFacts:
    name = namespace.get("name", "team-a")
    labels = {"kubernetes.io/metadata.name": name, "tollway.dev/enforce": "enabled", **namespace.get("labels", {})}
    agents: list[Declared] = []
    providers: list[tuple[str, AIProvider]] = []
    for content in resources:
        whole = copy.deepcopy(content)
        born = whole["metadata"].setdefault("creationTimestamp", FIRST)
        found, problems = read_object(whole)
        assert not problems, problems
        if isinstance(found, AgentIdentity):
            agents.append(declared(found, whole))
        if isinstance(found, AIProvider):
            providers.append((born, found))
    providers.sort(key=lambda each: (each[0], each[1].meta.name))
    return NamespaceFacts(name, labels, agents, [provider for _, provider in providers])


def as_yaml(outcome: Outcome) -> str:
    match outcome:
        case Patched(patch, warnings):
            said: dict[str, Json] = {"patch": list(patch), "warnings": list(warnings)}
        case LeftAlone(warnings):
            said = {"leftAlone": True, "warnings": list(warnings)}
        case Refused(reason, message):
            said = {"refused": {"reason": reason, "message": message}}
    return yaml.dump(said, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Without anchors for what occurs twice."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


_Plain.add_representer(tuple, lambda dumper, value: dumper.represent_list(list(value)))


def patched(pod: Json, patch: Iterable[Operation]) -> Json:
    """RFC 6902, of it what the injector uses."""
    document = copy.deepcopy(pod)
    for operation in patch:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = document
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        _change(place, last, operation)
    return document


def _change(place: Json, key: str, operation: Mapping[str, Json]) -> None:
    value = copy.deepcopy(operation.get("value"))
    if isinstance(place, dict):
        assert operation["op"] == "add", operation
        place[key] = value
    elif operation["op"] == "add":
        index = len(place) if key == "-" else int(key)
        assert index <= len(place), operation
        place.insert(index, value)
    else:
        del place[int(key)]
        if operation["op"] == "replace":
            place.insert(int(key), value)

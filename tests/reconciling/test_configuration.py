"""Trust, configuration and what providers' and quotas' status says: from a cluster as values to actions."""

import base64
import json
from typing import Any

import pytest

from reconciling.builders import AUTHORITY, NOW, TEAM, TRUST, World, actions, conditions, only
from tollway.pricing.data import default_book
from tollway_operator import names
from tollway_operator.cluster import kinds
from tollway_operator.reconciling.actions import Apply, IssueSVID, Key, Plan, ReadyAuthority, Topic, WriteStatus
from tollway_operator.reconciling.changes import every_key, keys_of
from tollway_operator.reconciling.plan import plan
from tollway_operator.reconciling.reporting import Report
from tollway_operator.watching.facts import Fact

ROOT = "tollway-system"
Json = Any


def planned(world: World, topic: Topic, namespace: str = "", **changed: Any) -> Plan:
    return plan(Key(topic, namespace), world.snapshot(**changed), default_book(), NOW)


def provider(world: World, name: str = "openai", **spec: Json) -> None:
    spec = {"type": "OpenAI", "credential": {"secretRef": {"name": f"{name}-key"}}, **spec}
    world.put(kinds.AI_PROVIDER, name, "", spec={field: value for field, value in spec.items() if value is not None})


def key(world: World, name: str = "openai", value: bytes = b"sk-secret") -> None:
    world.put(kinds.SECRET, f"{name}-key", ROOT, data={"api-key": base64.b64encode(value).decode()})


def quota(world: World, name: str = "quota", namespace: str = TEAM, **spec: Json) -> None:
    world.put(kinds.AI_QUOTA, name, namespace, spec={"limits": [{"name": "parallel", "concurrent": 4}], **spec})


def done(world: World, plan: Plan) -> None:
    """As the API server has it afterwards."""
    for each in only(plan, Apply):
        meta = each.content["metadata"]
        rest = {field: each.content[field] for field in ("data", "spec") if field in each.content}
        world.put(each.kind, meta["name"], meta.get("namespace", ""), labels=meta["labels"], **rest)


# --- trust ---------------------------------------------------------------------------------------------------------


def test_the_authority_is_made_ready_before_anything_else_and_asked_again() -> None:
    plan = planned(World(), Topic.TRUST, trust=None)
    assert actions(plan) == [ReadyAuthority()]
    assert plan.again_at is not None
    for topic in (Topic.GATEWAY, Topic.SIDECAR):
        assert not actions(planned(World(), topic, TEAM, trust=None))


def test_the_bundle_of_the_cluster_has_the_roots_and_is_written_once() -> None:
    world = World()
    plan = planned(world, Topic.TRUST)
    [apply] = only(plan, Apply)
    assert apply.content["metadata"]["name"].startswith("tollway.dev:agent:")
    assert apply.content["spec"] == {"signerName": "tollway.dev/agent", "trustBundle": TRUST.roots.decode()}
    done(world, plan)
    assert not only(planned(world, Topic.TRUST), Apply)


def test_a_cluster_without_trust_bundles_gets_none() -> None:
    assert not only(planned(World(), Topic.TRUST, pod_certificates=False), Apply)


# --- the gateway ---------------------------------------------------------------------------------------------------


def applied(plan: Plan, name: str) -> Json:
    [apply] = [each for each in only(plan, Apply) if each.content["metadata"]["name"] == name]
    return apply.content


def test_the_gateway_gets_an_identity_a_configuration_and_credentials_and_they_are_written_once() -> None:
    world = World()
    provider(world)
    key(world)
    plan = planned(world, Topic.GATEWAY)
    [issue] = only(plan, IssueSVID)
    assert issue.spiffe_id == f"spiffe://cluster.local/ns/{ROOT}/sa/tollway-gateway"
    config = applied(plan, names.GATEWAY)["data"]
    assert set(config) == {
        "bootstrap.json",
        "rds.json",
        "cds.json",
        "trial.json",
        "identity.json",
        "bundle.json",
        "issuers.pem",
        "parts.json",
    }
    parts = json.loads(config["parts.json"])
    assert (parts["credentials"], parts["providers"]) == (["credential-openai.json"], {"openai": "uid-of-openai"})
    assert config["issuers.pem"].encode() == AUTHORITY.issuers_pem()
    assert set(applied(plan, names.GATEWAY_CREDENTIALS)["data"]) == {"credential-openai.json", "generation"}
    done(world, plan)
    assert not only(planned(world, Topic.GATEWAY), Apply)


def test_a_key_is_in_the_credentials_alone_and_written_before_the_configuration() -> None:
    world = World()
    provider(world)
    key(world)
    written = [each.content["metadata"]["name"] for each in only(planned(world, Topic.GATEWAY), Apply)]
    assert written == [names.GATEWAY_CREDENTIALS, names.GATEWAY]
    assert "sk-secret" not in str(applied(planned(world, Topic.GATEWAY), names.GATEWAY))
    assert "sk-secret" not in repr(world.store.all(kinds.SECRET, Fact))


def test_credentials_name_the_configuration_that_they_go_with_and_another_key_goes_with_the_same() -> None:
    world = World()

    def generations() -> tuple[str, str]:
        plan = planned(world, Topic.GATEWAY)
        credentials = applied(plan, names.GATEWAY_CREDENTIALS)["data"]["generation"]
        config = applied(plan, names.GATEWAY)["data"]["parts.json"]
        return base64.b64decode(credentials).decode(), json.loads(config)["generation"]

    provider(world)
    key(world)
    one, same = generations()
    assert one == same
    key(world, value=b"sk-other")
    assert generations() == (one, one)
    provider(world, "other")
    key(world, "other")
    two, same = generations()
    assert one != two == same


@pytest.mark.parametrize("value", [None, b"", b"two\nlines", b"sp ace"], ids=["no Secret", "empty", "lines", "space"])
def test_a_provider_without_a_usable_key_is_left_out_and_the_others_are_served(value: bytes | None) -> None:
    world = World()
    provider(world)
    provider(world, "other")
    key(world, "other")
    if value is not None:
        key(world, value=value)
    parts = applied(planned(world, Topic.GATEWAY), names.GATEWAY)["data"]["parts.json"]
    assert json.loads(parts)["providers"] == {"other": "uid-of-other"}


# --- sidecars ------------------------------------------------------------------------------------------------------


def test_an_enforced_namespace_gets_its_sidecars_configuration_once() -> None:
    world = World()
    provider(world)
    plan = planned(world, Topic.SIDECAR, TEAM)
    config = applied(plan, names.SIDECAR)
    assert set(config["data"]) == {
        "bootstrap.json",
        "rds.json",
        "cds.json",
        "identity.json",
        "bundle.json",
        "ca.crt",
    }
    assert config["data"]["bundle.json"].encode() == TRUST.bundle
    done(world, plan)
    assert not actions(planned(world, Topic.SIDECAR, TEAM))


def test_other_namespaces_get_none() -> None:
    assert not actions(planned(World(enforced=False), Topic.SIDECAR, TEAM))
    world = World()
    world.put(kinds.NAMESPACE, ROOT, "", labels={"tollway.dev/enforce": "enabled"})
    assert not actions(planned(world, Topic.SIDECAR, ROOT))


def test_sidecars_accept_the_gateway_of_their_own_root_namespace_alone() -> None:
    world = World()
    config = applied(planned(world, Topic.SIDECAR, TEAM), names.SIDECAR)["data"]["bootstrap.json"]
    assert f"spiffe://cluster.local/ns/{ROOT}/sa/tollway-gateway" in config


# --- what status says ----------------------------------------------------------------------------------------------


def status(plan: Plan, name: str) -> Json:
    [written] = [each for each in only(plan, WriteStatus) if each.me.name == name]
    return written.status


@pytest.mark.parametrize(
    ("spec", "value", "report", "expected"),
    [
        ({}, b"sk", None, {"Accepted": "OpenToAll", "CredentialReady": "Ready", "Programmed": "NotReported"}),
        (
            {"namespaces": {"matchLabels": {"a": "b"}}},
            b"sk",
            {"openai"},
            {"Accepted": "Accepted", "Programmed": "Programmed"},
        ),
        ({}, b"sk", set(), {"Programmed": "Pending"}),
        ({}, None, {"openai"}, {"CredentialReady": "CredentialMissing", "Programmed": "NotServed"}),
        ({}, b"a b", {"openai"}, {"CredentialReady": "CredentialUnusable", "Programmed": "NotServed"}),
        ({"type": "Gemini"}, b"sk", set(), {"Accepted": "TypeNotServed", "Programmed": "NotServed"}),
        ({"credential": None}, None, set(), {"CredentialReady": "NoCredential"}),
        ({"endpoint": "http://plain"}, b"sk", None, {"Accepted": "Invalid"}),
    ],
    ids=["sound", "served", "not yet", "no key", "bad key", "no data path", "keyless", "invalid"],
)
def test_a_provider_says_what_it_lacks(
    spec: Json, value: bytes | None, report: set[str] | None, expected: dict[str, str]
) -> None:
    world = World()
    provider(world, **spec)
    if value is not None:
        key(world, value=value)
    providers = frozenset(report) if report is not None else None
    found = conditions(status(planned(world, Topic.PROVIDERS, report=Report(providers)), "openai"))
    assert {kind: reason for kind, (_, reason) in found.items() if kind in expected} == expected


@pytest.mark.parametrize(
    ("models", "prices", "counted"),
    [
        ([], [], (0, 0)),
        ([{"name": "gpt-5*"}, {"name": "no-such-model"}], [], (1, 1)),
        ([{"name": "mine", "model": "gpt-5-mini"}], [], (1, 0)),
        ([{"name": "in-house"}], [{"model": "in-house", "input": "1", "output": "1"}], (1, 0)),
    ],
    ids=["no list", "pattern", "alias", "own price"],
)
def test_a_provider_says_how_many_of_its_models_have_a_price(
    models: list[Json], prices: list[Json], counted: tuple[int, int]
) -> None:
    world = World()
    provider(world, models=models, prices=prices)
    found = status(planned(world, Topic.PROVIDERS), "openai")
    assert (found["models"]["priced"], found["models"]["unpriced"]) == counted


@pytest.mark.parametrize(
    ("spec", "where", "expected"),
    [
        ({}, TEAM, ("True", "Accepted")),
        ({"agents": {"matchLabels": {"no": "body"}}}, TEAM, ("True", "SelectsNobody")),
        ({"namespaces": {"matchLabels": {"tollway.dev/enforce": "enabled"}}}, ROOT, ("True", "Accepted")),
        ({"namespaces": {"matchLabels": {"a": "b"}}}, TEAM, ("False", "Invalid")),
    ],
    ids=["of its namespace", "nobody", "over namespaces", "namespaces outside the root"],
)
def test_a_quota_says_whom_it_is_for(spec: Json, where: str, expected: tuple[str, str]) -> None:
    world = World()
    world.agent()
    quota(world, namespace=where, **spec)
    assert conditions(status(planned(world, Topic.QUOTAS), "quota"))["Accepted"] == expected


def test_a_shadow_quota_is_not_enforced() -> None:
    world = World()
    quota(world, mode="Shadow")
    report = Report(frozenset())
    assert conditions(status(planned(world, Topic.QUOTAS, report=report), "quota"))["Enforced"] == ("False", "Shadow")


# --- what a change makes worth looking at --------------------------------------------------------------------------


def touched(world: World, kind: kinds.Kind, name: str, namespace: str = TEAM) -> set[Key]:
    """The keys that an object's coming touches."""
    found = world.store.get(kind, Fact, name, namespace)
    return set(keys_of(kind, None, found, world.snapshot()))


def test_a_change_touches_what_depends_on_it_and_nothing_else() -> None:
    world = World()
    world.agent()
    world.pod()
    provider(world)
    key(world)
    assert touched(world, kinds.POD, "pod-1") == {Key(Topic.AGENTS, TEAM)}
    assert touched(world, kinds.AGENT_IDENTITY, "researcher") == {Key(Topic.AGENTS, TEAM), Key(Topic.QUOTAS)}
    gateway = {Key(Topic.GATEWAY), Key(Topic.PROVIDERS)}
    assert touched(world, kinds.AI_PROVIDER, "openai", "") == gateway | {Key(Topic.SIDECAR, TEAM)}
    assert touched(world, kinds.SECRET, "openai-key", ROOT) == gateway


def test_every_topic_is_among_everything() -> None:
    world = World()
    keys = list(every_key(world.snapshot()))
    assert {each.topic for each in keys} == set(Topic) - {Topic.REQUEST}

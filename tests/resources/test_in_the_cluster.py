"""What somebody at a cluster sees of the three kinds: `kubectl get`, `kubectl explain`, and what cannot be changed."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clusters import Answer, Client, Cluster, path_of
from resources.api_server import crds
from resources.test_hostile_input import places
from resources.test_schema import PREFIX, parts, schema_of

API = "tollway.dev/v1alpha1"
NAMESPACE = "seen"
NOW = "2026-11-22T05:00:00Z"
LATER = "2026-11-23T00:00:00Z"


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Client:
    cluster.namespace(NAMESPACE)
    return cluster.admin


def thing(kind: str, name: str, **spec: object) -> dict[str, Any]:
    metadata = {"name": name} if kind == "AIProvider" else {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def condition(kind: str, status: str = "True", reason: str = "AsItShould") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": "It is so.", "lastTransitionTime": NOW}


def with_status(admin: Client, content: dict[str, Any], status: dict[str, Any]) -> Answer:
    made = admin.apply(content).expect()
    where = path_of(API, content["kind"], NAMESPACE, content["metadata"]["name"])
    return admin.send("PUT", f"{where}/status", {**made, "status": status})


def table(text: str) -> list[dict[str, str]]:
    """What `kubectl get` prints, by column."""
    heading, *rows = text.splitlines()
    found = list(re.finditer(r"\S+", heading))
    ends = [*(match.start() for match in found[1:]), None]
    columns = [(match[0], slice(match.start(), end)) for match, end in zip(found, ends, strict=True)]
    return [{name: row[where].strip() for name, where in columns} for row in rows]


QUOTA = thing("AIQuota", "research", limits=[{"name": "daily", "cost": "25.00", "window": "Day"}])
QUOTA_STATUS = {
    "matched": {"agents": 2},
    "limits": [
        {"name": "daily", "key": "Agent=a", "limit": "25", "used": "24.5", "held": "0.25", "resetsAt": LATER},
        {"name": "daily", "key": "Agent=b", "limit": "25", "used": "3", "held": "0"},
    ],
    "observedGeneration": 1,
    "conditions": [condition("Accepted"), condition("Enforced"), condition("Exceeded", "False")],
}
IDENTITY = thing("AgentIdentity", "researcher", serviceAccountName="researcher")
IDENTITY_STATUS = {
    "spiffeID": "spiffe://cluster.local/ns/seen/sa/researcher/agent/researcher",
    "pods": {"matched": 3, "ready": 2},
    "svid": {"delivery": "PodCertificate", "notAfter": LATER, "renewAfter": NOW},
    "observedGeneration": 1,
    "conditions": [condition("Accepted"), condition("Issued"), condition("Ready", "False", "PodsNotReady")],
}
PROVIDER = thing("AIProvider", "seen-openai", type="OpenAI", default=True)
PROVIDER_STATUS = {
    "models": {"priced": 4, "unpriced": 1},
    "observedGeneration": 1,
    "conditions": [condition("Accepted"), condition("CredentialReady"), condition("Programmed", "Unknown")],
}
EACH = [(IDENTITY, IDENTITY_STATUS), (PROVIDER, PROVIDER_STATUS), (QUOTA, QUOTA_STATUS)]


# --- kubectl get ---------------------------------------------------------------------------------------------------


def test_kubectl_get_aiq_shows_used_limit_and_reset_of_the_tightest_limit(admin: Client) -> None:
    with_status(admin, QUOTA, QUOTA_STATUS).expect()
    [row] = table(admin.kubectl("get", "aiq", "-n", NAMESPACE))
    del row["AGE"]
    assert row == {
        "NAME": "research",
        "TIGHTEST": "daily",
        "USED": "24.5",
        "LIMIT": "25",
        "RESETS": LATER,
        "EXCEEDED": "False",
    }
    [wide] = table(admin.kubectl("get", "aiq", "-n", NAMESPACE, "-o", "wide"))
    assert (wide["WHOSE"], wide["HELD"], wide["AGENTS"], wide["ENFORCED"]) == ("Agent=a", "0.25", "2", "True")


def test_kubectl_get_aid_shows_spiffe_id_delivery_expiry_and_ready(admin: Client) -> None:
    with_status(admin, IDENTITY, IDENTITY_STATUS).expect()
    [row] = table(admin.kubectl("get", "aid", "-n", NAMESPACE))
    del row["AGE"]
    assert row == {
        "NAME": "researcher",
        "SPIFFE-ID": IDENTITY_STATUS["spiffeID"],
        "DELIVERY": "PodCertificate",
        "EXPIRES": LATER,
        "READY": "False",
    }
    [wide] = table(admin.kubectl("get", "aid", "-n", NAMESPACE, "-o", "wide"))
    assert (wide["REASON"], wide["PODS"], wide["SUSPENDED"]) == ("PodsNotReady", "3", "false")


def test_kubectl_get_aip_shows_type_default_credential_and_whether_it_is_served(admin: Client) -> None:
    with_status(admin, PROVIDER, PROVIDER_STATUS).expect()
    [row] = table(admin.kubectl("get", "aip", "seen-openai"))
    assert (row["TYPE"], row["DEFAULT"], row["CREDENTIAL"], row["PROGRAMMED"]) == ("OpenAI", "true", "True", "Unknown")


def test_what_has_no_status_yet_is_listed_too(admin: Client) -> None:
    admin.apply(thing("AIQuota", "new", limits=[{"name": "rpm", "requests": 1, "window": "1m"}])).expect()
    [row] = [row for row in table(admin.kubectl("get", "aiq", "-n", NAMESPACE)) if row["NAME"] == "new"]
    assert (row["TIGHTEST"], row["USED"], row["RESETS"]) == ("", "", "")


def test_the_category_lists_all_three_kinds(admin: Client) -> None:
    for content, _ in EACH:
        admin.apply(content).expect()
    listed = admin.kubectl("get", "tollway", "-n", NAMESPACE, "-o", "name").split()
    assert {
        "agentidentity.tollway.dev/researcher",
        "aiprovider.tollway.dev/seen-openai",
        "aiquota.tollway.dev/research",
    } <= set(listed)


# --- kubectl explain -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("aid", "An AgentIdentity makes the pods it selects one agent"),
        ("aid.spec.suspended", "The kill switch."),
        ("aip.spec.credential.secretRef", "in the root namespace, that holds the credential"),
        ("aiq.spec.limits.window", "no interval of that length ever admits more than the limit"),
        ("aiq.status.limits", "nearest to their limit, the nearest first"),
    ],
)
def test_kubectl_explain_explains(admin: Client, path: str, sentence: str) -> None:
    assert sentence in " ".join(admin.kubectl("explain", path).split())


@pytest.mark.parametrize("kind", sorted(PREFIX))
def test_every_field_has_a_description_in_what_the_server_publishes(admin: Client, kind: str) -> None:
    published = admin.get(f"/openapi/v3/apis/{API}").expect()["components"]["schemas"]
    schema = published[f"dev.tollway.v1alpha1.{kind}"]
    named = list(fields(schema, kind))
    assert len(named) >= 30
    assert [at for at, part in named if not part.get("description")] == []


def fields(schema: dict[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{at}.{name}", inner
        yield from fields(inner.get("items", inner), f"{at}.{name}")


# --- the schema on a real server -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(PREFIX))
def test_the_schema_is_structural_and_within_the_servers_budget_for_rules(admin: Client, kind: str) -> None:
    name = crds()[kind]["metadata"]["name"]
    status = admin.get(path_of("apiextensions.k8s.io/v1", "CustomResourceDefinition", name=name)).expect()["status"]
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize(("content", "status"), EACH, ids=lambda value: value.get("kind", "status"))
def test_every_field_of_a_status_is_kept_and_used_here(admin: Client, content: Any, status: dict[str, Any]) -> None:
    assert with_status(admin, content, status).expect()["status"] == status
    named = {name for _, part in parts(schema_of(content["kind"])["properties"]["status"], "") for name in names(part)}
    assert named - {"observedGeneration"} == keys(status) - {"observedGeneration"}


def names(part: dict[str, Any]) -> Iterator[str]:
    yield from part.get("properties", {})


def keys(value: Any) -> set[str]:
    return {key for container, key in places(value) if isinstance(container, dict)}


def test_a_condition_that_stands_twice_is_refused(admin: Client) -> None:
    answer = with_status(admin, QUOTA, {"conditions": [condition("Accepted"), condition("Accepted", "False")]})
    assert answer.status == 422
    assert 'Duplicate value: {"type":"Accepted"}' in answer.message


def test_who_writes_the_object_does_not_write_its_status(admin: Client) -> None:
    with_status(admin, QUOTA, QUOTA_STATUS).expect()
    made = admin.apply(QUOTA).expect()
    where = path_of(API, "AIQuota", NAMESPACE, "research")
    changed = admin.send("PUT", where, {**made, "status": {"matched": {"agents": 999}}}).expect()
    assert changed["status"] == QUOTA_STATUS


# --- what must not change ------------------------------------------------------------------------------------------


def changed(admin: Client, content: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> Answer:
    admin.apply(content).expect()
    where = path_of(API, content["kind"], NAMESPACE, content["metadata"]["name"])
    current = admin.get(where).expect()
    change(current["spec"])
    return admin.send("PUT", where, current, dryRun="All")


@pytest.mark.parametrize(
    ("content", "change"),
    [
        (IDENTITY, lambda spec: spec.update(serviceAccountName="other")),
        (
            IDENTITY,
            lambda spec: (spec.pop("serviceAccountName"), spec.update(selector={"matchLabels": {"app": "researcher"}})),
        ),
        (
            thing("AgentIdentity", "by-labels", selector={"matchLabels": {"app": "a"}}),
            lambda spec: spec.update(serviceAccountName="a"),
        ),
    ],
    ids=["changed", "removed", "added"],
)
def test_the_service_account_of_an_identity_cannot_be_changed_as_it_is_part_of_the_spiffe_id(
    admin: Client, content: dict[str, Any], change: Callable[[dict[str, Any]], object]
) -> None:
    answer = changed(admin, content, change)
    assert answer.status == 422
    assert "spec.serviceAccountName" in answer.message
    assert "is part of the SPIFFE ID" in answer.message
    assert "make another AgentIdentity" in answer.message


def test_the_type_of_a_provider_cannot_be_changed(admin: Client) -> None:
    answer = changed(admin, PROVIDER, lambda spec: spec.update(type="Anthropic"))
    assert answer.status == 422
    assert "spec.type" in answer.message
    assert "make another AIProvider" in answer.message


@pytest.mark.parametrize(
    ("content", "change"),
    [
        (IDENTITY, lambda spec: spec.update(suspended=True, selector={"matchLabels": {"app": "b"}}, capture="None")),
        (IDENTITY, lambda spec: spec["svid"].update(ttl="2h", delivery="Secret", keyType="ECDSAP384")),
        (PROVIDER, lambda spec: spec.update(default=False, endpoint="https://proxy.example", region="eu")),
        (QUOTA, lambda spec: spec["limits"][0].update(cost="1.00")),
        (QUOTA, lambda spec: spec.update(limits=[{"name": "daily", "requests": 1, "window": "1m"}], per=["Agent"])),
    ],
    ids=["identity", "svid", "provider", "amount", "counter"],
)
def test_everything_else_can_be_changed(
    admin: Client, content: dict[str, Any], change: Callable[[dict[str, Any]], object]
) -> None:
    answer = changed(admin, content, change)
    assert answer.ok, answer.message

"""What a set of resources needs on this machine, at a given time."""

from dataclasses import replace

import pytest

from tollway.pricing.data import default_book
from tollway.resources.models import (
    ROOT_NAMESPACE,
    AgentIdentity,
    AIProvider,
    Capture,
    Endpoint,
    KeyType,
    Meta,
    Namespace,
    ProviderType,
    ResourceSet,
    Secret,
    SecretKeyRef,
    Selector,
    SVIDSpec,
)
from tollway_cli.standalone.plan import (
    GATEWAY,
    Access,
    Holding,
    access,
    credentials,
    plan,
    without_removed,
)

NOW = 1_764_000_000_000
DOMAIN = "cluster.local"
RESEARCHER_ID = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
GATEWAY_ID = "spiffe://cluster.local/ns/tollway-system/sa/tollway-gateway"
RENEWED_LATER = Holding(RESEARCHER_ID, KeyType.ECDSA_P256, NOW - 1, NOW + 1, NOW + 2)
GATEWAY_HOLDS = Holding(GATEWAY_ID, KeyType.ECDSA_P256, NOW - 1, NOW + 1, NOW + 2)


def agent(name: str = "researcher", **more: object) -> AgentIdentity:
    return replace(AgentIdentity(Meta(name, "team-a"), Selector({})), **more)  # type: ignore[arg-type]


def provider(name: str, **more: object) -> AIProvider:
    base = AIProvider(Meta(name), ProviderType.OPENAI, Endpoint(tls=True, host="api.example.com", port=443))
    return replace(base, **more)  # type: ignore[arg-type]


def issued(resources: ResourceSet, **held: Holding) -> list[str]:
    holdings = {key.replace("__", "/").replace("_", "-"): holding for key, holding in held.items()}
    return [request.key for request in plan(resources, holdings, DOMAIN, NOW).issue]


def test_at_first_everybody_gets_an_svid_and_every_agent_a_sidecar() -> None:
    found = plan(ResourceSet(agents=(agent("b"), agent("a"))), {}, DOMAIN, NOW)
    assert [request.key for request in found.issue] == [GATEWAY, "team-a/b", "team-a/a"]
    assert found.issue[0].spiffe_id == GATEWAY_ID
    assert found.sidecars == ("team-a/a", "team-a/b")


@pytest.mark.parametrize(
    ("account", "expected"),
    [(None, RESEARCHER_ID), ("bot", "spiffe://cluster.local/ns/team-a/sa/bot/agent/researcher")],
    ids=["its own name", "the one it names"],
)
def test_an_identity_s_service_account_is(account: str | None, expected: str) -> None:
    found = plan(ResourceSet(agents=(agent(service_account=account),)), {}, DOMAIN, NOW)
    assert found.issue[1].spiffe_id == expected


def test_an_svid_is_made_as_its_identity_says() -> None:
    spec = SVIDSpec(ttl_ms=7_200_000, key_type=KeyType.ECDSA_P384)
    request = plan(ResourceSet(agents=(agent(svid=spec),)), {}, DOMAIN, NOW).issue[1]
    assert (request.ttl_ms, request.key_type) == (7_200_000, KeyType.ECDSA_P384)


@pytest.mark.parametrize(
    ("holding", "is_issued"),
    [
        (RENEWED_LATER, False),
        (replace(RENEWED_LATER, renew_at=NOW), True),
        (replace(RENEWED_LATER, not_before=NOW + 1), True),
        (replace(RENEWED_LATER, key_type=KeyType.ECDSA_P384), True),
        (replace(RENEWED_LATER, spiffe_id=RESEARCHER_ID + "2"), True),
    ],
    ids=["not due", "due", "not valid yet", "another key type", "another service account"],
)
def test_an_svid_is_issued_again_when(holding: Holding, is_issued: bool) -> None:
    keys = issued(ResourceSet(agents=(agent(),)), gateway=GATEWAY_HOLDS, team_a__researcher=holding)
    assert keys == (["team-a/researcher"] if is_issued else [])


def test_a_suspended_agent_gets_no_svid_also_when_its_own_ends() -> None:
    resources = ResourceSet(agents=(agent(suspended=True),))
    due = replace(RENEWED_LATER, renew_at=NOW - 1)
    assert issued(resources, gateway=GATEWAY_HOLDS) == []
    assert issued(resources, gateway=GATEWAY_HOLDS, team_a__researcher=due) == []


def test_the_sidecar_of_a_suspended_agent_runs_on_with_the_svid_it_has() -> None:
    resources = ResourceSet(agents=(agent(suspended=True),))
    assert plan(resources, {"team-a/researcher": RENEWED_LATER}, DOMAIN, NOW).sidecars == ("team-a/researcher",)
    assert plan(resources, {}, DOMAIN, NOW).sidecars == ()
    other = replace(RENEWED_LATER, spiffe_id=RESEARCHER_ID + "2")
    assert plan(resources, {"team-a/researcher": other}, DOMAIN, NOW).sidecars == ()


def test_what_is_removed_is_refused_before_envoy_forgets_it() -> None:
    before = ResourceSet(agents=(agent("a"), agent("b")), providers=(provider("x"), provider("y")))
    changed = replace(provider("y"), region="eu")
    after = ResourceSet(agents=(agent("b"), agent("c")), providers=(changed, provider("z")))
    between = without_removed(before, after)
    assert [one.meta.name for one in between.agents] == ["b"]
    assert between.providers == (provider("y"),)


@pytest.mark.parametrize(
    ("providers", "chosen"),
    [
        ((provider("b"), provider("a")), "a"),
        ((provider("a"), provider("b", default=True)), "b"),
        ((provider("a", type=ProviderType.OPENAI_COMPATIBLE), provider("b")), "b"),
    ],
    ids=["the first by name", "the marked one", "OpenAI before what is compatible"],
)
def test_the_sdk_s_variable_names(providers: tuple[AIProvider, ...], chosen: str) -> None:
    variables = reach(ResourceSet(providers=providers), agent()).env
    assert variables["OPENAI_BASE_URL"] == f"http://127.0.0.1:15001/{chosen}/v1"


def test_a_key_is_taken_from_the_root_namespace_only() -> None:
    reference = SecretKeyRef("openai-key", "api-key")
    declared = ResourceSet(
        providers=(provider("a", credential=reference), provider("b", credential=SecretKeyRef("openai-key", "none"))),
        secrets=(
            Secret(Meta("openai-key", "team-a"), {"api-key": b"theirs", "none": b"theirs"}),
            Secret(Meta("openai-key", ROOT_NAMESPACE), {"api-key": b"ours"}),
        ),
    )
    assert credentials(declared) == {"a": b"ours"}


def reach(resources: ResourceSet, one: AgentIdentity) -> Access:
    return access(resources, one, 15001, DOMAIN, default_book())


def test_an_agent_reaches_the_providers_that_are_open_to_its_namespace() -> None:
    closed = provider("closed", namespaces=Selector({"tier": "gold"}))
    by_name = provider("by-name", namespaces=Selector({"kubernetes.io/metadata.name": "team-a"}))
    undescribed = provider("vertex", type=ProviderType.VERTEX)
    resources = ResourceSet(agents=(agent(),), providers=(by_name, closed, undescribed))
    assert reach(resources, agent()).base_urls == {"by-name": "http://127.0.0.1:15001/by-name/v1"}
    gold = replace(resources, namespaces=(Namespace(Meta("team-a", labels={"tier": "gold"})),))
    assert reach(gold, agent()).base_urls.keys() == {"by-name", "closed"}


def test_the_variables_are_those_of_the_default_provider_and_an_uncaptured_agent_gets_none() -> None:
    resources = ResourceSet(providers=(provider("a"), provider("b", default=True)))
    assert reach(resources, agent()).env["OPENAI_BASE_URL"] == "http://127.0.0.1:15001/b/v1"
    uncaptured = reach(resources, agent(capture=Capture.NONE))
    assert uncaptured.env == {}
    assert uncaptured.base_urls.keys() == {"a", "b"}

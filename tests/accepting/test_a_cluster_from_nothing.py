"""One cluster from nothing, as whoever runs it sees it: an API server, the operator and the gateway's pod as processes
with the rights of the chart, a real Envoy, real certificates, real calls.

The tests are one story in order. What happens on the way there is shown elsewhere: `operating`, `keeping`, `reporting`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import TrustDomain, X509Bundle, X509Svid

from clusters import Cluster, path_of, running_cluster
from keeping.gateways import (
    CHAT,
    ENFORCED,
    TEAM,
    Agent,
    Called,
    Gateway,
    Load,
    gateway_in_a_cluster,
    provider,
    quota,
    within,
)
from operating.operators import TOLLWAY, agent, condition, status, wait_for
from operating.pods import CERTIFICATES, Node

PODS = "team-pods"
REFUSED_WITHIN_S = 30.0
PATIENCE_S = 60.0
MESSAGES = "/second/v1/messages"
ANTHROPIC: Final = {
    "model": "claude-haiku-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}

Json = Any


@pytest.fixture(scope="module")
def cluster(kube_binaries: Mapping[str, str]) -> Iterator[Cluster]:
    with running_cluster(kube_binaries) as cluster:
        cluster.install_crds()
        yield cluster


@pytest.fixture(scope="module")
def gateway(cluster: Cluster) -> Iterator[Gateway]:
    cluster.namespace(PODS, **ENFORCED)
    with gateway_in_a_cluster(cluster) as gateway:
        gateway.apply(quota("search", PODS, agents={"matchLabels": {"team": "search"}}))
        yield gateway


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Node:
    return Node(cluster, "node-1")


def says(gateway: Gateway, kind: str, name: str, namespace: str | None = None) -> Mapping[str, tuple[str, str]]:
    """The conditions of an object by their types."""
    found = status(gateway.admin, kind, name, namespace)
    return {each["type"]: condition(found, each["type"]) for each in found.get("conditions", ())}


def trusted(gateway: Gateway) -> bytes:
    bundle = path_of(CERTIFICATES, "ClusterTrustBundle", name="tollway.dev:agent:bundle")
    return str(gateway.admin.get(bundle).expect()["spec"]["trustBundle"]).encode()


def in_a_pod(gateway: Gateway, node: Node, name: str) -> tuple[Agent, str]:
    """An agent that calls with what a kubelet of its node would have got for a pod of it, and its SPIFFE ID."""
    gateway.cluster.service_account(PODS, name)
    gateway.apply(agent(name, PODS))
    # A pod that is made first is signed for as whatever it is by then.
    wait_for(lambda: says(gateway, "AgentIdentity", name, PODS).get("Accepted"), "the operator does not see it")
    key = ec.generate_private_key(ec.SECP256R1())
    chain = node.answer(PODS, node.ask(node.pod(PODS, name, name), key))["certificateChain"].encode()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    svid = X509Svid.parse(chain, pem)
    leaf, issuer = svid.cert_chain
    [root] = X509Bundle.parse(TrustDomain("cluster.local"), trusted(gateway)).x509_authorities
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    return Agent(gateway.pod.port, {"tls.crt": chain, "tls.key": pem, "ca.crt": trusted(gateway)}), str(svid.spiffe_id)


def rows(gateway: Gateway, *asked: str) -> dict[str, dict[str, str]]:
    """What kubectl prints, by name and by the titles of its columns."""
    titles, *lines = gateway.admin.kubectl("get", *asked).splitlines()
    starts = [each.start() for each in re.finditer(r"\S+", titles)]
    ends = [*starts[1:], None]
    cells = [[line[begin:end].strip() for begin, end in zip(starts, ends, strict=True)] for line in lines]
    return {row[0]: dict(zip(titles.split(), row, strict=True)) for row in cells}


def holds_soon(holds: Callable[[], bool]) -> None:
    within(PATIENCE_S, holds)


def test_every_condition_becomes_good_once_the_gateway_runs_what_was_declared(gateway: Gateway) -> None:
    expected = {
        ("AIProvider", "openai", None): ("Accepted", "CredentialReady", "Programmed"),
        ("AgentIdentity", "researcher", TEAM): ("Accepted", "Issued", "Ready"),
        ("AIQuota", "everybody", TEAM): ("Accepted", "Enforced"),
    }
    for (kind, name, namespace), good in expected.items():

        def are_good(kind: str = kind, name: str = name, namespace: str | None = namespace) -> bool:
            found = says(gateway, kind, name, namespace)
            return all(found.get(each, ("", ""))[0] == "True" for each in good)  # noqa: B023

        wait_for(are_good, f"{kind} {name} is not {', '.join(good)}")
    assert says(gateway, "AIQuota", "everybody", TEAM)["Exceeded"] == ("False", "WithinLimits")
    shown = rows(gateway, "aid", "-n", TEAM)["researcher"]
    assert shown["SPIFFE-ID"] == f"spiffe://cluster.local/ns/{TEAM}/sa/researcher/agent/researcher"
    assert (shown["DELIVERY"], shown["READY"]) == ("Secret", "True")


def test_the_gateway_serves_a_pod_with_the_very_certificate_that_its_kubelet_got(gateway: Gateway, node: Node) -> None:
    writer, spiffe_id = in_a_pod(gateway, node, "writer")
    assert spiffe_id == f"spiffe://cluster.local/ns/{PODS}/sa/writer/agent/writer"
    holds_soon(lambda: writer.call().status == 200)
    [call] = [each for each in gateway.pod.admin("/ledger")["calls"] if each["agent"] == spiffe_id][:1]
    assert call["provider"] == "openai"
    writer.close()


def test_a_wrong_request_is_denied_with_its_reason(gateway: Gateway, node: Node) -> None:
    pod, key = node.pod(PODS, "writer", "writer"), ec.generate_private_key(ec.SECP256R1())
    answer = node.answer(PODS, node.ask(pod, key, unverifiedUserAnnotations={"tollway.dev/agent": "researcher"}))
    [denied] = answer["conditions"]
    assert (denied["type"], denied["reason"]) == ("Denied", "InvalidUnverifiedUserAnnotations")
    assert "remove them" in denied["message"]
    assert "certificateChain" not in answer


def test_kubectl_shows_what_was_used_by_these_calls(gateway: Gateway) -> None:
    def shown() -> Mapping[str, str]:
        return rows(gateway, "aiq", "-n", PODS)["search"]

    holds_soon(lambda: shown()["USED"] not in {"", "0.00"})
    assert (shown()["TIGHTEST"], shown()["LIMIT"]) == ("budget", "1000.00")
    assert 0 < float(shown()["USED"]) < 1


def test_the_next_call_carries_a_key_that_was_rotated(gateway: Gateway) -> None:
    calling = gateway.agent("researcher")
    gateway.declare_key("sk-rotated")
    holds_soon(lambda: calling.call().status == 200 and gateway.keys_served[-1] == "sk-rotated")


def test_a_provider_that_is_made_anew_as_another_type_is_never_decided_by_what_envoy_does_not_run(
    gateway: Gateway,
) -> None:
    asking, answers = gateway.agent("researcher"), list[Called]()

    def speaks(path: str, asked: Json) -> bool:
        answers.append(asking.call(path, asked))
        return answers[-1].status == 200

    gateway.declare_provider("second")
    openai = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    holds_soon(lambda: speaks(CHAT.replace("openai", "second"), openai))
    with Load(gateway.agent("researcher")) as load:
        gateway.delete("AIProvider", "second", None)
        gateway.apply(provider("second", gateway.provider.endpoint, type="Anthropic"))
        holds_soon(lambda: speaks(MESSAGES, ANTHROPIC))
        load.has_gone_on()
    assert load.failures == []
    # It is the one, none, or the other.
    assert {each.reason for each in answers} <= {"", "operation.unknown", "provider.unknown"}
    assert {each.status for each in answers} == {200, 404}
    assert len(set(gateway.keys_served[-len(answers) :])) == 1, "a call came without its key"
    gateway.delete("AIProvider", "second", None)


def test_an_agent_of_other_labels_is_counted_by_other_quotas_on_its_open_connection(
    gateway: Gateway, node: Node
) -> None:
    moving, _ = in_a_pod(gateway, node, "moving")
    holds_soon(lambda: moving.call().status == 200)

    def label(team: str) -> None:
        gateway.patch("AgentIdentity", "moving", {"metadata": {"labels": {"team": team}}}, PODS)

    label("elsewhere")
    within(REFUSED_WITHIN_S, lambda: moving.call().reason == "quota.none")
    theirs, nothing = {"matchLabels": {"team": "elsewhere"}}, {"name": "tpd", "tokens": 0, "window": "Day"}
    gateway.apply(quota("elsewhere", PODS, agents=theirs, limits=[nothing]))
    within(REFUSED_WITHIN_S, lambda: moving.call().reason == "quota.tokens.spent")
    label("search")
    within(REFUSED_WITHIN_S, lambda: moving.call().status == 200)
    assert moving.connections == 1
    moving.close()


def test_a_pod_of_other_labels_is_another_agent_with_its_next_certificate(gateway: Gateway, node: Node) -> None:
    """And the admission policies let nobody change them while it has the present one."""
    pod, key = node.pod(PODS, "writer", "writer"), ec.generate_private_key(ec.SECP256R1())
    where = path_of("v1", "Pod", PODS, pod["metadata"]["name"])
    patch = {"metadata": {"labels": {"app": "nobody"}}}
    gateway.admin.send("PATCH", where, patch, "application/merge-patch+json").expect()

    def named() -> str:
        chain = node.answer(PODS, node.ask(pod, key))["certificateChain"].encode()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return str(X509Svid.parse(chain, pem).spiffe_id)

    holds_soon(lambda: named() == f"spiffe://cluster.local/ns/{PODS}/sa/writer")


def test_R06_an_agent_that_is_deleted_while_no_operator_runs_is_refused_and_the_others_go_on(
    gateway: Gateway, node: Node
) -> None:
    leaving, _ = in_a_pod(gateway, node, "leaving")
    holds_soon(lambda: leaving.call().status == 200)
    gateway.operator.kill()
    try:
        with Load(gateway.agent("researcher")) as load:
            gateway.delete("AgentIdentity", "leaving", PODS)
            within(REFUSED_WITHIN_S, lambda: leaving.call().reason == "identity.unknown")
            load.has_gone_on()
        assert load.failures == []
        assert leaving.connections == 1
    finally:
        gateway.operator.start_again()
        leaving.close()
    wait_for(lambda: gateway.operator.asked("/readyz")[0] == 200, "the operator does not come back")
    assert gateway.admin.get(path_of(TOLLWAY, "AgentIdentity", PODS, "leaving")).status == 404


def test_without_an_api_server_calls_go_on_and_are_counted(gateway: Gateway) -> None:
    before = len(gateway.keys_served)
    with Load(gateway.agent("researcher")) as load:
        gateway.cluster.kill("kube-apiserver")
        load.has_gone_on(60)
        gateway.cluster.start_api_server()
        load.has_gone_on()
    assert load.failures == []
    assert len(gateway.keys_served) - before == load.calls
    holds_soon(lambda: says(gateway, "AIQuota", "everybody", TEAM)["Enforced"] == ("True", "Enforced"))

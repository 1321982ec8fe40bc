"""The gateway in a cluster, as processes with the chart's rights: what changes on the API server is in force."""

import json
from collections.abc import Iterator, Mapping

import pytest
from cryptography import x509

from clusters import Client, Cluster, path_of, running_cluster
from keeping.gateways import ENFORCED, ROOT, TEAM, Called, Gateway, Load, gateway_in_a_cluster, grant, quota, within
from operating.operators import agent, wait_for

REFUSED_WITHIN_S = 30.0
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def own_cluster(kube_binaries: Mapping[str, str]) -> Iterator[Cluster]:
    """Its API server is killed in the end."""
    with running_cluster(kube_binaries) as cluster:
        cluster.install_crds()
        yield cluster


@pytest.fixture(scope="module")
def gateway(own_cluster: Cluster) -> Iterator[Gateway]:
    with gateway_in_a_cluster(own_cluster) as gateway:
        yield gateway


def generation(gateway: Gateway) -> int:
    """That of the rules by which extauthz decides."""
    return int(gateway.pod.admin("/status")["generation"])


def test_a_call_with_the_svid_of_an_agent_is_granted_and_carries_the_providers_key(gateway: Gateway) -> None:
    assert gateway.agent("researcher").call().status == 200
    assert gateway.keys_served[-1] == "sk-first"


def test_a_provider_is_added_and_removed_under_load_without_a_failed_call(gateway: Gateway) -> None:
    asking, answers = gateway.agent("researcher"), list[Called]()

    def answered(status: int) -> bool:
        answers.append(asking.call("/second/v1/chat/completions"))
        return answers[-1].status == status

    with Load(gateway.agent("researcher")) as load:
        gateway.declare_provider("second")
        within(PATIENCE_S, lambda: answered(200))
        load.has_gone_on()
        gateway.delete("AIProvider", "second", None)
        within(PATIENCE_S, lambda: answered(404))
        config = gateway.pod.folder / "etc/tollway/config"
        within(PATIENCE_S, lambda: answered(404) and b"/second/" not in (config / "rds.json").read_bytes())
        load.has_gone_on()
        assert answered(404)
    assert load.failures == []
    # It is open or it is not: nobody ever falls between the decision and Envoy.
    assert {(each.status, each.reason) for each in answers} == {(200, ""), (404, "provider.unknown")}


def test_a_key_that_is_rotated_is_that_of_the_next_calls(gateway: Gateway) -> None:
    calling = gateway.agent("researcher")
    with Load(gateway.agent("researcher")) as load:
        gateway.declare_key("sk-second")
        within(PATIENCE_S, lambda: calling.call().status == 200 and gateway.keys_served[-1] == "sk-second")
        already = len(gateway.keys_served)
        load.has_gone_on()
    assert load.failures == []
    assert set(gateway.keys_served[already + 1 :]) == {"sk-second"}


def test_the_gateways_svid_is_renewed_under_load_without_a_failed_call(gateway: Gateway) -> None:
    looking, before = gateway.agent("researcher"), gateway.files("tollway-gateway-svid")["tls.crt"]
    with Load(gateway.agent("researcher")) as load:
        gateway.admin.send("DELETE", path_of("v1", "Secret", ROOT, "tollway-gateway-svid")).expect()
        wait_for(lambda: gateway.files("tollway-gateway-svid")["tls.crt"] != before, "it is not issued anew")
        renewed = x509.load_pem_x509_certificates(gateway.files("tollway-gateway-svid")["tls.crt"])[0]
        within(PATIENCE_S, lambda: looking.serial_of_the_gateway() == renewed.serial_number)
        load.has_gone_on()
    assert load.failures == []


@pytest.mark.parametrize(
    ("name", "undo", "reason"),
    [
        ("stopped", {"spec": {"suspended": True}}, "identity.suspended"),
        ("deleted", None, "identity.unknown"),
    ],
)
def test_an_agent_is_refused_on_its_open_connection_once_it_is(
    gateway: Gateway, name: str, undo: Mapping[str, object] | None, reason: str
) -> None:
    gateway.declare_agent(name)
    calling = gateway.agent(name)
    within(PATIENCE_S, lambda: calling.call().status == 200)
    if undo is None:
        gateway.delete("AgentIdentity", name)
    else:
        gateway.patch("AgentIdentity", name, undo)
    within(REFUSED_WITHIN_S, lambda: calling.call().reason == reason)
    assert calling.connections == 1


def test_the_agents_of_a_namespace_are_refused_while_it_is_not_enforced(gateway: Gateway) -> None:
    calling = gateway.agent("researcher")
    assert calling.call().status == 200
    gateway.patch("Namespace", TEAM, {"metadata": {"labels": {"tollway.dev/enforce": None}}}, None, "v1")
    within(REFUSED_WITHIN_S, lambda: calling.call().reason == "identity.unenforced")
    gateway.patch("Namespace", TEAM, {"metadata": {"labels": ENFORCED}}, None, "v1")
    within(REFUSED_WITHIN_S, lambda: calling.call().status == 200)
    assert calling.connections == 1


def test_a_quota_is_in_force_and_goes_again(gateway: Gateway) -> None:
    calling = gateway.agent("researcher")
    gateway.apply(quota("nothing", limits=[{"name": "calls", "requests": 0, "window": "Day"}]))
    within(PATIENCE_S, lambda: calling.call().reason == "quota.requests.spent")
    gateway.delete("AIQuota", "nothing")
    within(PATIENCE_S, lambda: calling.call().status == 200)


def test_a_status_that_is_written_makes_no_new_rules(gateway: Gateway) -> None:
    before = generation(gateway)
    path = path_of("tollway.dev/v1alpha1", "AgentIdentity", TEAM, "researcher") + "/status"
    status = {"status": {"spiffeID": "spiffe://cluster.local/whatever"}}
    gateway.admin.send("PATCH", path, status, "application/merge-patch+json").expect()
    # What is seen after it was made after it.
    gateway.apply(quota("afterwards", limits=[{"name": "calls", "requests": 1_000_000, "window": "Day"}]))
    within(PATIENCE_S, lambda: generation(gateway) > before)
    assert generation(gateway) == before + 1


def test_a_keeper_that_was_killed_goes_on_where_it_was_and_nobody_notices(gateway: Gateway) -> None:
    pod, before = gateway.pod, generation(gateway)
    with Load(gateway.agent("researcher")) as load:
        pod.keeper.kill()
        load.has_gone_on()
        gateway.declare_agent("meanwhile")
        pod.keeper.start()
        wait_for(lambda: pod.asks("/readyz"), "the keeper is not ready")
        calling = gateway.agent("meanwhile")
        within(PATIENCE_S, lambda: calling.call().status == 200)
        load.has_gone_on()
    assert load.failures == []
    assert generation(gateway) > before


def test_what_envoy_refuses_is_taken_back_and_the_rest_is_in_force_all_the_same(gateway: Gateway) -> None:
    path = path_of("v1", "ConfigMap", ROOT, "tollway-gateway")
    routes = json.loads(gateway.admin.get(path).expect()["data"]["rds.json"])
    routes["resources"][0]["virtualHosts"][0]["routes"][0]["match"] = {}
    bad = json.dumps(routes | {"versionInfo": "bad"})
    gateway.operator.pause()
    try:
        with Load(gateway.agent("researcher")) as load:
            said = gateway.pod.keeper.said().count("Envoy refused it")
            gateway.patch("ConfigMap", "tollway-gateway", {"data": {"rds.json": bad}}, ROOT, "v1")
            wait_for(lambda: gateway.pod.keeper.said().count("Envoy refused it") > said, "nothing is said")
            gateway.patch("AgentIdentity", "researcher", {"metadata": {"labels": {"seen": "yes"}}})
            wait_for(lambda: any(a["meta"]["labels"].get("seen") for a in in_rules(gateway, "agents")), "not seen")
            load.has_gone_on()
        assert load.failures == []
        assert gateway.pod.asks("/readyz")
    finally:
        gateway.operator.go_on()
    wait_for(lambda: gateway.admin.get(path).expect()["data"]["rds.json"] != bad, "the operator does not mend it")


def in_rules(gateway: Gateway, kind: str) -> list[dict[str, dict[str, dict[str, str]]]]:
    found = gateway.pod.rules["resources"][kind]
    assert isinstance(found, list)
    return found


def test_the_account_reads_what_it_needs_and_no_other_secret(gateway: Gateway) -> None:
    account: Client = grant(gateway.cluster)
    secrets = path_of("v1", "Secret", ROOT)
    assert account.get(secrets, fieldSelector="metadata.name=tollway-gateway-svid").ok
    assert account.get(secrets).status == 403
    assert account.get(secrets, fieldSelector="metadata.name=openai-key").status == 403
    assert account.get(secrets + "/tollway-ca").status == 403
    assert account.get(path_of("v1", "ConfigMap", ROOT)).status == 403
    assert account.create(agent("mine", TEAM)).status == 403


def test_calls_are_served_without_an_api_server_and_changes_are_seen_once_it_is_back(gateway: Gateway) -> None:
    pod = gateway.pod
    with Load(gateway.agent("researcher")) as load:
        gateway.cluster.kill("kube-apiserver")
        wait_for(lambda: "cannot be followed" in pod.keeper.said(), "the keeper does not notice")
        load.has_gone_on(60)
        assert pod.asks("/readyz")
        # Not even one that starts anew needs it.
        pod.keeper.kill()
        pod.keeper.start()
        wait_for(lambda: pod.asks("/readyz"), "the keeper is not ready")
        load.has_gone_on()
        gateway.cluster.start_api_server()
        gateway.patch("AgentIdentity", "researcher", {"metadata": {"labels": {"back": "yes"}}})
        wait_for(lambda: any(a["meta"]["labels"].get("back") for a in in_rules(gateway, "agents")), "not seen")
        load.has_gone_on()
    assert load.failures == []

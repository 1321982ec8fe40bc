"""What probes and scrapes of the operator say."""

import time
from collections.abc import Iterator

import pytest

from clusters import Cluster, path_of
from operating.operators import Running, agent, condition, install, operating, status, wait_for
from tollway_operator.metrics import Metrics, Standing, resource_of

ROOT, TEAM = "tollway-health", "health-team"
PREFIX = "tollway_operator_"


@pytest.fixture(scope="module")
def operator(cluster: Cluster) -> Iterator[Running]:
    account = install(cluster, ROOT, (TEAM,))
    with operating(account, ROOT, TOLLWAY_SECRET_NAMESPACES=TEAM) as running:
        yield running


def test_it_lives_before_it_is_ready_and_is_ready_when_everything_is_listed(operator: Running) -> None:
    wait_for(lambda: operator.asked("/healthz") == (200, "ok\n"), "it does not live")
    wait_for(lambda: operator.asked("/readyz") == (200, "leads\n"), "it does not become ready")
    assert operator.metric(f"{PREFIX}listings_total") >= 1


def test_metrics_say_what_it_did_and_how_it_stands(cluster: Cluster, operator: Running) -> None:
    admin = cluster.admin
    wait_for(lambda: operator.asked("/readyz")[0] == 200, "it does not become ready")
    wait_for(lambda: admin.get(path_of("v1", "Secret", ROOT, "tollway-gateway-svid")).ok, "no SVID")
    before = operator.metric(f"{PREFIX}svids_issued_total", delivery="Secret")
    admin.create(agent("counted", TEAM, svid={"delivery": "Secret"})).expect()
    wait_for(lambda: condition(status(admin, "AgentIdentity", "counted", TEAM), "Ready")[0] == "True", "not ready")
    assert operator.metric(f"{PREFIX}svids_issued_total", delivery="Secret") == before + 1
    assert operator.metric(f"{PREFIX}leads") == 1
    assert operator.metric(f"{PREFIX}reconciles_total", topic="agents", outcome="done") >= 1
    made = {"verb": "POST", "kind": "secrets", "code": "201"}
    assert operator.metric(f"{PREFIX}api_requests_total", **made) >= 2
    assert 0 < operator.metric(f"{PREFIX}earliest_expiry_seconds") - time.time() <= 3_700
    assert operator.metric(f"{PREFIX}seconds_since_listing") < 600
    assert operator.metric("process_resident_memory_bytes") > 0


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/namespaces/team/secrets/tollway-svid-a", "secrets"),
        ("/api/v1/namespaces?limit=250", "namespaces"),
        ("/api/v1/namespaces/team", "namespaces"),
        ("/apis/tollway.dev/v1alpha1/namespaces/team/agentidentities/a/status?force=true", "agentidentities/status"),
        ("/apis/tollway.dev/v1alpha1/aiproviders", "aiproviders"),
        ("/apis/coordination.k8s.io/v1/namespaces/root/leases/tollway-operator", "leases"),
        ("/apis/tollway.dev/v1alpha1", "discovery"),
        ("/api/v1", "discovery"),
    ],
)
def test_requests_are_counted_by_kind_and_never_by_name(path: str, resource: str) -> None:
    assert resource_of(path) == resource


def test_what_is_not_known_is_not_shown_as_a_number() -> None:
    text = Metrics().text(Standing(False, True, 0.0, None, None)).decode()
    assert f"{PREFIX}leads 0.0" in text
    assert "earliest_expiry" not in text
    assert "since_listing" not in text

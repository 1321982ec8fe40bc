"""What the operator keeps for the injector, and for namespaces whose egress is strict, on a real API server."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from clusters import Client, Cluster, path_of, until
from injecting.injectors import injecting, install, webhook
from operating.operators import ENFORCED, operating
from operating.operators import install as install_operator
from tollway_operator.names import EGRESS, INJECTOR, INJECTOR_TLS
from tollway_operator.reconciling.egress import egress_spec
from tollway_operator.reconciling.snapshot import Installation

ROOT = "keeping-root"
WEBHOOK = path_of("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", name=INJECTOR)
SECRET = path_of("v1", "Secret", ROOT, INJECTOR_TLS)
URL = "https://tollway-injector.keeping-root.svc/inject"

Json = Any


@pytest.fixture(scope="module")
def operated(cluster: Cluster) -> Iterator[Cluster]:
    cluster.install_crds()
    account = install_operator(cluster, ROOT)
    cluster.admin.apply(webhook(url=URL)).expect()
    try:
        with operating(account, ROOT, TOLLWAY_EGRESS_EXTRAS="10.20.0.0/16"):
            yield cluster
    finally:
        cluster.admin.send("DELETE", WEBHOOK)


def kept(admin: Client) -> dict[str, bytes]:
    answer = admin.get(SECRET)
    data = answer.body["data"] if answer.ok else {}
    return {name: base64.b64decode(value) for name, value in data.items()}


def trusted(admin: Client) -> bytes:
    return base64.b64decode(admin.get(WEBHOOK).expect()["webhooks"][0]["clientConfig"].get("caBundle", ""))


def test_what_the_webhook_shows_is_what_the_api_server_trusts(operated: Cluster) -> None:
    admin = operated.admin
    until(lambda: kept(admin).get("ca.crt") and kept(admin)["ca.crt"] == trusted(admin), "nothing is kept", 60)
    with injecting(install(operated, ROOT)) as injector:
        injector.show_files(kept(admin))
        name = f"{INJECTOR}.{ROOT}.svc"
        until(lambda: injector.shows(trusted(admin), name), "what is shown is not trusted")
        assert not injector.shows(trusted(admin), "localhost")


def test_trust_that_somebody_took_away_is_put_back_and_the_rest_is_the_charts(operated: Cluster) -> None:
    admin = operated.admin
    until(lambda: kept(admin).get("ca.crt") and kept(admin)["ca.crt"] == trusted(admin), "nothing is kept", 60)
    admin.apply(webhook(url=URL, caBundle=base64.b64encode(kept(admin)["tls.crt"] * 2).decode())).expect()
    until(lambda: kept(admin)["ca.crt"] == trusted(admin), "the trust is not put back", 60)
    [hook] = admin.get(WEBHOOK).expect()["webhooks"]
    assert (hook["failurePolicy"], hook["clientConfig"]["url"]) == ("Fail", URL)
    assert hook["namespaceSelector"] == {"matchLabels": ENFORCED}


def test_a_certificate_that_is_removed_is_made_anew_and_trusted(operated: Cluster) -> None:
    admin = operated.admin
    until(lambda: kept(admin).get("ca.crt") and kept(admin)["ca.crt"] == trusted(admin), "nothing is kept", 60)
    before = kept(admin)["tls.crt"]
    admin.send("DELETE", SECRET).expect()
    until(lambda: kept(admin).get("tls.crt", before) != before, "it is not made anew", 60)
    until(lambda: kept(admin)["ca.crt"] == trusted(admin), "it is not trusted", 60)


def test_what_leaves_a_strict_namespace_is_kept(operated: Cluster) -> None:
    admin = operated.admin
    namespace = operated.namespace("keeping-strict", **ENFORCED, **{"tollway.dev/egress": "strict"})
    where = path_of("networking.k8s.io/v1", "NetworkPolicy", namespace, EGRESS)
    until(lambda: admin.get(where).ok, "there is no NetworkPolicy", 60)
    found = admin.get(where).expect()
    spec = egress_spec(Installation(root_namespace=ROOT, egress_extras=("10.20.0.0/16",)))
    # Exactly, so that the operator does not write it again and again.
    assert found["spec"] == spec
    admin.send("PUT", where, {**found, "spec": {**spec, "egress": [{}]}}).expect()
    until(lambda: admin.get(where).expect()["spec"] == spec, "it is not put right", 60)
    operated.namespace(namespace, **ENFORCED)
    until(lambda: admin.get(where).status == 404, "it is not taken away", 60)

"""Whatever else writes to what the operator keeps: people by hand, controllers that never stop, and nobody at all while
it is away. It mends, it leaves alone what is not its own, and it never fights.
"""

import base64
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from clusters import Client, Cluster, path_of
from operating.operators import TOLLWAY, Running, agent, condition, install, operating, status, wait_for

ROOT, TEAM = "tollway-others", "others-team"
SIDECAR = path_of("v1", "ConfigMap", TEAM, "tollway-sidecar")
MERGE = "application/merge-patch+json"
WRITING = frozenset({"POST", "PATCH", "PUT", "DELETE"})
numbers = itertools.count()

Json = Any


@pytest.fixture(scope="module")
def operator(cluster: Cluster) -> Iterator[Running]:
    account = install(cluster, ROOT, (TEAM,))
    with operating(account, ROOT, TOLLWAY_SECRET_NAMESPACES=TEAM, TOLLWAY_RESYNC_SECONDS="2") as running:
        wait_for(lambda: cluster.admin.get(SIDECAR).ok, "nothing happens")
        yield running


@pytest.fixture
def admin(cluster: Cluster, operator: Running) -> Client:
    return cluster.admin


def declared(admin: Client, name: str = "") -> str:
    """A new identity that is ready."""
    name = name or f"agent-{next(numbers)}"
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    ready = lambda: condition(status(admin, "AgentIdentity", name, TEAM), "Ready")[0] == "True"  # noqa: E731
    wait_for(ready, "not ready")
    return name


def secret_of(name: str) -> str:
    return path_of("v1", "Secret", TEAM, f"tollway-svid-{name}")


def patch(admin: Client, path: str, change: Json, manager: str = "somebody") -> None:
    admin.send("PATCH", path, change, MERGE, fieldManager=manager).expect()


def listings(operator: Running) -> float:
    return operator.metric("tollway_operator_listings_total")


def listed_again(operator: Running) -> None:
    """Two whole listings have begun and ended since."""
    before = listings(operator)
    wait_for(lambda: listings(operator) >= before + 2, "it does not list again")


def contested(admin: Client, name: str) -> bool:
    chosen = f"involvedObject.name={name}"
    events = admin.get(path_of("v1", "Event", TEAM), fieldSelector=chosen).expect()["items"]
    return "Contested" in {event["reason"] for event in events}


# --- by hand -------------------------------------------------------------------------------------------------------


def test_P9_what_somebody_added_to_a_config_map_stays_and_what_they_changed_is_mended(admin: Client) -> None:
    before = admin.get(SIDECAR).expect()["data"]
    noted = {"metadata": {"labels": {"cost-centre": "7"}, "annotations": {"note": "ours"}}, "data": {"rds.json": "{}"}}
    patch(admin, SIDECAR, noted)
    wait_for(lambda: admin.get(SIDECAR).expect()["data"] == before, "it stays changed")
    metadata = admin.get(SIDECAR).expect()["metadata"]
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "tollway", "cost-centre": "7"}
    assert metadata["annotations"] == {"note": "ours"}


def test_P9_what_somebody_added_to_an_svid_secret_outlives_its_certificate(admin: Client) -> None:
    where = secret_of(declared(admin))
    patch(admin, where, {"metadata": {"labels": {"backup": "no"}, "annotations": {"note": "ours"}}})
    first = admin.get(where).expect()["data"]
    patch(admin, where, {"data": {"tls.crt": ""}})
    wait_for(lambda: admin.get(where).expect()["data"]["tls.crt"] not in {"", first["tls.crt"]}, "it stays spoilt")
    after = admin.get(where).expect()
    assert after["data"]["tls.key"] != first["tls.key"]
    assert after["metadata"]["labels"]["backup"] == "no"
    assert after["metadata"]["annotations"] == {"note": "ours"}


def test_P9_a_secret_whose_label_somebody_took_off_is_found_and_labelled_again(admin: Client) -> None:
    where = secret_of(declared(admin))
    patch(admin, where, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    label = lambda: (admin.get(where).expect()["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by")  # noqa: E731
    wait_for(lambda: label() == "tollway", "it is lost")


def test_P9_a_secret_of_somebody_else_with_an_svid_s_name_is_left_alone_and_named(admin: Client) -> None:
    name = f"agent-{next(numbers)}"
    meta = {"name": f"tollway-svid-{name}", "namespace": TEAM}
    theirs = admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"a": "b"}}).expect()
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    wait_for(
        lambda: condition(status(admin, "AgentIdentity", name, TEAM), "Issued") == ("False", "IssueFailed"),
        "it is not said",
    )
    issued = next(c for c in status(admin, "AgentIdentity", name, TEAM)["conditions"] if c["type"] == "Issued")
    assert "rename or remove it" in issued["message"]
    assert admin.get(secret_of(name)).expect()["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]
    admin.send("DELETE", path_of(TOLLWAY, "AgentIdentity", TEAM, name)).expect()
    admin.send("DELETE", secret_of(name)).expect()


# --- without end ---------------------------------------------------------------------------------------------------


class Rewriter(threading.Thread):
    """A controller that changes an object back, each time that somebody else does not leave it as it wants."""

    def __init__(self, cluster: Cluster, path: str, field: str, value: str) -> None:
        super().__init__(daemon=True)
        self._client = cluster.user("rewriter", "system:masters")
        self._path, self._field, self._value = path, field, value
        self.ended = threading.Event()
        self.changed = 0

    def run(self) -> None:
        while not self.ended.wait(0.02):
            if self._client.get(self._path).expect()["data"].get(self._field) != self._value:
                patch(self._client, self._path, {"data": {self._field: self._value}}, "rewriter")
                self.changed += 1


@contextmanager
def rewriting(cluster: Cluster, path: str, field: str, value: str) -> Iterator[Rewriter]:
    rewriter = Rewriter(cluster, path, field, value)
    rewriter.start()
    try:
        yield rewriter
    finally:
        rewriter.ended.set()
        rewriter.join(10)


def test_P9_a_controller_that_keeps_rewriting_is_not_fought_and_people_are_told(
    admin: Client, cluster: Cluster, operator: Running
) -> None:
    before = admin.get(SIDECAR).expect()["data"]
    with rewriting(cluster, SIDECAR, "rds.json", "{}") as rewriter:
        wait_for(lambda: contested(admin, "tollway-sidecar"), "nobody is told")
        told = rewriter.changed
        listed_again(operator)
        # Two seconds and four are the first pauses; everything was looked at twice meanwhile.
        assert rewriter.changed - told <= 3, (told, rewriter.changed)
        assert rewriter.changed <= 10
    wait_for(lambda: admin.get(SIDECAR).expect()["data"] == before, "it stays changed", 30)


def test_P9_nobody_gets_new_certificates_without_end_and_others_are_served_meanwhile(
    admin: Client, cluster: Cluster
) -> None:
    name = declared(admin)
    nonsense = base64.b64encode(b"nonsense").decode()
    with rewriting(cluster, secret_of(name), "tls.crt", nonsense) as rewriter:
        wait_for(lambda: contested(admin, f"tollway-svid-{name}"), "nobody is told")
        told = rewriter.changed
        declared(admin)
        assert rewriter.changed - told <= 2
    wait_for(lambda: admin.get(secret_of(name)).expect()["data"]["tls.crt"] != nonsense, "it stays spoilt", 30)


# --- nobody at all -------------------------------------------------------------------------------------------------


def test_R06_an_identity_that_is_deleted_while_no_operator_runs_is_gone_and_stays_so(
    admin: Client, operator: Running
) -> None:
    gone, made_again = declared(admin), declared(admin)
    before = admin.get(secret_of(made_again)).expect()
    operator.kill()
    for name in (gone, made_again):
        admin.send("DELETE", path_of(TOLLWAY, "AgentIdentity", TEAM, name)).expect()
        # Nothing of ours holds it back.
        assert admin.get(path_of(TOLLWAY, "AgentIdentity", TEAM, name)).status == 404
    # As the cluster's garbage collector does, which finds the owner gone.
    admin.send("DELETE", secret_of(gone)).expect()
    anew = admin.create(agent(made_again, TEAM, svid={"delivery": "Secret"})).expect()
    operator.start_again()
    wait_for(lambda: owner(admin, made_again) == anew["metadata"]["uid"], "the new one has the old one's Secret")
    assert admin.get(secret_of(made_again)).expect()["data"]["tls.key"] != before["data"]["tls.key"]
    listed_again(operator)
    assert admin.get(secret_of(gone)).status == 404


def owner(admin: Client, name: str) -> str:
    [reference] = admin.get(secret_of(name)).expect()["metadata"]["ownerReferences"]
    return str(reference["uid"])


# --- nothing to do -------------------------------------------------------------------------------------------------


def test_listing_everything_again_where_nothing_changed_writes_nothing(admin: Client, operator: Running) -> None:
    declared(admin)
    listed_again(operator)

    def writes() -> float:
        """All but of the Lease, which is kept meanwhile; of one moment."""
        families = text_string_to_metric_families(operator.asked("/metrics")[1])
        found = [sample for family in families for sample in family.samples]
        requests = [each for each in found if each.name == "tollway_operator_api_requests_total"]
        return sum(
            each.value for each in requests if each.labels["verb"] in WRITING and each.labels["kind"] != "leases"
        )

    before = writes()
    assert before > 0
    listed_again(operator)
    assert writes() == before

"""R02, R03: two operators at once, as processes. One writes; the other takes over when it is gone, or silent for too
long; one that wakes up afterwards does no harm.
"""

import base64
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509

from clusters import Client, Cluster, path_of
from operating.operators import Running, agent, condition, install, operating, status, wait_for

ROOT, TEAM = "tollway-two", "two-team"
LEASE = path_of("coordination.k8s.io/v1", "Lease", ROOT, "tollway-operator")
numbers = itertools.count()

Json = Any


@pytest.fixture(scope="module")
def both(cluster: Cluster) -> Iterator[dict[str, Running]]:
    """Two that were started at the same moment, by their names."""
    account = install(cluster, ROOT, (TEAM,))
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(operating(account, ROOT, TOLLWAY_SECRET_NAMESPACES=TEAM, TOLLWAY_IDENTITY=name))
            for name in ("one", "two")
        }


def holder(admin: Client) -> str:
    found = admin.get(LEASE)
    return str(found.body["spec"].get("holderIdentity", "")) if found.ok else ""


def issued(admin: Client) -> tuple[str, list[x509.Certificate]]:
    """A new identity's name, and the chain that it got."""
    name = f"agent-{next(numbers)}"
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    wait_for(lambda: condition(status(admin, "AgentIdentity", name, TEAM), "Ready")[0] == "True", "not ready")
    data = admin.get(path_of("v1", "Secret", TEAM, f"tollway-svid-{name}")).expect()["data"]
    return name, x509.load_pem_x509_certificates(base64.b64decode(data["tls.crt"]))


def authority(admin: Client) -> Json:
    return admin.get(path_of("v1", "Secret", ROOT, "tollway-ca")).expect()


def secret_versions(admin: Client) -> dict[str, str]:
    listed = [each for space in (ROOT, TEAM) for each in admin.get(path_of("v1", "Secret", space)).expect()["items"]]
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in listed}


def test_R02_R03_one_writes_the_other_takes_over_and_a_sleeper_that_wakes_does_no_harm(
    cluster: Cluster, both: dict[str, Running]
) -> None:
    admin = cluster.admin
    wait_for(lambda: holder(admin) in both, "nobody leads")
    # What is written once, at the beginning: it is no sleeper's, whenever it comes.
    once = {"tollway-ca", "tollway-gateway-svid", "tollway-gateway-credentials"}
    wait_for(lambda: once <= secret_versions(admin).keys(), "the gateway's Secrets are not there")
    _, chain = issued(admin)
    first, made = holder(admin), authority(admin)
    second = next(name for name in both if name != first)

    wait_for(lambda: both[first].asked("/readyz") == (200, "leads\n"), "it does not say that it leads")
    assert both[second].asked("/readyz") == (200, "stands by: another operator leads\n")

    both[first].pause()
    wait_for(lambda: holder(admin) == second, "nobody takes over")
    _, later = issued(admin)
    assert authority(admin)["metadata"] | {"managedFields": []} == made["metadata"] | {"managedFields": []}
    assert later[1] == chain[1], "another authority issued"

    before = secret_versions(admin)
    both[first].go_on()
    name, _ = issued(admin)
    assert holder(admin) == second
    after = secret_versions(admin)
    assert {each: after[each] for each in before} == before, "the sleeper wrote"
    assert after.keys() - before.keys() == {f"tollway-svid-{name}"}

    both[second].kill()
    wait_for(lambda: holder(admin) == first, "nobody takes over from the dead")
    _, last = issued(admin)
    assert last[1] == chain[1]

    both[second].start_again()
    both[first].process.terminate()
    wait_for(lambda: holder(admin) == second, "the Lease is not given back", 30)
    assert both[first].process.wait(20) == 0

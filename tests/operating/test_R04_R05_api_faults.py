"""R04, R05: the API server, or the way to it, is slow, cut, overloaded, broken or gone. The operator, as a process,
comes to the right end, obeys, and does not hammer.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from clusters import Client, Cluster, path_of, running_cluster
from operating.faulty_proxy import FaultyProxy
from operating.in_process import CLOCKS
from operating.operators import Running, agent, condition, install, operating, status, wait_for
from tollway.pricing.data import default_book
from tollway_operator.cluster.connection import connect
from tollway_operator.control import Clocks, Operator, Options
from tollway_operator.reconciling.snapshot import Installation

ROOT, TEAM = "tollway-system", "faults-team"
PATIENCE = {"TOLLWAY_REQUEST_SECONDS": "2", "TOLLWAY_WATCH_SILENCE_SECONDS": "5", "TOLLWAY_LEASE_SECONDS": "4"}
numbers = itertools.count()

Json = Any


@pytest.fixture(scope="module")
def own(kube_binaries: Mapping[str, str]) -> Iterator[Cluster]:
    """A cluster that is stopped and started."""
    with running_cluster(kube_binaries) as cluster:
        cluster.install_crds()
        yield cluster


@pytest.fixture(scope="module")
def proxy(own: Cluster) -> Iterator[FaultyProxy]:
    with FaultyProxy(own) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operator(own: Cluster, proxy: FaultyProxy) -> Iterator[Running]:
    account = install(own, ROOT, (TEAM,))
    kubeconfig = proxy.kubeconfig(account.kubeconfig)
    # It lists again only every ten minutes: what is found sooner is found by watching.
    with operating(account, ROOT, kubeconfig, TOLLWAY_SECRET_NAMESPACES=TEAM, **PATIENCE) as running:
        wait_for(lambda: own.admin.get(path_of("v1", "ConfigMap", ROOT, "tollway-gateway")).ok, "nothing happens")
        yield running


@pytest.fixture
def admin(own: Cluster, operator: Running) -> Client:
    return own.admin


def declare(admin: Client) -> str:
    name = f"agent-{next(numbers)}"
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    return name


def is_ready(admin: Client, name: str) -> bool:
    return condition(status(admin, "AgentIdentity", name, TEAM), "Ready")[0] == "True"


def ready(admin: Client, name: str) -> Json:
    wait_for(lambda: is_ready(admin, name), "not ready", 90)
    return status(admin, "AgentIdentity", name, TEAM)


def test_R04_cut_watches_are_taken_up_again(admin: Client, proxy: FaultyProxy) -> None:
    for _ in range(3):
        assert proxy.cut_watches() > 5
        ready(admin, declare(admin))


def test_R04_a_watch_whose_version_is_gone_lists_again(admin: Client, proxy: FaultyProxy) -> None:
    name = f"agent-{next(numbers)}"
    with proxy.doing(watch_error=410) as began:
        proxy.cut_watches()
        wait_for(lambda: [each for each in proxy.since(began) if each.watches], "nobody watches")
        admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
        ready(admin, name)
        # Everything is listed once more at the beginning.
        assert len(proxy.since(began)) < 60 * (2 + time.monotonic() - began)
    ready(admin, declare(admin))


def test_R05_what_the_server_asks_to_wait_is_waited(admin: Client, proxy: FaultyProxy) -> None:
    name = declare(admin)
    ready(admin, name)
    with proxy.doing(answer=(429, {"Retry-After": "3"})) as began:
        other = declare(admin)
        wait_for(lambda: _writes(proxy, began), "it does not try")
        time.sleep(5)
        asked = [each.at for each in proxy.since(began) if not each.watches]
    # One client with one gate: a handful that were on their way, then silence for three seconds, and so on.
    bursts = [later - earlier for earlier, later in itertools.pairwise(asked) if later - earlier > 1]
    assert all(pause > 2.5 for pause in bursts), bursts
    assert len(asked) <= 20, len(asked)
    ready(admin, other)


def _writes(proxy: FaultyProxy, began: float) -> list[object]:
    return [each for each in proxy.since(began) if each.method != "GET"]


def test_R05_a_broken_server_is_not_hammered_and_nothing_flaps(admin: Client, proxy: FaultyProxy) -> None:
    name = declare(admin)
    before = ready(admin, name)
    secret = path_of("v1", "Secret", TEAM, f"tollway-svid-{name}")
    version = admin.get(secret).expect()["metadata"]["resourceVersion"]
    with proxy.doing(answer=(503, {})) as began:
        other = declare(admin)
        time.sleep(6)
        asked = [each for each in proxy.since(began) if not each.watches]
    assert 2 <= len(asked) <= 60, len(asked)
    ready(admin, other)
    assert status(admin, "AgentIdentity", name, TEAM) == before
    assert admin.get(secret).expect()["metadata"]["resourceVersion"] == version


def test_R05_a_server_that_does_not_answer_is_waited_for(admin: Client, proxy: FaultyProxy, operator: Running) -> None:
    name = declare(admin)
    before = ready(admin, name)
    with proxy.doing(stalled=True) as began:
        other = declare(admin)
        # Six times its patience, which is 30 s where nobody shortens it, and three times the Lease.
        time.sleep(12)
        # By then it had given up the Lease, which it could not renew; it lives, and says that it does not lead.
        assert operator.asked("/healthz")[0] == 200
        assert operator.asked("/readyz") == (503, "nobody is known to hold the Lease\n")
        assert operator.metric("tollway_operator_leads") == 0
        assert len(proxy.since(began)) < 100
    ready(admin, other)
    assert status(admin, "AgentIdentity", name, TEAM) == before


def test_R05_a_server_that_refuses_connections_is_not_hammered(admin: Client, proxy: FaultyProxy) -> None:
    name = declare(admin)
    before = ready(admin, name)
    with proxy.refusing():
        other = declare(admin)
        time.sleep(4)
    ready(admin, other)
    assert status(admin, "AgentIdentity", name, TEAM) == before


def test_R07_an_api_server_that_was_gone_is_found_again(admin: Client, own: Cluster, proxy: FaultyProxy) -> None:
    name = declare(admin)
    before = ready(admin, name)
    own.kill("kube-apiserver")
    time.sleep(6)
    own.start_api_server()
    other = declare(admin)
    ready(admin, other)
    assert status(admin, "AgentIdentity", name, TEAM) == before


async def test_R07_after_half_an_hour_without_an_api_server_what_is_due_is_renewed(
    own: Cluster, operator: Running
) -> None:
    """One operator in this process, by a clock that half an hour passes on while the server is gone."""
    root, team = "unplugged-root", "unplugged-team"
    account = await asyncio.to_thread(install, own, root, (team,))
    own.admin.create(agent("unplugged", team, svid={"delivery": "Secret"})).expect()
    installation = Installation(root_namespace=root, secret_namespaces=frozenset({team}), gateway_host="gateway")
    passed = [0]
    clocks = dataclasses.replace(CLOCKS, wall=lambda: CLOCKS.wall() + passed[0])
    secret = path_of("v1", "Secret", team, "tollway-svid-unplugged")

    def certificate() -> str:
        found = own.admin.get(secret)
        return str(found.body["data"]["tls.crt"]) if found.ok else ""

    async with existing(account.kubeconfig, Options(installation, "unplugged", resync_s=1.0), clocks):
        await asyncio.to_thread(wait_for, certificate, "no certificate")
        before = certificate()
        own.kill("kube-apiserver")
        passed[0] += 30 * 60 * 1_000
        # Long enough for listings and the Lease to fail.
        await asyncio.sleep(3)
        # In this thread, because the server dies with the one that started it.
        own.start_api_server()
        await asyncio.to_thread(wait_for, lambda: certificate() != before, "it is not renewed")


@contextlib.asynccontextmanager
async def existing(kubeconfig: Path, options: Options, clocks: Clocks) -> AsyncIterator[None]:
    """An operator in this event loop; that it goes on is part of the test."""
    connection = await connect(kubeconfig, 2)
    running = asyncio.create_task(
        Operator(options, connection, default_book(), clocks, watch=lambda _watches, _deliver: ()).run()
    )
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await connection.close()


def test_R04_an_event_that_nobody_ever_hears_of_is_found_by_listing(
    own: Cluster, proxy: FaultyProxy, operator: Running
) -> None:
    account = own.service_account(ROOT, "tollway-operator")
    operator.end()
    with operating(
        account,
        ROOT,
        proxy.kubeconfig(account.kubeconfig),
        TOLLWAY_SECRET_NAMESPACES=TEAM,
        TOLLWAY_RESYNC_SECONDS="3",
        **PATIENCE,
    ):
        ready(own.admin, declare(own.admin))
        with proxy.doing(dropped=lambda line: b'"AgentIdentity"' in line):
            ready(own.admin, declare(own.admin))

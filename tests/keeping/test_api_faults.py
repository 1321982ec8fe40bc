"""Following a real API server, behind a proxy that does what networks and busy servers do."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clusters import Cluster
from operating.faulty_proxy import FaultyProxy
from operating.operators import agent
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway_extauthz.keeping.api_server import APIServer, Failed, Patience
from tollway_extauthz.keeping.following import Follower
from tollway_extauthz.keeping.messages import Object
from tollway_extauthz.keeping.probes import until
from tollway_extauthz.keeping.watched import AGENTS, Watched
from tollway_operator.authority.authority import Authority

SPACE = "keeping-faults"
PATIENCE_S = 60.0
numbers = itertools.count()


class Names:
    """Of what there is."""

    def __init__(self) -> None:
        self.now: set[str] = set()

    def listed(self, _watched: Watched, objects: Sequence[Object]) -> None:
        self.now = {each.metadata.name for each in objects}

    def seen(self, _watched: Watched, seen: Object, removed: bool) -> None:
        (self.now.discard if removed else self.now.add)(seen.metadata.name)

    async def have(self, name: str) -> bool:
        return name in self.now


@pytest.fixture(scope="module")
def proxy(cluster: Cluster) -> Iterator[FaultyProxy]:
    cluster.namespace(SPACE)
    with FaultyProxy(cluster) as proxy:
        yield proxy


@pytest.fixture
def account(cluster: Cluster, tmp_path: Path) -> Path:
    """A service account's directory; its token is nobody's."""
    (tmp_path / "ca.crt").write_bytes(cluster.ca_file.read_bytes())
    (tmp_path / "token").write_text("nobody")
    return tmp_path


@pytest.fixture
def trusted(cluster: Cluster, account: Path) -> Path:
    """The same; its token is that of an account that may read agents."""
    client = cluster.service_account(SPACE, "follower")
    name = "keeping-faults"
    rule = {"apiGroups": ["tollway.dev"], "resources": ["agentidentities"], "verbs": ["get", "list", "watch"]}
    rbac = "rbac.authorization.k8s.io/v1"
    cluster.admin.apply({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": "follower", "namespace": SPACE}
    binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
    cluster.admin.apply({"apiVersion": rbac, "kind": "ClusterRoleBinding", **binding}).expect()
    (account / "token").write_text(client._headers["Authorization"].removeprefix("Bearer "))
    return account


async def closed(server: APIServer) -> None:
    await server.close()
    # aiohttp ends TLS connections in the background, and does not say when it has.
    await asyncio.sleep(0.25)


@asynccontextmanager
async def following(url: str, account: Path) -> AsyncIterator[Names]:
    names = Names()
    server = APIServer(url, account, Patience(request=3.0, silence=3.0))
    task = asyncio.create_task(Follower(AGENTS, server, names, lambda: 0.5).run())
    try:
        yield names
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await closed(server)


async def created(cluster: Cluster) -> str:
    name = f"agent-{next(numbers)}"
    await asyncio.to_thread(lambda: cluster.admin.create(agent(name, SPACE)).expect())
    return name


@pytest.mark.parametrize(
    ("faults", "most"),
    [
        ({"answer": (429, {"Retry-After": "1"}), "watch_error": 410}, 5),
        ({"answer": (500, {}), "watch_error": 500}, 6),
        ({"watch_error": 410}, 16),
        ({"stalled": True}, 4),
    ],
    ids=["429 and 410", "500", "410 after each list", "nothing is answered"],
)
async def test_it_is_not_asked_in_a_hurry_and_what_was_missed_is_seen(
    cluster: Cluster, proxy: FaultyProxy, trusted: Path, faults: dict[str, object], most: int
) -> None:
    async with following(f"https://127.0.0.1:{proxy.port}", trusted) as names:
        first = await created(cluster)
        assert await until(lambda: names.have(first), PATIENCE_S)
        with proxy.doing(**faults) as began:
            proxy.cut_watches()
            missed = await created(cluster)
            await asyncio.sleep(2)
            asked = len(proxy.since(began))
            over = time.monotonic() - began
        # The back-off is what makes them few, however slow the machine is.
        assert asked <= most * max(1.0, over / 2)
        assert await until(lambda: names.have(missed), PATIENCE_S)


async def test_a_watch_that_is_cut_goes_on_and_one_that_is_silent_is_made_anew(
    cluster: Cluster, proxy: FaultyProxy, trusted: Path
) -> None:
    async with following(f"https://127.0.0.1:{proxy.port}", trusted) as names:
        assert await until(lambda: names.have("agent-0"), PATIENCE_S)
        proxy.cut_watches()
        name = await created(cluster)
        assert await until(lambda: names.have(name), PATIENCE_S)
        # No line comes through any more: as on a connection that somebody has forgotten.
        with proxy.doing(dropped=lambda _: True) as began:
            lost = await created(cluster)
            assert await until(lambda: _watches_anew(proxy, began), PATIENCE_S)
        proxy.cut_watches()
        assert await until(lambda: names.have(lost), PATIENCE_S)


async def _watches_anew(proxy: FaultyProxy, began: float) -> bool:
    return any(each.watches for each in proxy.since(began))


async def test_the_token_is_read_anew(cluster: Cluster, trusted: Path) -> None:
    good = (trusted / "token").read_text()
    server = APIServer(cluster.url, trusted, Patience())
    await server.get(AGENTS.path, {"limit": "1"})
    (trusted / "token").write_text("nobody")
    with pytest.raises(Failed, match="401"):
        await server.get(AGENTS.path, {"limit": "1"})
    (trusted / "token").write_text(good)
    await server.get(AGENTS.path, {"limit": "1"})
    await closed(server)


async def test_nobody_elses_server_is_believed(cluster: Cluster, account: Path, tmp_path: Path) -> None:
    theirs = Authority.load_or_create(tmp_path / "theirs", DEFAULT_TRUST_DOMAIN, time.time_ns() // 1_000_000)
    (account / "ca.crt").write_bytes(theirs.issuers_pem())
    server = APIServer(cluster.url, account, Patience())
    with pytest.raises(Failed, match="not reached"):
        await server.get(AGENTS.path, {"limit": "1"})
    await closed(server)

"""What 5,000 identities cost an operator that has never seen them: `python -m bench.operator_cold_start`.

A real API server holds agents, their service accounts and their pods, in namespaces that are listed for delivery as
Secret. The operator starts as a process, with the rights that the chart gives it, and has to issue every SVID and write
every status. Requests are counted by the API server, all of them, so those of the watches and listings too.

Then it is started again, and lists everything a second time: nothing has changed, so it may write nothing.
"""

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from tools import kube_binaries

from bench.failures import BenchFailed
from bench.machine import Machine, this_machine
from clusters import Client, Cluster, path_of, running_cluster
from operating.operators import Running, agent, install, operating

MOST_REQUESTS: Final = 4.0
MOST_MEMORY_MIB: Final = 300.0
ROOT: Final = "tollway-system"
_CREATORS: Final = 4
_LONGEST_S: Final = 1_200.0
_RESYNC_S: Final = 15.0
_TOTAL: Final = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_READING: Final = frozenset({"GET", "LIST", "WATCH", "CONNECT"})

Json = Any
Requests = Counter[tuple[str, str]]
"""How often, by verb and resource."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`requests` are of the cold start alone, by "VERB resource"; `writes_of_resync` should be 0."""

    machine: Machine
    identities: int
    namespaces: int
    seconds: float
    requests_per_identity: float
    requests: Mapping[str, int]
    memory_mib: float
    seconds_of_restart: float
    memory_of_restart_mib: float
    listings: int
    writes_of_resync: int

    @property
    def misses(self) -> Sequence[str]:
        found = []
        if self.requests_per_identity > MOST_REQUESTS:
            found.append(f"{self.requests_per_identity:.2f} requests for each identity, at most {MOST_REQUESTS}")
        peak = max(self.memory_mib, self.memory_of_restart_mib)
        if peak > MOST_MEMORY_MIB:
            found.append(f"{peak:.0f} MiB of memory, at most {MOST_MEMORY_MIB:.0f}")
        if self.writes_of_resync:
            found.append(f"{self.writes_of_resync} writes to a cluster in which nothing changed")
        return found


# --- the cluster -----------------------------------------------------------------------------------------------------


def _namespaces(count: int) -> tuple[str, ...]:
    return tuple(f"team-{number:02}" for number in range(count))


def _agents(count: int, namespaces: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Namespace and name."""
    return ((namespaces[number % len(namespaces)], f"agent-{number:05}") for number in range(count))


def _objects(namespace: str, name: str) -> Iterator[Json]:
    meta = {"name": name, "namespace": namespace}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    container = {"name": "agent", "image": "none.example/agent", "env": [{"name": "TEAM", "value": namespace}]}
    spec = {"serviceAccountName": name, "nodeName": "node", "containers": [container]}
    yield {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": {"app": name}}, "spec": spec}
    yield agent(name, namespace, svid={"delivery": "Secret"})


def _populate(cluster: Cluster, agents: Sequence[tuple[str, str]]) -> None:
    def create(part: Sequence[tuple[str, str]]) -> None:
        client = cluster.user("kubernetes-admin", "system:masters")
        for namespace, name in part:
            for content in _objects(namespace, name):
                client.create(content).expect()

    with ThreadPoolExecutor(_CREATORS) as pool:
        list(pool.map(create, [agents[start::_CREATORS] for start in range(_CREATORS)]))


def _requests(admin: Client) -> Requests:
    """What the API server was asked since it started."""
    found: Requests = Counter()
    for labels, value in _TOTAL.findall(str(admin.get("/metrics").body)):
        named = dict(_LABEL.findall(labels))
        resource = "/".join(filter(None, (named["resource"], named["subresource"])))
        found[named["verb"], resource] += round(float(value))
    # This question, and the API server's own Leases and bookkeeping, are not the operator's.
    return Counter({asked: count for asked, count in found.items() if asked[1]})


def _writes(requests: Requests) -> Requests:
    return Counter(
        {(verb, of): count for (verb, of), count in requests.items() if verb not in _READING and of != "leases"}
    )


def _ready(admin: Client, namespaces: Sequence[str]) -> int:
    """How many identities say that they are."""
    count = 0
    for namespace in namespaces:
        for each in admin.get(path_of("tollway.dev/v1alpha1", "AgentIdentity", namespace)).expect()["items"]:
            conditions = each.get("status", {}).get("conditions", ())
            count += any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return count


# --- the operator ----------------------------------------------------------------------------------------------------


def _peak_mib(running: Running) -> float:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise BenchFailed(f"the operator ended:\n{running.said()[-2_000:]}")
    return int(found[1]) / 1024


def _cold_start(admin: Client, running: Running, namespaces: Sequence[str], count: int) -> tuple[float, Requests]:
    """Seconds, and what was asked meanwhile. By the server's own count, because listing 5,000 would be in the way."""
    before, began = _requests(admin), time.monotonic()
    written = ("APPLY", "agentidentities/status")
    while True:
        time.sleep(0.5)
        _peak_mib(running)
        asked, now = _requests(admin) - before, time.monotonic() - began
        if asked[written] >= count and _ready(admin, namespaces) == count:
            return now, asked
        if now > _LONGEST_S:
            raise BenchFailed(f"after {now:.0f} s {_ready(admin, namespaces)} of {count} identities are ready")


def _listings(running: Running) -> int:
    return round(running.metric("tollway_operator_listings_total"))


def _resync(admin: Client, running: Running) -> tuple[float, int, int]:
    """Seconds until everything was listed, how often it was in the end, and the writes of all that time."""
    before, began, first = _requests(admin), time.monotonic(), 0.0
    while (done := _listings(running)) < 3:
        time.sleep(0.5)
        _peak_mib(running)
        first = first or (time.monotonic() - began if done else 0.0)
        if time.monotonic() - began > _LONGEST_S:
            raise BenchFailed(f"it does not list everything again:\n{running.said()[-2_000:]}")
    return first, done, _writes(_requests(admin) - before).total()


def measure(identities: int, spaces: int) -> Figures:
    namespaces = _namespaces(spaces)
    with running_cluster({name: str(path) for name, path in kube_binaries.obtained().items()}) as cluster:
        machine = this_machine(cluster.folder)
        cluster.install_crds()
        account = install(cluster, ROOT, namespaces)
        began = time.monotonic()
        _populate(cluster, list(_agents(identities, namespaces)))
        print(f"{identities} agents, pods and service accounts are there after {time.monotonic() - began:.0f} s")
        listed = {"TOLLWAY_SECRET_NAMESPACES": ",".join(namespaces), "TOLLWAY_LEASE_SECONDS": "15"}
        with operating(account, ROOT, **listed) as running:
            seconds, asked = _cold_start(cluster.admin, running, namespaces, identities)
            memory = _peak_mib(running)
        with operating(account, ROOT, TOLLWAY_RESYNC_SECONDS=str(_RESYNC_S), **listed) as running:
            restart, listings, writes = _resync(cluster.admin, running)
            memory_again = _peak_mib(running)
    return Figures(
        machine=machine,
        identities=identities,
        namespaces=spaces,
        seconds=round(seconds, 1),
        requests_per_identity=round(asked.total() / identities, 3),
        requests={f"{verb} {of}": count for (verb, of), count in asked.most_common()},
        memory_mib=round(memory, 1),
        seconds_of_restart=round(restart, 1),
        memory_of_restart_mib=round(memory_again, 1),
        listings=listings,
        writes_of_resync=writes,
    )


# --- saying it -------------------------------------------------------------------------------------------------------


def _table(figures: Figures) -> Table:
    table = Table(title=f"{figures.identities} identities by Secret in {figures.namespaces} namespaces, cold start")
    for column in ("", "measured", "at most"):
        table.add_column(column)
    table.add_row("seconds", f"{figures.seconds:.1f}", "")
    table.add_row("requests for each identity", f"{figures.requests_per_identity:.2f}", f"{MOST_REQUESTS:.0f}")
    table.add_row("memory, MiB at its peak", f"{figures.memory_mib:.0f}", f"{MOST_MEMORY_MIB:.0f}")
    table.add_row("seconds of a restart", f"{figures.seconds_of_restart:.1f}", "")
    table.add_row("memory after a restart, MiB", f"{figures.memory_of_restart_mib:.0f}", f"{MOST_MEMORY_MIB:.0f}")
    table.add_row(f"writes in {figures.listings} listings", str(figures.writes_of_resync), "0")
    return table


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.operator_cold_start", description=__doc__)
    parser.add_argument("--identities", type=int, default=5_000)
    parser.add_argument("--namespaces", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("bench-operator.json"))
    chosen = parser.parse_args(arguments)
    try:
        figures = measure(chosen.identities, chosen.namespaces)
    except BenchFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 3
    chosen.output.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2))
    Console().print(_table(figures))
    for asked, count in figures.requests.items():
        print(f"{count:>8} {asked}")
    for miss in figures.misses:
        print(f"missed: {miss}")
    return 1 if figures.misses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

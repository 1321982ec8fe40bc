"""How soon a change on the API server is decided by: `python -m bench.keeper_at_scale [IDENTITIES] [QUOTAS]`.

A real API server, the operator (only until the gateway's objects are there), the processes of the gateway's pod. What
is measured is the whole way: from the answer of the API server to a PATCH until a call is refused because of it. Beside
it another agent calls steadily: the slowest of its calls while rules are taken, and while none are.
"""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clusters import Client, Cluster, running_cluster
from keeping.gateways import TEAM, Agent, Gateway, gateway_in_a_cluster, quota
from operating.operators import agent, wait_for

NAMESPACES: Final = 100
CHANGES: Final = 20
AT_ONCE: Final = 8


def main(identities: int = 10_000, quotas: int = 1_000) -> None:
    tool = [sys.executable, "tools/kube_binaries.py"]
    binaries = json.loads(subprocess.run(tool, capture_output=True, check=True, text=True).stdout)
    with running_cluster(binaries) as cluster:
        cluster.install_crds()
        with gateway_in_a_cluster(cluster) as gateway:
            measure(gateway, identities, quotas)


def measure(gateway: Gateway, identities: int, quotas: int) -> None:
    gateway.declare_agent("changing")
    changing, steady = gateway.agent("changing"), gateway.agent("researcher")
    wait_for(lambda: changing.call().status == steady.call().status == 200, "no call is granted")
    calm = slowest(steady, 5.0)
    gateway.operator.kill()
    began = time.monotonic()
    declare(gateway.cluster, identities, quotas)
    print(f"declared in {time.monotonic() - began:.0f} s")
    wait_for(lambda: len(gateway.pod.rules["resources"]["agents"]) >= identities, "the rules stay behind", 300)
    print(f"followed {time.monotonic() - began:.0f} s after the beginning")
    time.sleep(3)
    calm_at_scale = slowest(steady, 5.0)
    watched = threading.Event()
    gaps: list[float] = []
    thread = threading.Thread(target=watch, args=(steady, watched, gaps))
    thread.start()
    seconds = sorted(turn(gateway, changing, n % 2 == 0) for n in range(CHANGES))
    watched.set()
    thread.join()
    print(f"in force: median {median(seconds):.3f} s, worst {seconds[-1]:.3f} s of {CHANGES}")
    at_scale = f"{calm_at_scale:.1f} with all, {max(gaps):.1f} while rules change"
    print(f"a steady caller's slowest call, ms: {calm:.1f} with few, {at_scale}")
    print(f"keeper: {resident(gateway.pod.keeper)} MiB, extauthz: {resident(gateway.pod.extauthz)} MiB resident")


def declare(cluster: Cluster, identities: int, quotas: int) -> None:
    spaces = [cluster.namespace(f"scale-{n}", **{"tollway.dev/enforce": "enabled"}) for n in range(NAMESPACES)]
    wanted = [agent(f"agent-{n}", spaces[n % NAMESPACES]) for n in range(identities)]
    wanted += [
        quota(f"quota-{n}", spaces[n % NAMESPACES], agents={"matchLabels": {"q": f"{n}"}}) for n in range(quotas)
    ]
    local = threading.local()

    def create(content: object) -> None:
        if not hasattr(local, "client"):
            local.client = cluster.user("kubernetes-admin", "system:masters")
        client: Client = local.client
        # A busy machine's server does not always answer in time.
        while (answer := client.create(content)).status not in {201, 409}:
            assert answer.status in {429, 500, 504}, answer.message

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(create, wanted))


def turn(gateway: Gateway, calling: Agent, suspended: bool) -> float:
    """Seconds from the server's answer until a call is decided by the change."""
    gateway.patch("AgentIdentity", "changing", {"spec": {"suspended": suspended}}, TEAM)
    began = time.monotonic()
    while (calling.call().reason == "identity.suspended") is not suspended:
        assert time.monotonic() - began < 30
    took = time.monotonic() - began
    time.sleep(0.3)
    return took


def slowest(calling: Agent, seconds: float) -> float:
    """Milliseconds."""
    enough, gaps = threading.Event(), [0.0]
    threading.Timer(seconds, enough.set).start()
    watch(calling, enough, gaps)
    return max(gaps)


def watch(calling: Agent, enough: threading.Event, gaps: list[float]) -> None:
    while not enough.wait(0.002):
        began = time.monotonic()
        assert calling.call().status == 200
        gaps.append((time.monotonic() - began) * 1000)


def resident(process: object) -> int:
    pid = process.process.pid  # type: ignore[attr-defined]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

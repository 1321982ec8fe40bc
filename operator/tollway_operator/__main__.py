"""Starts the operator (`python -m tollway_operator`): reads the environment, gives the parts their clocks.

TOLLWAY_ROOT_NAMESPACE     the namespace of the installation (tollway-system)
TOLLWAY_TRUST_DOMAIN       cluster.local
TOLLWAY_SECRET_NAMESPACES  where SVIDs may be delivered as Secrets: names with commas between them (none)
TOLLWAY_UNSELECTED         allow: pods that no AgentIdentity selects get their service account's ID; or refuse
TOLLWAY_EGRESS_EXTRAS      networks (CIDRs, spaces between them) that pods reach where egress is strict (none)
TOLLWAY_GATEWAY            host:port by which sidecars reach the gateway
TOLLWAY_IDENTITY           the name of this operator in its Lease (the pod's name)
TOLLWAY_LEASE_SECONDS      15
TOLLWAY_RESYNC_SECONDS     600
TOLLWAY_REPORTS            host:port where every replica of the gateway reports; none: nobody is asked (in a cluster the
                           Service tollway-gateway-replicas of the root namespace, else none)
TOLLWAY_REPORT_SECONDS     10
TOLLWAY_HEALTH_ADDRESS     host:port of /healthz, /readyz and /metrics (:9467, every address; port 0: none)
KUBECONFIG                 else the pod's service account is used, by KUBERNETES_SERVICE_HOST and _PORT
TOLLWAY_SERVICE_ACCOUNT    where its token and ca.crt are mounted (where the kubelet does it by itself)
"""

import asyncio
import ipaddress
import logging
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from kubernetes.aio.config import ConfigException

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain
from tollway.pricing.data import default_book
from tollway.resources.models import ROOT_NAMESPACE
from tollway_operator.asking.replicas import PORT as REPORTS_PORT
from tollway_operator.asking.replicas import Replicas
from tollway_operator.cluster.connection import connect
from tollway_operator.cluster.service_account import ServiceAccount, service_account
from tollway_operator.control import Clocks, Operator, Options
from tollway_operator.health import PORT, Health
from tollway_operator.metrics import Metrics
from tollway_operator.names import GATEWAY_REPLICAS
from tollway_operator.reconciling.snapshot import GATEWAY_PORT, Installation
from tollway_operator.watching.feeds import Patience

_WRONG_USAGE = 2
_LAST_PORT = 65_535


def options(environ: Mapping[str, str]) -> Options:
    """Raises `ValueError` with a sentence on the variable that is wrong."""
    host, _, port = environ.get("TOLLWAY_GATEWAY", "").partition(":")
    listed = environ.get("TOLLWAY_SECRET_NAMESPACES", "").split(",")
    unselected = environ.get("TOLLWAY_UNSELECTED", "allow")
    if unselected not in {"allow", "refuse"}:
        raise ValueError("TOLLWAY_UNSELECTED must be allow or refuse")
    installation = Installation(
        trust_domain=TrustDomain(environ.get("TOLLWAY_TRUST_DOMAIN", str(DEFAULT_TRUST_DOMAIN))),
        root_namespace=environ.get("TOLLWAY_ROOT_NAMESPACE", ROOT_NAMESPACE),
        secret_namespaces=frozenset(name.strip() for name in listed if name.strip()),
        refuse_unselected=unselected == "refuse",
        egress_extras=networks(environ.get("TOLLWAY_EGRESS_EXTRAS", "")),
        gateway_host=host,
        gateway_port=int(port or GATEWAY_PORT),
    )
    return Options(
        installation=installation,
        me=environ.get("TOLLWAY_IDENTITY") or f"{socket.gethostname()}-{secrets.token_hex(4)}",
        lease_s=_seconds(environ, "TOLLWAY_LEASE_SECONDS", 15),
        resync_s=_seconds(environ, "TOLLWAY_RESYNC_SECONDS", 600),
        report_s=_seconds(environ, "TOLLWAY_REPORT_SECONDS", 10),
        reports=reports_address(environ, installation.root_namespace),
        account=None if environ.get("KUBECONFIG") else service_account(environ),
        patience=Patience(
            silence=_seconds(environ, "TOLLWAY_WATCH_SILENCE_SECONDS", 70),
            request=_seconds(environ, "TOLLWAY_REQUEST_SECONDS", 30),
        ),
    )


def networks(text: str) -> tuple[str, ...]:
    """Raises `ValueError`."""
    try:
        return tuple(str(ipaddress.ip_network(each)) for each in text.split())
    except ValueError as wrong:
        raise ValueError(
            f"TOLLWAY_EGRESS_EXTRAS must be networks as CIDRs with spaces between them: {wrong}"
        ) from wrong


def _seconds(environ: Mapping[str, str], name: str, usual: float) -> float:
    try:
        value = float(environ.get(name, usual))
    except ValueError:
        value = 0.0
    if not 1 <= value <= 86_400:
        raise ValueError(f"{name} must be a number of seconds from 1 to 86400")
    return value


def reports_address(environ: Mapping[str, str], root_namespace: str) -> tuple[str, int] | None:
    """Raises `ValueError`. The names of Services are known inside of a cluster only."""
    usual = "none" if environ.get("KUBECONFIG") else f"{GATEWAY_REPLICAS}.{root_namespace}.svc:{REPORTS_PORT}"
    named = environ.get("TOLLWAY_REPORTS") or usual
    host, _, port = named.rpartition(":")
    if named == "none":
        return None
    if not host or not port.isdecimal() or not 0 < int(port) <= _LAST_PORT:
        raise ValueError("TOLLWAY_REPORTS must be host:port, or none")
    return host.strip("[]"), int(port)


def health_address(environ: Mapping[str, str]) -> tuple[str | None, int]:
    """Host (None: every address) and port (0: none). Raises `ValueError`."""
    host, colon, port = environ.get("TOLLWAY_HEALTH_ADDRESS", f":{PORT}").rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError("TOLLWAY_HEALTH_ADDRESS must be host:port, or :port for every address")
    return host.strip("[]") or None, int(port)


async def serve(chosen: Options, way: Path | ServiceAccount, health: tuple[str | None, int]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    connection = await connect(way, chosen.patience.request)
    clocks = Clocks(lambda: time.time_ns() // 1_000_000, time.monotonic, random.random)
    metrics = Metrics()
    root = chosen.installation.root_namespace
    reports = Replicas(*chosen.reports, root, clocks.wall) if chosen.reports is not None else None
    operator = Operator(chosen, connection, default_book(), clocks, reports, metrics=metrics)
    async with Health(operator.standing, metrics).served(*health):
        result = await _run(operator, stopped)
    await connection.close()
    if isinstance(result, Exception):
        raise result


async def _run(operator: Operator, stopped: asyncio.Event) -> object:
    """Until it ends or is to; what it ended with."""
    running = asyncio.create_task(operator.run())
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, waiting):
        task.cancel()
    result, _ = await asyncio.gather(running, waiting, return_exceptions=True)
    return result


def main(environ: Mapping[str, str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It says of every event that it was handled, and that it takes no signals, which are ours.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    try:
        chosen = options(environ)
        way = chosen.account or Path(environ["KUBECONFIG"])
        asyncio.run(serve(chosen, way, health_address(environ)))
    except (ValueError, ConfigException) as problem:
        print(f"tollway-operator: {problem}", file=sys.stderr)  # noqa: T201 - before there is a log
        return _WRONG_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))

"""Starts the operator (`python -m tollway_operator`): reads the environment, gives the parts their clocks.

TOLLWAY_ROOT_NAMESPACE     the namespace of the installation (tollway-system)
TOLLWAY_TRUST_DOMAIN       cluster.local
TOLLWAY_SECRET_NAMESPACES  where SVIDs may be delivered as Secrets: names with commas between them (none)
TOLLWAY_UNSELECTED         allow: pods that no AgentIdentity selects get their service account's ID; or refuse
TOLLWAY_GATEWAY            host:port by which sidecars reach the gateway
TOLLWAY_IDENTITY           the name of this operator in its Lease (the pod's name)
TOLLWAY_LEASE_SECONDS      15
TOLLWAY_RESYNC_SECONDS     600
KUBECONFIG                 else the pod's service account is used
"""

import asyncio
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
from tollway_operator.cluster.connection import connect
from tollway_operator.control import Clocks, Operator, Options
from tollway_operator.reconciling.snapshot import GATEWAY_PORT, Installation
from tollway_operator.watching.feeds import Patience

_WRONG_USAGE = 2


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
        gateway_host=host,
        gateway_port=int(port or GATEWAY_PORT),
    )
    return Options(
        installation=installation,
        me=environ.get("TOLLWAY_IDENTITY") or f"{socket.gethostname()}-{secrets.token_hex(4)}",
        lease_s=_seconds(environ, "TOLLWAY_LEASE_SECONDS", 15),
        resync_s=_seconds(environ, "TOLLWAY_RESYNC_SECONDS", 600),
        patience=Patience(
            silence=_seconds(environ, "TOLLWAY_WATCH_SILENCE_SECONDS", 70),
            request=_seconds(environ, "TOLLWAY_REQUEST_SECONDS", 30),
        ),
    )


def _seconds(environ: Mapping[str, str], name: str, usual: float) -> float:
    try:
        value = float(environ.get(name, usual))
    except ValueError:
        value = 0.0
    if not 1 <= value <= 86_400:
        raise ValueError(f"{name} must be a number of seconds from 1 to 86400")
    return value


async def serve(chosen: Options, kubeconfig: Path | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    connection = await connect(kubeconfig, chosen.patience.request)
    clocks = Clocks(lambda: time.time_ns() // 1_000_000, time.monotonic, random.random)
    running = asyncio.create_task(Operator(chosen, connection, default_book(), clocks).run())
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, waiting):
        task.cancel()
    result, _ = await asyncio.gather(running, waiting, return_exceptions=True)
    await connection.close()
    if isinstance(result, Exception):
        raise result


def main(environ: Mapping[str, str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It says of every event that it was handled, and that it takes no signals, which are ours.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    kubeconfig = Path(environ["KUBECONFIG"]) if environ.get("KUBECONFIG") else None
    try:
        chosen = options(environ)
        asyncio.run(serve(chosen, kubeconfig))
    except (ValueError, ConfigException) as problem:
        print(f"tollway-operator: {problem}", file=sys.stderr)  # noqa: T201 - before there is a log
        return _WRONG_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))

"""Starts the injector (`python -m tollway_operator.injecting`): reads the environment, gives the parts their clocks.

TOLLWAY_SIDECAR_IMAGE      the sidecar's image, with `envoy` on its PATH; must be set
TOLLWAY_SIDECAR_PULL       Always, IfNotPresent or Never (IfNotPresent)
TOLLWAY_SIDECAR_RESOURCES  JSON: the sidecar's requests and limits
TOLLWAY_SIDECAR_USER       the number of its user and group (65532)
TOLLWAY_ROOT_NAMESPACE     the namespace of the installation (tollway-system)
TOLLWAY_SECRET_NAMESPACES  where SVIDs may be delivered as Secrets: names with commas between them (none)
TOLLWAY_UNSELECTED         allow: pods that no AgentIdentity selects get their service account's ID; or refuse
TOLLWAY_TLS_DIRECTORY      where tls.crt and tls.key of the webhook are (/etc/tollway/tls)
TOLLWAY_WEBHOOK_ADDRESS    host:port of the webhook (:9443, every address)
TOLLWAY_HEALTH_ADDRESS     host:port of /healthz and /readyz (:9468, every address)
TOLLWAY_RESYNC_SECONDS     600
KUBECONFIG                 else the pod's service account is used, by KUBERNETES_SERVICE_HOST and _PORT
TOLLWAY_SERVICE_ACCOUNT    where its token and ca.crt are mounted (where the kubelet does it by itself)
"""

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kubernetes.aio.config import ConfigException

from tollway.resources.models import ROOT_NAMESPACE
from tollway_operator.cluster.client import Client, Gate
from tollway_operator.cluster.connection import connect
from tollway_operator.cluster.service_account import ServiceAccount, service_account
from tollway_operator.injecting.server import HEALTH_PORT, PORT, Address, Addresses, Injector, Server
from tollway_operator.injecting.serving import ServingCertificate
from tollway_operator.injecting.settings import USUAL_RESOURCES, InjectionSettings, Json
from tollway_operator.injecting.view import View
from tollway_operator.watching.feeds import Patience

_WRONG_USAGE = 2
_PULL_POLICIES = frozenset({"Always", "IfNotPresent", "Never"})


@dataclass(frozen=True, slots=True)
class Options:
    settings: InjectionSettings
    addresses: Addresses
    tls_directory: Path
    resync_s: float
    account: ServiceAccount | None
    """None: by the kubeconfig that KUBECONFIG names."""


def options(environ: Mapping[str, str]) -> Options:
    """Raises `ValueError` with a sentence on the variable that is wrong."""
    return Options(
        settings=_settings(environ),
        addresses=Addresses(
            _address(environ, "TOLLWAY_WEBHOOK_ADDRESS", PORT), _address(environ, "TOLLWAY_HEALTH_ADDRESS", HEALTH_PORT)
        ),
        tls_directory=Path(environ.get("TOLLWAY_TLS_DIRECTORY", "/etc/tollway/tls")),
        resync_s=_number(environ, "TOLLWAY_RESYNC_SECONDS", 600, 86_400),
        account=None if environ.get("KUBECONFIG") else service_account(environ),
    )


def _settings(environ: Mapping[str, str]) -> InjectionSettings:
    listed = environ.get("TOLLWAY_SECRET_NAMESPACES", "").split(",")
    return InjectionSettings(
        image=environ.get("TOLLWAY_SIDECAR_IMAGE", ""),
        image_pull_policy=_one_of(environ, "TOLLWAY_SIDECAR_PULL", "IfNotPresent", _PULL_POLICIES),
        resources=_resources(environ.get("TOLLWAY_SIDECAR_RESOURCES", "")),
        user=_number(environ, "TOLLWAY_SIDECAR_USER", 65_532, 2**31 - 1),
        root_namespace=environ.get("TOLLWAY_ROOT_NAMESPACE", ROOT_NAMESPACE),
        refuse_unselected=_one_of(environ, "TOLLWAY_UNSELECTED", "allow", {"allow", "refuse"}) == "refuse",
        secret_namespaces=frozenset(name.strip() for name in listed if name.strip()),
    )


def _resources(text: str) -> Json:
    if not text:
        return USUAL_RESOURCES
    try:
        read = json.loads(text)
    except ValueError:
        read = None
    if not isinstance(read, dict) or not read.keys() <= {"requests", "limits", "claims"}:
        raise ValueError("TOLLWAY_SIDECAR_RESOURCES must be JSON with requests and limits, as a container has them")
    return read


def _one_of(environ: Mapping[str, str], name: str, usual: str, known: frozenset[str] | set[str]) -> str:
    value = environ.get(name, usual)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(sorted(known))}")
    return value


def _number(environ: Mapping[str, str], name: str, usual: int, most: int) -> int:
    value = environ.get(name, str(usual))
    if not value.isdecimal() or not 0 < int(value) <= most:
        raise ValueError(f"{name} must be a number from 1 to {most}")
    return int(value)


def _address(environ: Mapping[str, str], name: str, usual: int) -> Address:
    host, colon, port = environ.get(name, f":{usual}").rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"{name} must be host:port, or :port for every address")
    return host.strip("[]") or None, int(port)


async def serve(chosen: Options, way: Path | ServiceAccount) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    patience = Patience()
    connection = await connect(way, patience.request)
    try:
        client = Client(connection, Gate(time.monotonic, random.random))
        view = View(client, chosen.resync_s, patience, chosen.account)
        certificate = ServingCertificate(chosen.tls_directory)
        server = Server(Injector(view, chosen.settings), view, certificate, lambda: datetime.now(UTC))
        certificate.look()
        async with server.served(chosen.addresses):
            await _first_to_end(view.run(), certificate.follow(), stopped.wait())
    finally:
        await connection.close()


async def _first_to_end(*parts: Coroutine[object, object, object]) -> None:
    """All run until one ends; what it raised is raised here."""
    tasks = [asyncio.create_task(part) for part in parts]
    ended, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in ended:
        task.result()


def main(environ: Mapping[str, str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It says of every event that it was handled, and that it takes no signals, which are ours.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    try:
        chosen = options(environ)
        asyncio.run(serve(chosen, chosen.account or Path(environ["KUBECONFIG"])))
    except (ValueError, ConfigException) as problem:
        print(f"tollway-injector: {problem}", file=sys.stderr)  # noqa: T201 - before there is a log
        return _WRONG_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))

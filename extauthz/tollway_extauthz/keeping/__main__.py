"""Starts the keeper (`python -m tollway_extauthz.keeping`): reads the environment, wires the parts.

KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT   the API server, as the kubelet says it to every container
TOLLWAY_SERVICE_ACCOUNT_DIR    token and ca.crt (/var/run/secrets/kubernetes.io/serviceaccount)
TOLLWAY_ROOT_NAMESPACE         the namespace of the installation (tollway-system)
TOLLWAY_CONFIG_DIR             Envoy's files (/etc/tollway/config)
TOLLWAY_IDENTITY_DIR           the gateway's SVID (/etc/tollway/identity)
TOLLWAY_RULES_DIR              rules and issuers for extauthz (/etc/tollway/rules)
TOLLWAY_RUN_DIR                the sockets gateway.sock of Envoy and admin.sock of extauthz (/run/tollway)
TOLLWAY_KEEPER_ADDRESS         where /healthz, /startz and /readyz are (0.0.0.0)
TOLLWAY_KEEPER_PORT            9465
TOLLWAY_WATCH_SILENCE_SECONDS  75
TOLLWAY_REQUEST_SECONDS        30
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tollway.resources.models import ROOT_NAMESPACE
from tollway_extauthz.keeping.answering import application
from tollway_extauthz.keeping.api_server import APIServer, Patience
from tollway_extauthz.keeping.keeper import Keeper, Places
from tollway_extauthz.serving import serve_port

WRONG_USAGE: Final = 2
_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True)
class Options:
    url: str
    account: Path
    root_namespace: str
    places: Places
    patience: Patience
    address: str
    port: int


def options(environ: Mapping[str, str]) -> Options:
    """Raises `ValueError` with a sentence on the variable that is wrong."""
    run = Path(environ.get("TOLLWAY_RUN_DIR", "/run/tollway"))
    return Options(
        url=_url(environ),
        account=Path(environ.get("TOLLWAY_SERVICE_ACCOUNT_DIR", _ACCOUNT)),
        root_namespace=environ.get("TOLLWAY_ROOT_NAMESPACE", ROOT_NAMESPACE),
        places=Places(
            config=Path(environ.get("TOLLWAY_CONFIG_DIR", "/etc/tollway/config")),
            identity=Path(environ.get("TOLLWAY_IDENTITY_DIR", "/etc/tollway/identity")),
            rules=Path(environ.get("TOLLWAY_RULES_DIR", "/etc/tollway/rules")),
            envoy_socket=run / "gateway.sock",
            extauthz_socket=run / "admin.sock",
        ),
        patience=Patience(
            request=_number(environ, "TOLLWAY_REQUEST_SECONDS", 30, 86_400),
            silence=_number(environ, "TOLLWAY_WATCH_SILENCE_SECONDS", 75, 86_400),
        ),
        address=environ.get("TOLLWAY_KEEPER_ADDRESS", "0.0.0.0"),  # noqa: S104 - the kubelet asks for health
        port=int(_number(environ, "TOLLWAY_KEEPER_PORT", 9465, 65_535)),
    )


def _url(environ: Mapping[str, str]) -> str:
    host, port = (environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host or not port:
        raise ValueError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be set: this runs in a pod")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _number(environ: Mapping[str, str], name: str, usual: float, most: float) -> float:
    try:
        value = float(environ.get(name, usual))
    except ValueError:
        value = 0.0
    if not 1 <= value <= most:
        raise ValueError(f"{name} must be a number from 1 to {most:.0f}")
    return value


async def serve(chosen: Options) -> None:
    server = APIServer(chosen.url, chosen.account, chosen.patience)
    keeper = Keeper(chosen.places, chosen.root_namespace, server, random.random)
    runner = await serve_port(application(keeper), chosen.address, chosen.port)
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - this is a coroutine
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await keeper.run()
    finally:
        await runner.cleanup()
        await server.close()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        chosen = options(os.environ)
    except ValueError as problem:
        print(f"tollway-keeper: {problem}", file=sys.stderr)  # noqa: T201 - before there is a log
        return WRONG_USAGE
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(serve(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The sidecar in a pod, as the operator configures it and the injector starts it: when a kubelet takes it for ready."""

import contextlib
import http.client
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import until
from ports import free_ports
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, agent_id
from tollway.resources.models import AIProvider, Endpoint, KeyType, Meta, ProviderType
from tollway_cli.standalone.supervisor import leashed
from tollway_files.atomic import swap
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.svid_files import svid_files
from tollway_operator.envoy.binary import envoy_binary
from tollway_operator.injecting.settings import InjectionSettings
from tollway_operator.injecting.sidecar import container
from tollway_operator.names import CONFIG_DIR, HEALTH_PORT, IDENTITY_DIR, RUN_DIR, SIDECAR_PORT
from tollway_operator.reconciling.rendering import sidecar_config
from tollway_operator.reconciling.snapshot import Installation

OPENAI = AIProvider(Meta("openai"), ProviderType.OPENAI, Endpoint(True, "api.openai.com", 443))


def certificate(root: Path) -> dict[str, bytes]:
    now = time.time_ns() // 1_000_000
    authority = Authority.load_or_create(root / "ca", DEFAULT_TRUST_DOMAIN, now)
    svid = authority.issue(agent_id(DEFAULT_TRUST_DOMAIN, "a", "b", "c"), KeyType.ECDSA_P256, 3_600_000, now)
    return dict(svid_files(svid, authority.bundle_map()))


@contextlib.contextmanager
def sidecar(root: Path, identity: dict[str, bytes]) -> Iterator[tuple[int, int]]:
    """The command of the container, with its volumes below `root` and other ports; gives those of calls and health."""
    port, health, gateway = free_ports(3)
    moved = {
        CONFIG_DIR: str(root / "config"),
        IDENTITY_DIR: str(root / "identity"),
        RUN_DIR: str(root),
        str(SIDECAR_PORT): str(port),
        str(HEALTH_PORT): str(health),
    }

    def place(text: str) -> str:
        for usual, here in moved.items():
            text = text.replace(usual, here)
        return text

    swap(root / "identity", identity)
    files = sidecar_config(Installation(gateway_host="127.0.0.1", gateway_port=gateway), (OPENAI,))
    swap(root / "config", {name: place(content.decode()).encode() for name, content in files.items()})
    args = [place(argument) for argument in container(InjectionSettings("x"))["args"]]
    process = subprocess.Popen(leashed((str(envoy_binary()), *args)))
    try:
        yield port, health
    finally:
        process.terminate()
        process.wait(10)


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body=b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


@pytest.mark.parametrize("certified", [True, False], ids=["with a certificate", "suspended, without one"])
def test_it_is_ready_for_itself_alone_whether_or_not_there_is_a_gateway(tmp_path: Path, certified: bool) -> None:
    files = certificate(tmp_path)
    identity = files if certified else {"bundle.json": files["bundle.json"]}
    with sidecar(tmp_path, identity) as (port, health):
        until(lambda: ask(health, "/healthz")[0] == 200, "it is not ready")
        assert ask(health, "/")[0] == 404
        assert ask(health, "/openai/v1/models")[0] == 404
        status, body = ask(port, "/openai/v1/chat/completions", "POST")
        assert (status, b"tollway.unreachable" in body) == (503, True)
        assert ask(health, "/healthz")[0] == 200

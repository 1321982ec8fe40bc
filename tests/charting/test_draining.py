"""How a gateway's pod ends, with a real Envoy: calls in flight come to their end, Envoy ends, then the hook."""

import contextlib
import http.client
import http.server
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import until
from ports import free_ports
from tollway_cli.standalone.supervisor import leashed
from tollway_operator.envoy.binary import envoy_binary

HOOK = (sys.executable, "-m", "tollway_extauthz.draining")


class Provider:
    """Answers a call when it is told to."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                provider.asked.set()
                assert provider.may_answer.wait(60)
                self.send_response(200)
                self.send_header("content-length", "4")
                self.end_headers()
                self.wfile.write(b"done")

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Road:
    def __init__(self, envoy: subprocess.Popen[bytes], admin: Path, port: int, provider: Provider) -> None:
        self.envoy, self.admin, self.port, self.provider = envoy, admin, port, provider
        self.answer: bytes | None = None

    def call(self) -> threading.Thread:
        """One that is in flight when this returns. `answer` is what it got, empty where it was cut."""

        def get() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.answer = b""
                connection.request("GET", "/")
                self.answer = connection.getresponse().read()
            connection.close()

        calling = threading.Thread(target=get)
        calling.start()
        assert self.provider.asked.wait(30)
        return calling

    def hook(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*HOOK, f"--admin={self.admin}", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture
def road() -> Iterator[Road]:
    provider = Provider()
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="tollway-") as folder:
        admin, bootstrap = Path(folder) / "admin.sock", Path(folder) / "bootstrap.json"
        bootstrap.write_text(json.dumps(configuration(admin, port, provider.port)))
        command = (str(envoy_binary()), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error")
        drain = ("--drain-time-s", "30", "--drain-strategy", "immediate", "--config-path", str(bootstrap))
        envoy = subprocess.Popen(leashed((*command, *drain)))
        try:
            until(lambda: listens(port), "Envoy does not listen")
            yield Road(envoy, admin, port, provider)
        finally:
            provider.may_answer.set()
            provider.server.shutdown()
            provider.server.server_close()
            envoy.kill()
            envoy.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_idle_envoy_ends_at_once(road: Road) -> None:
    said, _ = road.hook("--seconds=60").communicate(timeout=30)
    assert "every call in flight came to its end" in said
    assert road.envoy.wait(10) == 0


def test_a_call_in_flight_is_waited_for_and_gets_its_answer(road: Road) -> None:
    calling = road.call()
    hook = road.hook("--seconds=60")
    with pytest.raises(subprocess.TimeoutExpired):
        hook.wait(2)
    assert road.envoy.poll() is None
    road.provider.may_answer.set()
    said, _ = hook.communicate(timeout=30)
    calling.join(30)
    assert "every call in flight came to its end" in said
    assert road.answer == b"done"
    assert road.envoy.wait(10) == 0


def test_a_call_that_takes_too_long_is_cut(road: Road) -> None:
    calling = road.call()
    said, _ = road.hook("--seconds=1").communicate(timeout=30)
    calling.join(30)
    assert "the time was up" in said
    assert road.answer == b""
    assert road.envoy.wait(10) == 0


def test_a_gateway_that_is_still_asked_stays_for_as_long_as_it_may_be(road: Road) -> None:
    hook = road.hook("--seconds=60", "--at-least=2")
    with pytest.raises(subprocess.TimeoutExpired):
        hook.wait(1)
    calling = road.call()
    road.provider.may_answer.set()
    calling.join(30)
    assert road.answer == b"done"
    hook.communicate(timeout=30)
    assert road.envoy.wait(10) == 0


def test_without_an_envoy_there_is_nothing_to_wait_for(road: Road) -> None:
    road.envoy.send_signal(signal.SIGKILL)
    road.envoy.wait()
    said, _ = road.hook("--seconds=60").communicate(timeout=30)
    assert "there was no Envoy" in said


def configuration(admin: Path, port: int, provider: int) -> object:
    """One listener, one cluster: how a listener of ours drains does not depend on what its filters do."""
    filters = "type.googleapis.com/envoy.extensions.filters"
    router = {"@type": f"{filters}.http.router.v3.Router"}
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "it"}}]}
            ]
        },
    }
    return {
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "gateway",
                    "address": at(port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "it",
                    "connect_timeout": "5s",
                    "load_assignment": {
                        "cluster_name": "it",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(provider)}}]}],
                    },
                }
            ],
        },
    }


def at(port: int) -> object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

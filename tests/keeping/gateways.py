"""The gateway in a cluster, for tests: a real API server, the operator, and the processes of the gateway's pod.

Each process has the pod's directories where the pod has them (/etc/tollway, /run/tollway, /var/lib/tollway), by a mount
namespace of its own. Agents call with the SVIDs that the operator issued.
"""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from cryptography import x509

from clusters import Client, Cluster, path_of
from installations import DemoProvider
from operating.operators import ENFORCED, TOLLWAY, Running, agent, install, operating, rules, wait_for
from ports import free_ports
from tollway_cli.demo.provider import CALL_LOG, ProviderSettings
from tollway_cli.standalone.envoys import command as envoy_command
from tollway_cli.standalone.supervisor import leashed
from tollway_extauthz.keeping.watched import GATEWAY, PARTS_FILE
from tollway_operator.envoy.binary import envoy_binary

ROOT: Final = "tollway-system"
TEAM: Final = "team-a"
CHAT: Final = "/openai/v1/chat/completions"
_ASKED: Final = {
    "model": "gpt-5-mini",
    "messages": [{"role": "user", "content": "hello"}],
    "max_completion_tokens": 100,
}
# Each provider reads its own.
_HEADERS: Final = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
_OF_THE_MACHINE: Final = ("hosts", "resolv.conf", "nsswitch.conf", "passwd", "group", "localtime")

Json = Any


# --- the pod -------------------------------------------------------------------------------------------------------


class Process:
    """One process of the pod. `start` it again after `kill`."""

    def __init__(self, name: str, folder: Path, command: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = leashed((*_in_the_pod(folder), *command))
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def _in_the_pod(folder: Path) -> tuple[str, ...]:
    """A command before which the directories of `folder` are where the pod has them."""
    mounts = " && ".join(f"mount --bind {folder}/{name} /{name}" for name in ("etc", "run"))
    maps = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", "--mount", *maps, "--", "/bin/sh", "-c", f'{mounts} && exec "$@"', "sh")


class Pod:
    """The gateway's pod: `keeper`, `extauthz` and `envoy`, in the order in which the kubelet starts them."""

    def __init__(self, account: Client, port: int, usage_port: int, **environ: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tw-pod-"))
        self.port = port
        self.usage_port = usage_port
        self.health_port, self.metrics_port = free_ports(2)
        self._make_directories()
        token = account._headers["Authorization"].removeprefix("Bearer ")
        self.show_account(account.cluster, token)
        self.keeper = self._keeper(account.cluster, environ)
        self.extauthz = self._extauthz()
        self.envoy = self._envoy()

    @property
    def processes(self) -> tuple[Process, ...]:
        return self.keeper, self.extauthz, self.envoy

    @property
    def rules(self) -> Json:
        return json.loads((self.folder / "etc/tollway/rules/rules.json").read_text())

    def start(self) -> Self:
        self.keeper.start()
        wait_for(lambda: self.asks("/startz"), "the keeper does not start")
        self.extauthz.start()
        self.envoy.start()
        wait_for(lambda: self.asks("/readyz") and self.asks("/readyz", self.metrics_port), "the pod is not ready")
        return self

    def asks(self, path: str, port: int = 0) -> bool:
        """What the kubelet asks the keeper, or whoever has `port`."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.health_port}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def admin(self, path: str) -> Json:
        """What extauthz answers on its socket."""
        connection = http.client.HTTPConnection("extauthz")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.folder / "run/tollway/admin.sock"))
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    def show_account(self, cluster: Cluster, token: str) -> None:
        directory = self.folder / "account"
        directory.mkdir(exist_ok=True)
        (directory / "token").write_text(token)
        shutil.copy(cluster.ca_file, directory / "ca.crt")

    def end(self) -> None:
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_directories(self) -> None:
        for name in ("config", "identity", "rules", "settings"):
            (self.folder / "etc/tollway" / name).mkdir(parents=True)
        for name in ("run/tollway", "ledger", "etc/ssl/certs"):
            (self.folder / name).mkdir(parents=True)
        for name in (*_OF_THE_MACHINE, "ssl/certs/ca-certificates.crt"):
            if (Path("/etc") / name).is_file():
                shutil.copy(Path("/etc") / name, self.folder / "etc" / name)

    def _keeper(self, cluster: Cluster, environ: Mapping[str, str]) -> Process:
        usual = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(cluster.port),
            "TOLLWAY_SERVICE_ACCOUNT_DIR": str(self.folder / "account"),
            "TOLLWAY_ROOT_NAMESPACE": ROOT,
            "TOLLWAY_KEEPER_ADDRESS": "127.0.0.1",
            "TOLLWAY_KEEPER_PORT": str(self.health_port),
        }
        return Process("keeper", self.folder, (sys.executable, "-m", "tollway_extauthz.keeping"), {**usual, **environ})

    def _extauthz(self) -> Process:
        settings = {
            "trust_domain": "cluster.local",
            "rules": "/etc/tollway/rules/rules.json",
            "issuers": "/etc/tollway/rules/issuers.pem",
            "ledger": str(self.folder / "ledger/ledger.db"),
            "check_socket": "/run/tollway/check.sock",
            "access_log": "/run/tollway/access.log",
            "gateway_admin_socket": "/run/tollway/gateway.sock",
            "admin_socket": "/run/tollway/admin.sock",
            "metrics_port": self.metrics_port,
            "identity": "/etc/tollway/identity",
            "usage_port": self.usage_port,
            "usage_address": "127.0.0.1",
        }
        (self.folder / "etc/tollway/settings/settings.json").write_text(json.dumps(settings))
        command = ("-m", "tollway_extauthz", "--settings", "/etc/tollway/settings/settings.json")
        return Process("extauthz", self.folder, (sys.executable, *command), {})

    def _envoy(self) -> Process:
        command = envoy_command(envoy_binary(), Path("/etc/tollway/config/bootstrap.json"), concurrency=1)
        return Process("envoy", self.folder, command, {})


# --- agents --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Called:
    status: int
    reason: str
    """The refusal's, by its header."""
    body: Json = field(repr=False)


class Agent:
    """Calls with an SVID, on a connection that stays open until the gateway closes it."""

    def __init__(self, port: int, files: Mapping[str, bytes]) -> None:
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.load_verify_locations(cadata=files["ca.crt"].decode())
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(files["tls.crt"] + files["tls.key"])
            pem.flush()
            self._context.load_cert_chain(pem.name)
        self._connection: http.client.HTTPSConnection | None = None
        self.connections = 0

    def call(self, path: str = CHAT, asked: Json = _ASKED, **changes: object) -> Called:
        body = json.dumps({**asked, **changes}).encode()
        connection = self._connected()
        connection.request("POST", path, body, _HEADERS)
        response = connection.getresponse()
        content = response.read()
        if response.will_close:
            self.close()
        return Called(response.status, response.headers.get("x-tollway-reason", ""), json.loads(content or b"null"))

    def serial_of_the_gateway(self) -> int:
        """That of the certificate it shows on a new connection."""
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=20) as plain,
            self._context.wrap_socket(plain) as connection,
        ):
            shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=20)
            self.connections += 1
        return self._connection


class Load:
    """Calls without end, on an open connection and on new ones by turns; what was not granted is in `failures`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.calls = 0
        self.failures: list[object] = []

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self.calls > 2 or self.failures, "no load")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def has_gone_on(self, calls: int = 30) -> None:
        """Returns after so many more of them."""
        until = self.calls + calls
        wait_for(lambda: self.calls >= until or self.failures, "the load stands still")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                called = self._agent.call()
                if called.status != 200:
                    self.failures.append(called)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                self._agent.close()
            self.calls += 1
            if self.calls % 3 == 0:
                self._agent.close()


# --- the whole -----------------------------------------------------------------------------------------------------


class Gateway:
    """Everything. `admin` is the cluster's administrator."""

    def __init__(self, cluster: Cluster, pod: Pod, operator: Running, provider: DemoProvider) -> None:
        self.cluster = cluster
        self.admin = cluster.admin
        self.pod = pod
        self.operator = operator
        self.provider = provider
        self._agents: list[Agent] = []

    def end(self) -> None:
        for each in self._agents:
            each.close()

    def apply(self, *contents: Json) -> None:
        for content in contents:
            self.admin.apply(content).expect()

    def patch(self, kind: str, name: str, content: Json, namespace: str | None = TEAM, version: str = TOLLWAY) -> None:
        path = path_of(version, kind, namespace, name)
        self.admin.send("PATCH", path, content, "application/merge-patch+json").expect()

    def delete(self, kind: str, name: str, namespace: str | None = TEAM) -> None:
        self.admin.send("DELETE", path_of(TOLLWAY, kind, namespace, name)).expect()

    def declare_agent(self, name: str, **spec: object) -> None:
        self.apply(agent(name, TEAM, svid={"delivery": "Secret"}, **spec))

    def agent(self, name: str) -> Agent:
        """One that is declared, with the SVID that the operator issued."""
        self._agents.append(Agent(self.pod.port, self.files(f"tollway-svid-{name}", TEAM)))
        return self._agents[-1]

    def files(self, secret: str, namespace: str = ROOT) -> Mapping[str, bytes]:
        """What is in a Secret, once it is there."""
        path = path_of("v1", "Secret", namespace, secret)
        wait_for(lambda: self.admin.get(path).ok, f"there is no Secret {secret}")
        data = self.admin.get(path).expect()["data"]
        return {name: base64.b64decode(text) for name, text in data.items()}

    def configured(self) -> Mapping[str, str]:
        """The providers of the configuration that the operator wrote, with their UIDs; empty while there is none."""
        found = self.admin.get(path_of("v1", "ConfigMap", ROOT, GATEWAY))
        return json.loads(found.expect()["data"][PARTS_FILE])["providers"] if found.ok else {}

    def declare_provider(self, name: str, **spec: object) -> None:
        self.apply(provider(name, self.provider.endpoint, **spec))

    def declare_key(self, value: str, name: str = "openai-key") -> None:
        data = {"api-key": base64.b64encode(value.encode()).decode()}
        meta = {"name": name, "namespace": ROOT}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})

    @property
    def keys_served(self) -> list[str]:
        """The key of each call that reached the provider."""
        return [served.key for served in self.provider.app[CALL_LOG]]


def provider(name: str, endpoint: str, **spec: object) -> Json:
    usual = {
        "type": "OpenAI",
        "endpoint": endpoint,
        "allowPlaintext": True,
        "credential": {"secretRef": {"name": "openai-key", "key": "api-key"}},
    }
    return {"apiVersion": TOLLWAY, "kind": "AIProvider", "metadata": {"name": name}, "spec": {**usual, **spec}}


def quota(name: str, namespace: str = TEAM, **spec: object) -> Json:
    usual = {"limits": [{"name": "budget", "cost": "1000.00", "window": "Lifetime"}]}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": TOLLWAY, "kind": "AIQuota", "metadata": meta, "spec": {**usual, **spec}}


def grant(cluster: Cluster) -> Client:
    """The gateway's service account with the rights of the chart."""
    for document in rules("gateway.yaml", ROOT):
        cluster.admin.apply(document).expect()
    account = cluster.service_account(ROOT, "tollway-gateway")
    wait_for(lambda: account.get(path_of(TOLLWAY, "AIProvider")).ok, "nothing is granted")
    return account


@contextlib.contextmanager
def gateway_in_a_cluster(cluster: Cluster, **keeper: str) -> Iterator[Gateway]:
    """A provider `openai`, the agent `team-a/researcher` and its budget are there, and calls are granted."""
    port, usage_port = free_ports(2)
    operator_account = install(cluster, ROOT, (TEAM,))
    with contextlib.ExitStack() as stack:
        demo = stack.enter_context(DemoProvider(ProviderSettings()))
        operator = operating(
            operator_account,
            ROOT,
            TOLLWAY_SECRET_NAMESPACES=TEAM,
            TOLLWAY_GATEWAY=f"127.0.0.1:{port}",
            TOLLWAY_REPORTS=f"127.0.0.1:{usage_port}",
        )
        running = stack.enter_context(operator)
        pod = Pod(grant(cluster), port, usage_port, **keeper)
        stack.callback(pod.end)
        gateway = Gateway(cluster, pod, running, demo)
        stack.callback(gateway.end)
        gateway.declare_key("sk-first")
        gateway.declare_provider("openai")
        gateway.declare_agent("researcher")
        gateway.apply(quota("everybody"))
        with _showing(pod):
            # A gateway that starts with a configuration of before is ready before the provider is there.
            wait_for(lambda: "openai" in gateway.configured(), "the operator does not configure the provider")
            pod.start()
            assert (first := gateway.agent("researcher").call()).status == 200, first
            yield gateway


@contextlib.contextmanager
def _showing(pod: Pod) -> Iterator[None]:
    """A test that fails shows what the processes wrote."""
    try:
        yield
    except BaseException:
        for process in pod.processes:
            sys.stderr.write(f"--- {process.name}\n{process.said()[-3000:]}\n")
        raise


def within(seconds: float, holds: Callable[[], bool]) -> float:
    """How long it took; fails after `seconds`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"it does not hold within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


__all__ = [
    "ENFORCED",
    "ROOT",
    "TEAM",
    "Agent",
    "Gateway",
    "Load",
    "gateway_in_a_cluster",
    "provider",
    "quota",
    "within",
]

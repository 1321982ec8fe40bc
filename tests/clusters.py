"""A real API server for tests: kube-apiserver and etcd on loopback, with RBAC and service-account tokens.

Nothing stands behind it: no controllers (so nothing is garbage-collected, no namespace finishes deleting, and
`namespace` makes the default service account itself), no nodes, no pods that run. One server serves all tests of a
pytest process; tests keep out of each other's way by namespaces of their own. A test that stops or pauses the server
starts one of its own with `running_cluster`.

The server and etcd die with the process that started them, however that ends.
"""

import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ports import free_ports
from tollway_cli.standalone.supervisor import leashed

ROOT: Final = Path(__file__).parents[1]
START_TIMEOUT_S: Final = 120.0
ISSUER: Final = "https://kubernetes.default.svc.cluster.local"

Json = Any


class CannotStart(Exception):  # noqa: N818 - named for what happened
    """A process of the cluster ended, or did not become ready; the message has the end of its log."""


# --- what a test talks to ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else str(self.body)

    def expect(self) -> Json:
        assert self.ok, f"{self.status}: {self.message}"
        return self.body


class Client:
    """The API as one identity sees it. Not for several threads at once: make one for each."""

    def __init__(
        self, cluster: "Cluster", kubeconfig: Path, context: ssl.SSLContext, headers: Mapping[str, str]
    ) -> None:
        self.cluster = cluster
        self.kubeconfig = kubeconfig
        self._context = context
        self._headers = headers
        self._connection: http.client.HTTPSConnection | None = None
        cluster.clients.append(self)

    def get(self, path: str, **query: str) -> Answer:
        return self.send("GET", path, **query)

    def send(
        self, method: str, path: str, body: Json = None, content_type: str = "application/json", **query: str
    ) -> Answer:
        """Bytes go as they are, anything else as JSON. The connection is kept; a stale one is made anew, once."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": "application/json", **self._headers}
        url = f"{path}?{urlencode(query)}" if query else path
        for attempt in (1, 2):
            try:
                return self._exchange(method, url, data, headers)
            except (http.client.HTTPException, OSError):
                self.close()
                if attempt == 2:
                    raise
        raise AssertionError

    def create(self, content: Json, **query: str) -> Answer:
        namespace = content["metadata"].get("namespace")
        return self.send("POST", path_of(content["apiVersion"], content["kind"], namespace), content, **query)

    def apply(self, content: Json, manager: str = "tests") -> Answer:
        """Server-side apply."""
        meta = content["metadata"]
        path = path_of(content["apiVersion"], content["kind"], meta.get("namespace"), meta["name"])
        data = json.dumps(content).encode()
        return self.send("PATCH", path, data, "application/apply-patch+yaml", fieldManager=manager, force="true")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self._said([self.cluster.binaries["kubectl"], *arguments], stdin)

    def shell(self, script: str) -> str:
        """What a user would type, or paste at once: `kubectl` is there, and the first command that fails ends it."""
        return self._said(["sh", "-eu", "-c", script])

    def _said(self, command: Sequence[str], stdin: str | None = None) -> str:
        programs = Path(self.cluster.binaries["kubectl"]).parent
        environ = {
            "HOME": str(self.cluster.folder),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{programs}:/usr/bin:/bin",
        }
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environ, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", self.cluster.port, context=self._context, timeout=30
            )
        self._connection.request(method, url, data, headers)
        response = self._connection.getresponse()
        content = response.read()
        try:
            return Answer(response.status, json.loads(content))
        except ValueError:
            return Answer(response.status, content.decode(errors="replace"))


PLURALS: Final[Mapping[str, str]] = {
    "AgentIdentity": "agentidentities",
    "NetworkPolicy": "networkpolicies",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
}
CLUSTER_SCOPED: Final = frozenset(
    {
        "AIProvider",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterTrustBundle",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)


def path_of(api_version: str, kind: str, namespace: str | None = None, name: str = "") -> str:
    """Where objects of a kind are served, or one of them is."""
    version = quote(api_version)
    base = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    scope = "" if kind in CLUSTER_SCOPED else f"/namespaces/{quote(namespace or 'default', safe='')}"
    plural = PLURALS.get(kind, f"{quote(kind.lower(), safe='')}s")
    return f"{base}{scope}/{plural}" + (f"/{quote(name, safe='')}" if name else "")


# --- the cluster ---------------------------------------------------------------------------------------------------


class Cluster:
    """Made by `running_cluster`."""

    def __init__(self, binaries: Mapping[str, str], folder: Path) -> None:
        self.binaries = binaries
        self.folder = folder
        self.port, self._etcd_port, self._peer_port = free_ports(3)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.clients: list[Client] = []
        self._authority = _Authority(folder)
        self._numbers = itertools.count()
        self.admin = self.user("kubernetes-admin", "system:masters")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self._authority.certificate_file

    def user(self, name: str, *groups: str) -> Client:
        """Anybody, by a client certificate: a node, for example, is `system:node:NAME` in `system:nodes`."""
        certificate, key = self._authority.issue(f"client-{next(self._numbers)}", name, groups)
        context = self._trusting()
        context.load_cert_chain(certificate, key)
        credential = {"client-certificate": str(certificate), "client-key": str(key)}
        return Client(self, self._kubeconfig(credential), context, {})

    def service_account(self, namespace: str, name: str) -> Client:
        """A service account by a token of its own, as its pods have it. Makes the account where there is none."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        self.admin.apply(account).expect()
        path = path_of("v1", "ServiceAccount", namespace, name) + "/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200},
        }
        token = self.admin.send("POST", path, request).expect()["status"]["token"]
        headers = {"Authorization": f"Bearer {token}"}
        return Client(self, self._kubeconfig({"token": token}), self._trusting(), headers)

    def namespace(self, name: str, **labels: str) -> str:
        """A namespace with its default service account, which no controller would make here."""
        self.admin.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        ).expect()
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        self.admin.apply(account).expect()
        return name

    def install_crds(self) -> None:
        """Those of `crds/`; returns when the server serves and explains them."""
        crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        for crd in crds:
            self.admin.apply(crd).expect()
        plurals = {crd["spec"]["names"]["plural"] for crd in crds}
        until(lambda: all(self._explains(plural) for plural in plurals), "the CRDs are not served")

    def _explains(self, plural: str) -> bool:
        served = self.admin.get(f"/apis/tollway.dev/v1alpha1/{plural}").ok
        explained = self.admin.get("/openapi/v3/apis/tollway.dev/v1alpha1").body
        return served and isinstance(explained, dict) and any(path.endswith(plural) for path in explained["paths"])

    def start(self) -> Self:
        self._start_etcd()
        self.start_api_server()
        return self

    def start_api_server(self) -> None:
        """Also after `kill("kube-apiserver")`: on the same port, with the same objects."""
        pki = self._authority
        certificate, key = pki.issue("server", "kube-apiserver", server=True)
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={pki.certificate_file}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={pki.token_public_key_file}",
            f"--service-account-signing-key-file={pki.token_key_file}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--profiling=false",
            # A loopback address is no legal endpoint of the Service `kubernetes`.
            "--endpoint-reconciler-type=none",
        )
        self._wait_for("kube-apiserver", self._is_ready)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    def end(self) -> None:
        for client in self.clients:
            client.close()
        for name in reversed(list(self.processes)):
            self.kill(name)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        self._start(
            "etcd",
            "--name=default",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        )
        self._wait_for("etcd", lambda: _listens(self._etcd_port))

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                leashed((self.binaries[name], *arguments)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def _wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        def ended_or_ready() -> bool:
            if self.processes[name].poll() is not None:
                raise CannotStart(f"{name} ended:\n{self._log(name)}")
            return ready()

        until(ended_or_ready, f"{name} does not become ready", START_TIMEOUT_S)

    def _is_ready(self) -> bool:
        try:
            return self.admin.get("/readyz").ok
        except OSError:
            return False

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def _trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _kubeconfig(self, credential: Mapping[str, str]) -> Path:
        path = self.folder / f"kubeconfig-{next(self._numbers)}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [
                {"name": "it", "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)}},
            ],
            "users": [{"name": "it", "user": dict(credential)}],
        }
        path.write_text(yaml.safe_dump(content))
        path.chmod(0o600)
        return path


@contextlib.contextmanager
def running_cluster(binaries: Mapping[str, str]) -> Iterator[Cluster]:
    """An API server that is ready, without Tollway's CRDs."""
    folder = Path(tempfile.mkdtemp(prefix="tollway-cluster-"))
    cluster = Cluster(binaries, folder)
    try:
        yield cluster.start()
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kube_binaries() -> Mapping[str, str]:
    """Where kube-apiserver, etcd and kubectl are.

    A machine that cannot have them skips, loudly; TOLLWAY_CLUSTER=required makes that an error.
    """
    tool = [sys.executable, str(ROOT / "tools" / "kube_binaries.py")]
    done = subprocess.run(tool, capture_output=True, text=True)
    if done.returncode == 0:
        return dict(json.loads(done.stdout))
    if os.environ.get("TOLLWAY_CLUSTER") == "required":
        pytest.fail(done.stderr.strip(), pytrace=False)
    pytest.skip(done.stderr.strip())


@pytest.fixture(scope="session")
def cluster(kube_binaries: Mapping[str, str]) -> Iterator[Cluster]:
    """The API server that all tests of this process share, with Tollway's CRDs."""
    with running_cluster(kube_binaries) as running:
        running.install_crds()
        yield running


# --- its certificates and ports ------------------------------------------------------------------------------------


class _Authority:
    """The cluster's own CA and service-account key, in files. Has nothing to do with Tollway's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(self._name, self._key).add_extension(basic, critical=True)
        self.certificate_file = self._write("ca.crt", _pem(certificate.sign(self._key, hashes.SHA256())))
        token_key = ec.generate_private_key(ec.SECP256R1())
        public = token_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.token_key_file = self._write("tokens.key", _key_pem(token_key))
        self.token_public_key_file = self._write("tokens.pub", public)

    def issue(self, file: str, name: str, groups: tuple[str, ...] = (), *, server: bool = False) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(subject, key).add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if server:
            names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return self._write(f"{file}.crt", _pem(certificate)), self._write(f"{file}.key", _key_pem(key))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(minutes=5),
            not_valid_after=now + timedelta(days=7),
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], object], otherwise: str, seconds: float = 30) -> None:
    """Poll. What was written acts a moment later: RBAC rules, admission policies, a pod for its node, a new kind."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise CannotStart(otherwise)
        time.sleep(0.05)

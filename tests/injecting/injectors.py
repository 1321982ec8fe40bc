"""The injector as a process of its own under its RBAC, and the webhook by which an API server asks it."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clusters import Client, Cluster, until
from injecting.injection import IMAGE
from operating.operators import ENFORCED, rules
from ports import free_ports
from tollway_cli.standalone.supervisor import leashed
from tollway_files.atomic import swap
from tollway_operator.authority.serving import Serving, serving_certificate
from tollway_operator.injecting.server import PATH
from tollway_operator.names import INJECTOR

Json = Any


def install(cluster: Cluster, root: str) -> Client:
    """The rights of the chart; returns the injector's service account."""
    cluster.namespace(root)
    for document in rules("injector.yaml", root):
        cluster.admin.apply(document).expect()
    account = cluster.service_account(root, INJECTOR)
    until(lambda: account.get("/apis/tollway.dev/v1alpha1/aiproviders").ok, "nothing is granted")
    return account


class Running:
    """An injector's process."""

    def __init__(self, account: Client, environ: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tollway-injector-")
        self.folder = Path(self._folder.name)
        self.log = self.folder / "injector.log"
        self.tls = self.folder / "tls"
        self.port, self._health_port = free_ports(2)
        environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": self._folder.name,
            "KUBECONFIG": str(account.kubeconfig),
            "TOLLWAY_SIDECAR_IMAGE": IMAGE,
            "TOLLWAY_TLS_DIRECTORY": str(self.tls),
            "TOLLWAY_WEBHOOK_ADDRESS": f"127.0.0.1:{self.port}",
            "TOLLWAY_HEALTH_ADDRESS": f"127.0.0.1:{self._health_port}",
            **environ,
        }
        with self.log.open("ab") as log:
            command = leashed((sys.executable, "-m", "tollway_operator.injecting"))
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environ)

    def show(self, *names: str) -> bytes:
        """Give it another certificate for these names, as the kubelet changes the files of a Secret."""
        made: Serving = serving_certificate(names, time.time_ns() // 1_000_000)
        self.show_files({"tls.crt": made.certificate, "tls.key": made.key})
        return made.certificate

    def show_files(self, files: Mapping[str, bytes]) -> None:
        swap(self.tls, files)

    def probe(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._health_port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def ask(
        self, body: bytes, trusted: bytes, name: str = "localhost", path: str = PATH, patience: float = 10
    ) -> tuple[int, bytes]:
        """One request, by whoever trusts these certificates only. Raises `ssl.SSLError`."""
        context = ssl.create_default_context(cadata=trusted.decode())
        connection = http.client.HTTPConnection(name, self.port, timeout=patience)
        # By the name of the certificate, wherever it is.
        raw = socket.create_connection(("127.0.0.1", self.port), patience)
        connection.sock = context.wrap_socket(raw, server_hostname=name)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def shows(self, trusted: bytes, name: str = "localhost") -> bool:
        """Whether what it shows is one of these certificates, for this name."""
        try:
            return self.ask(b"", trusted, name)[0] == 400
        except (OSError, ssl.SSLError):
            return False

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()


@contextlib.contextmanager
def injecting(account: Client, **environ: str) -> Iterator[Running]:
    """An injector; a test that fails shows what it wrote."""
    running = Running(account, environ)
    try:
        yield running
    except BaseException:
        sys.stderr.write(running.log.read_text(errors="replace")[-6000:])
        raise
    finally:
        running.end()


def webhook(**client: Json) -> Json:
    """As the chart has it, but for how it is reached."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": INJECTOR},
        "webhooks": [
            {
                "name": "injector.tollway.dev",
                "clientConfig": client,
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "timeoutSeconds": 5,
                "namespaceSelector": {"matchLabels": ENFORCED},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }
        ],
    }


def review(pod: Json, namespace: str = "team-a", **request: Json) -> bytes:
    return json.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "operation": "CREATE",
                "namespace": namespace,
                "object": pod,
                **request,
            },
        }
    ).encode()

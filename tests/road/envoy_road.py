"""A real road on this machine: sidecar Envoy, gateway Envoy, with an upstream and a Check of the test's own.

Only the decision and the provider are the test's; certificates come from the real authority, files are swapped by the
real swap.
"""

import contextlib
import http.client
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ports import free_port
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, SPIFFEID, agent_id, gateway_id
from tollway.resources.models import AIProvider, Endpoint, KeyType, Meta, ProviderType, SecretKeyRef
from tollway_extauthz.wire.envoy_subset_pb2 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    HttpStatus,
    OkHttpResponse,
    Status,
)
from tollway_files.atomic import swap
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.svid_files import gateway_svid_files
from tollway_operator.envoy.binary import envoy_binary
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.settings import MIB, GatewaySettings, SidecarSettings
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files

AGENT = agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "researcher", "researcher")
GATEWAY = gateway_id(DEFAULT_TRUST_DOMAIN)
HOUR_MS = 3_600_000
PROVIDER_KEY = b"sk-the-providers-key"
CHAT = "/openai/v1/chat/completions"
JSON = {"content-type": "application/json"}


def allowed(**metadata: object) -> CheckResponse:
    response = CheckResponse(status=Status(code=0), ok_response=OkHttpResponse())
    response.dynamic_metadata.update(metadata)
    return response


def denied(status: int, body: str, **metadata: object) -> CheckResponse:
    response = CheckResponse(
        status=Status(code=7), denied_response=DeniedHttpResponse(status=HttpStatus(code=status), body=body)
    )
    response.dynamic_metadata.update({"answered": True, **metadata})
    return response


class Check:
    """The test's own decision: `answer` is what is called, `asked` what it was called with."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.answer: Callable[[CheckRequest], CheckResponse] = lambda _: allowed(call="a-call")
        self.asked: list[CheckRequest] = []
        self.start()

    def start(self) -> None:
        options = [("grpc.max_receive_message_length", 64 * MIB)]
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        method = grpc.unary_unary_rpc_method_handler(
            self._check, CheckRequest.FromString, CheckResponse.SerializeToString
        )
        service = "envoy.service.auth.v3.Authorization"
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Check": method})])
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _check(self, request: CheckRequest, _: grpc.ServicerContext) -> CheckResponse:
        self.asked.append(request)
        return self.answer(request)

    def headers(self) -> dict[str, list[str]]:
        """Of the last question."""
        found: dict[str, list[str]] = {}
        for header in self.asked[-1].attributes.request.http.header_map.headers:
            found.setdefault(header.key, []).append((header.raw_value or header.value.encode()).decode())
        return found


@dataclass
class Received:
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Script:
    """What the upstream answers: a status, headers, and pieces of a body. `wait` is between the pieces, seconds."""

    pieces: list[bytes]
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    status: int = 200
    wait: float = 0.0


class Upstream:
    """A provider over TLS: `script` is what it answers, `received` what came."""

    def __init__(self, directory: Path) -> None:
        self.script = Script([b"{}"])
        self.received: list[Received] = []
        self.silent_s = 0.0
        self.ca_file = directory / "provider-ca.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*_provider_certificate(directory, self.ca_file))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(upstream: "Upstream") -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = _read_body(self)
                upstream.received.append(Received(self.command, self.path, self.headers.items(), body))
                script = upstream.script
                time.sleep(upstream.silent_s)
                self.send_response(script.status)
                for name, value in script.headers.items():
                    self.send_header(name, value)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                with contextlib.suppress(OSError):
                    for piece in [*script.pieces, b""]:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                        self.wfile.flush()
                        time.sleep(script.wait)

            do_GET = do_POST = do_PUT = do_OPTIONS = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _read_body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("transfer-encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _provider_certificate(directory: Path, ca_file: Path) -> tuple[Path, Path]:
    """For `localhost`, by an authority of the outside world. Certificate and key."""
    key, certificate = _certificate("an authority", None, None)
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    leaf_key, leaf = _certificate("localhost", key, certificate)
    files = directory / "provider.crt", directory / "provider.key"
    files[0].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def _certificate(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None, issuer: x509.Certificate | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=False)
    )
    return key, builder.sign(issuer_key or key, hashes.SHA256())


class Envoy:
    def __init__(self, directory: Path, bootstrap: bytes, admin_socket: str) -> None:
        self._admin_socket = admin_socket
        config = directory / f"{Path(admin_socket).stem}.json"
        config.write_bytes(bootstrap)
        self.log = directory / f"{Path(admin_socket).stem}.log"
        options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [envoy_binary(), "--config-path", config, "--file-flush-interval-msec", "20", *options],
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        eventually(self._is_ready, 15)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        with contextlib.suppress(OSError):
            return self.ask("/ready") == "LIVE\n"
        return False

    def ask(self, path: str) -> str:
        """The administration's answer."""
        connection = http.client.HTTPConnection("admin")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.connect(self._admin_socket)
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def counter(self, name: str) -> int:
        return int(self.ask(f"/stats?filter=^{name}$&format=text").partition(": ")[2] or 0)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def call(self) -> str:
        return self.headers["x-request-id"]


class Road:
    """Everything running. `directory` is short: sockets live in it."""

    def __init__(self, directory: Path, **gateway: int) -> None:
        self.directory = directory
        self.authority = _authority(directory / "ca")
        self.check = Check(str(directory / "check.sock"))
        self.upstream = Upstream(directory)
        self.providers = [self.provider("openai")]
        self.gateway_settings = GatewaySettings(
            trust_domain="cluster.local",
            address="127.0.0.1",
            port=free_port(),
            check_sockets=(self.check.path,),
            admin_socket=str(directory / "gateway.sock"),
            access_log=str(directory / "access.log"),
            xds_dir=str(directory / "gateway-xds"),
            identity_dir=str(directory / "gateway-id"),
            upstream_ca_file=str(self.upstream.ca_file),
            **gateway,
        )
        self.sidecar_settings = self.sidecar_for(self.gateway_settings.port)
        self.show_identity(self.gateway_settings.identity_dir, GATEWAY)
        self.show_identity(self.sidecar_settings.identity_dir, AGENT)
        self.show_providers({"openai": PROVIDER_KEY})
        self.gateway = Envoy(directory, gateway_bootstrap(self.gateway_settings), self.gateway_settings.admin_socket)
        self.sidecar = Envoy(directory, sidecar_bootstrap(self.sidecar_settings), self.sidecar_settings.admin_socket)
        self.gateway.wait_until_ready()
        self.sidecar.wait_until_ready()

    def provider(self, name: str, **changes: object) -> AIProvider:
        endpoint = Endpoint(tls=True, host="localhost", port=self.upstream.port)
        values: dict[str, object] = {
            "meta": Meta(name),
            "type": ProviderType.OPENAI,
            "endpoint": endpoint,
            "credential": SecretKeyRef(f"{name}-key", "api-key"),
        }
        return AIProvider(**(values | changes))  # type: ignore[arg-type]

    def sidecar_for(self, gateway_port: int, name: str = "sidecar") -> SidecarSettings:
        return SidecarSettings(
            agent="team-a/researcher",
            address="127.0.0.1",
            port=free_port(),
            gateway_address="127.0.0.1",
            gateway_port=gateway_port,
            trust_domain="cluster.local",
            admin_socket=str(self.directory / f"{name}.sock"),
            xds_dir=str(self.directory / "sidecar-xds"),
            identity_dir=str(self.directory / "sidecar-id"),
        )

    def show_identity(self, directory: str, spiffe_id: SPIFFEID, authority: Authority | None = None) -> None:
        svid = (authority or self.authority).issue(spiffe_id, KeyType.ECDSA_P256, HOUR_MS, now_ms())
        swap(Path(directory), gateway_svid_files(svid, None, self.authority.bundle_map()))

    def show_providers(self, credentials: Mapping[str, bytes]) -> None:
        swap(Path(self.gateway_settings.xds_dir), gateway_files(self.gateway_settings, self.providers, credentials))
        swap(Path(self.sidecar_settings.xds_dir), sidecar_files(self.sidecar_settings, self.providers))

    def call(
        self,
        path: str = CHAT,
        body: bytes | None = b'{"model":"gpt-5-mini"}',
        headers: Mapping[str, str] = JSON,
        method: str = "POST",
        port: int | None = None,
    ) -> Answer:
        """A call by the agent, through its sidecar."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.sidecar_settings.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            return _answer(connection.getresponse())

    @contextlib.contextmanager
    def stream(self, path: str = CHAT) -> Iterator[tuple[Answer, bytes]]:
        """A call whose answer is not read to its end: the head, and the first piece."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sidecar_settings.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", path, b"{}", JSON)
            response = connection.getresponse()
            yield Answer(response.status, _headers(response), b""), response.read1()

    def raw(self, request: bytes, svid: SPIFFEID | None = AGENT, authority: Authority | None = None) -> Answer:
        """Bytes straight to the gateway, with an SVID but without a sidecar: as a pod can send them."""
        with self.connection(self.client_context(svid, authority)) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)  # type: ignore[arg-type]
            response.begin()
            return _answer(response)

    @contextlib.contextmanager
    def connection(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
        """To the gateway."""
        address = "127.0.0.1", self.gateway_settings.port
        with (
            socket.create_connection(address, timeout=10) as plain,
            context.wrap_socket(plain, session=session) as connection,
        ):
            yield connection

    def client_context(self, svid: SPIFFEID | None, authority: Authority | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if svid is not None:
            issued = (authority or self.authority).issue(svid, KeyType.ECDSA_P256, HOUR_MS, now_ms())
            with tempfile.NamedTemporaryFile(dir=self.directory) as pem:
                pem.write(issued.chain_pem + issued.key_pem)
                pem.flush()
                context.load_cert_chain(pem.name)
        return context

    def lines(self) -> list[dict[str, object]]:
        """Of the access-log file."""
        path = Path(self.gateway_settings.access_log)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def line(self, call: str) -> dict[str, object]:
        return eventually(lambda: next((line for line in self.lines() if line["id"] == call), None))

    def stop(self) -> None:
        for part in (self.sidecar, self.gateway, self.check, self.upstream):
            part.stop()


@contextlib.contextmanager
def running_road(**gateway: int) -> Iterator[Road]:
    directory = Path(tempfile.mkdtemp(prefix="tw"))
    try:
        road = Road(directory, **gateway)
        try:
            yield road
        finally:
            road.stop()
    finally:
        shutil.rmtree(directory)


def _authority(directory: Path) -> Authority:
    directory.mkdir(parents=True)
    return Authority.load_or_create(directory, DEFAULT_TRUST_DOMAIN, now_ms())


def foreign_authority(directory: Path) -> Authority:
    return _authority(directory)


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, _headers(response), response.read())


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


T = TypeVar("T")


def eventually(find: Callable[[], T | None], seconds: float = 5) -> T:
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def now_ms() -> int:
    return time.time_ns() // 1_000_000

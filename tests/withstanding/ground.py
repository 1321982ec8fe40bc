"""An installation under attack: bytes straight to its sidecar and to its gateway, and what became of them.

`Ground` is a `Stage` whose provider writes down what reached it; what a refusal must leave behind is nothing, and
`Ground.unmoved` says so for the provider and for every counter.
"""

import contextlib
import json
import re
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ending.acting_provider import ActingProvider
from ending.stage import AGENT, LIMITS, Stage, TunedInstallation
from installations import agent, provider, quota, running, secret, wait_until
from withstanding.recording_provider import Manner, Received, RecordingProvider

CHAT: Final = "/openai/v1/chat/completions"
MESSAGES: Final = "/anthropic/v1/messages"
HOPS: Final = ("sidecar", "gateway")
"""Where an agent can send bytes: to its sidecar in the plain, or past it with the certificate that it has."""

BODY: Final = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5}'
MESSAGE: Final = b'{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"hi"}],"max_tokens":5}'
JSON: Final = "content-type: application/json"
VERSION: Final = "anthropic-version: 2023-06-01"

_OPENAI_ERROR: Final = {"message", "type", "param", "code"}


def head(path: str = CHAT, *headers: str, method: str = "POST", host: str | None = "localhost") -> bytes:
    """A request's head; nothing is added but the host."""
    named = [f"host: {host}"] if host is not None else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", *named, *headers, "", ""]).encode("latin-1")


def request(path: str = CHAT, *headers: str, body: bytes = BODY, content_type: str | None = JSON, **how: Any) -> bytes:
    """A whole request that is in order but for what is named."""
    usual = [f"content-length: {len(body)}"] + ([content_type] if content_type is not None else [])
    return head(path, *usual, *headers, **how) + body


@dataclass(frozen=True)
class Answer:
    """`status` is 0 where the connection was closed or reset instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def reason(self) -> str:
        return self.headers.get("x-tollway-reason", "")

    @property
    def call(self) -> str:
        return self.headers.get("x-request-id", "")

    def is_shaped(self, path: str = CHAT) -> bool:
        """Whether it is an error as this provider's SDK reads it."""
        assert self.headers.get("content-type") == "application/json", self
        told = json.loads(self.body)
        if path.startswith("/anthropic/"):
            return bool(told["type"] == "error" and {"type", "message"} <= told["error"].keys())
        return bool(told["error"].keys() == _OPENAI_ERROR and told["error"]["message"])


CUT: Final = Answer(0)


def read_answer(connection: socket.socket) -> Answer:
    try:
        response = HTTPResponse(connection)
        with contextlib.closing(response):
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
    except (HTTPException, OSError):
        return CUT


class Ground(Stage):
    """`provider` is what is behind it: `acting` for tests of how calls end, `recording` for all others."""

    @property
    def provider(self) -> RecordingProvider:
        assert isinstance(self.acting, RecordingProvider)
        return self.acting

    # Sending

    def connection(self, hop: str, agent: str = AGENT, *, alpn: Sequence[str] = ()) -> socket.socket:
        return self.to_sidecar(agent) if hop == "sidecar" else self.to_gateway(self.svid(agent), alpn=alpn)

    def plain_connection(self, hop: str) -> socket.socket:
        """To either, without a handshake."""
        return self.to_sidecar() if hop == "sidecar" else _connect(self.installation.ready["gateway"])

    def to_sidecar(self, agent: str = AGENT) -> socket.socket:
        return _connect(self.installation.base_url(agent))

    def to_gateway(self, certificate: bytes, *, sni: str | None = None, alpn: Sequence[str] = ()) -> ssl.SSLSocket:
        """A connection that shows this certificate (PEM with its key)."""
        context = client_context(certificate)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return self.handshake(context, sni)

    def handshake(
        self, context: ssl.SSLContext, sni: str | None = None, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        plain = self.plain_connection("gateway")
        try:
            return context.wrap_socket(plain, server_hostname=sni, session=session)
        except OSError:
            plain.close()
            raise

    def svid(self, agent: str = AGENT) -> bytes:
        """The certificate that the agent's sidecar has, with its key."""
        identity = self.installation.state / "agents" / agent.replace("/", "_") / "identity"
        return (identity / "tls.crt").read_bytes() + (identity / "tls.key").read_bytes()

    def send(self, hop: str, sent: bytes, agent: str = AGENT) -> Answer:
        """Bytes on a connection of their own, and the first answer."""
        with self.connection(hop, agent) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(sent)
            return read_answer(connection)

    @contextlib.contextmanager
    def answering(self, **how: Any) -> Iterator[None]:
        """The provider answers so (`Manner`)."""
        self.provider.manner = Manner(**how)
        try:
            yield
        finally:
            self.provider.manner = Manner()

    def asked(self) -> int:
        """How often the gateway has asked for a decision."""
        return self._gauge("cluster.check.upstream_rq_total")

    # What became of it

    def counters(self) -> dict[str, int]:
        """What is used of every limit, once nothing is held."""
        found: list[Mapping[str, Any]] = []

        def is_quiet() -> bool:
            found[:] = self.ask("/limits")["counters"]
            return all(counter["held"] == 0 for counter in found)

        wait_until(is_quiet, 10, lambda: str(found))
        return {counter["key"]: counter["used"] for counter in found}

    @contextlib.contextmanager
    def unmoved(self) -> Iterator[None]:
        """Nothing reaches the provider, nothing is charged, and nothing stays held."""
        before = self.counters(), len(self.provider.received)
        yield
        assert (self.counters(), len(self.provider.received)) == before, self.provider.received[before[1] :]

    @contextlib.contextmanager
    def one_call(self) -> Iterator[list[Received]]:
        """Exactly one call reaches the provider: it is in the list afterwards; and it is charged, once."""
        before, requests = len(self.provider.received), self._requests()
        found: list[Received] = []
        yield found
        found += self.provider.received[before:]
        assert len(found) == 1, found
        wait_until(lambda: self._requests() == requests + 1, 10)

    def _requests(self) -> int:
        return sum(used for key, used in self.counters().items() if key.endswith("/requests"))


def client_context(certificate: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _connect(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port or 0), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def documents(endpoint: str, *more: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        secret(),
        provider(endpoint=endpoint, default=True),
        provider("anthropic", type="Anthropic", endpoint=endpoint),
        agent("caller"),
        quota("plenty", *LIMITS),
        *(dict(each) for each in more),
    ]


@contextlib.contextmanager
def ground(
    *more: Mapping[str, Any],
    behind: type[RecordingProvider] | type[ActingProvider] = RecordingProvider,
    **tuning: object,
) -> Iterator[Ground]:
    """`tuning`: fields of `tollway_cli.standalone.tuning.Tuning`."""
    arguments = ["--tuning", json.dumps(tuning)]
    with (
        behind() as provider,
        running(documents(provider.endpoint, *more), arguments=arguments, kind=TunedInstallation) as (up, _),
    ):
        found = Ground(up, provider)  # type: ignore[arg-type]
        found.wait_until_it_serves()
        try:
            yield found
        finally:
            found.everybody_leaves()


def peak(pid: int) -> int:
    """The most memory that the process had since `forget_peak`, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")

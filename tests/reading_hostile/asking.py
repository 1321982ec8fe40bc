"""Questions put to the check socket of a running installation, by a gRPC client that says what Envoy never would."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import grpc

from installations import Installation
from tollway_extauthz.wire.envoy_subset_pb2 import CheckRequest, CheckResponse

METHOD = "/envoy.service.auth.v3.Authorization/Check"
PATIENCE_S = 30.0
_SERVER_SAYS_NO = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNKNOWN,
    }
)
"""What a server answers that lives: neither "unavailable" nor silence."""


@dataclass(frozen=True)
class Denied:
    status: int
    reason: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Granted:
    call: str
    removed: frozenset[str]


Outcome = Granted | Denied | grpc.StatusCode


@dataclass
class Asker:
    """`good(...)` is a question in order but for what is named."""

    channel: grpc.Channel
    certificate: str
    _number: int = field(default=0)

    def ask(self, question: CheckRequest | bytes, method: str = METHOD) -> Outcome:
        raw = question if isinstance(question, bytes) else question.SerializeToString()
        call = self.channel.unary_unary(method)
        try:
            answer = CheckResponse.FromString(call(raw, timeout=PATIENCE_S))
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
            return code
        return _outcome(answer)

    def good(
        self,
        *,
        method: str = "POST",
        path: str = "/openai/v1/chat/completions",
        body: bytes = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}],"max_completion_tokens":5}',
        provider: str | None = "openai",
        certificate: str | None = None,
        **headers: bytes | list[bytes] | None,
    ) -> CheckRequest:
        """Of `headers` (underscores for hyphens) None leaves one out, and a list says it several times."""
        self._number += 1
        asked = CheckRequest()
        attributes = asked.attributes
        attributes.source.certificate = self.certificate if certificate is None else certificate
        if provider is not None:
            attributes.context_extensions.update({"provider": provider, "family": "OpenAI"})
        http = attributes.request.http
        http.method, http.path, http.raw_body = method, path, body
        sent: dict[str, bytes | list[bytes] | None] = {
            ":authority": b"gateway",
            "content-type": b"application/json",
            "x-request-id": b"hostile-%d" % self._number,
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in sent.items():
            for each in value if isinstance(value, list) else [] if value is None else [value]:
                http.header_map.headers.add(key=name, raw_value=each)
        return asked


def _outcome(answer: CheckResponse) -> Outcome:
    if answer.status.code == 0:
        removed = frozenset(answer.ok_response.headers_to_remove)
        return Granted(answer.dynamic_metadata.fields["call"].string_value, removed)
    denied = answer.denied_response
    headers = {option.header.key: option.header.value for option in denied.headers}
    return Denied(denied.status.code, headers.get("x-tollway-reason", ""), headers, denied.body)


def is_refused(outcome: Outcome) -> bool:
    """By a decision, or by a server that says that it cannot read the question."""
    if isinstance(outcome, Denied):
        return 400 <= outcome.status < 600 and bool(outcome.reason) and outcome.body.startswith("{")
    return outcome in _SERVER_SAYS_NO


@contextmanager
def asking(installation: Installation, agent: str) -> Iterator[Asker]:
    """As the gateway's Envoy would ask about calls of `agent` ("namespace/name")."""
    directory = installation.state / "agents" / agent.replace("/", "_") / "identity"
    leaf = (directory / "tls.crt").read_text().partition("-----END CERTIFICATE-----")
    socket = Path(installation.state / "run" / "check.sock").resolve()
    sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"unix:{socket}", options=sizes) as channel:
        yield Asker(channel, quote(leaf[0] + leaf[1] + "\n", safe=""))

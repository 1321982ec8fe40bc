"""Envoy's question about a call in the core's words: `CheckRequest` to `Question`."""

from typing import Final

from tollway.deciding.question import CallerProblem, Question
from tollway.deciding.rulebook import Caller
from tollway.providers.json_scan import Body
from tollway_extauthz.body_reader import BIG
from tollway_extauthz.peer import PeerProblem
from tollway_extauthz.rules import Rules
from tollway_extauthz.wire.body_apart import body_apart
from tollway_extauthz.wire.envoy_subset_pb2 import AttributeContext, CheckRequest, HeaderMap

_LONGEST_PATH: Final = 8192
_NO_KEYS: Final[frozenset[str]] = frozenset()


def asked_in(message: bytes | bytearray) -> tuple[AttributeContext, Body]:
    """What Envoy asks, and the body. Raises `google.protobuf.message.DecodeError`."""
    if isinstance(message, bytearray) and len(message) > BIG and (apart := body_apart(message)) is not None:
        rest, body = apart
        return CheckRequest.FromString(rest).attributes, body if len(body) >= BIG else bytes(body)
    attributes = CheckRequest.FromString(bytes(message)).attributes
    return attributes, attributes.request.http.raw_body


def question_of(
    attributes: AttributeContext, body: Body, rules: Rules, now: int, wall_now: int, *, uncovered_allowed: bool
) -> Question:
    """The frozen input of the decision. Nothing in it is believed yet.

    `wall_now`: by the clock that certificates are issued by. It may be set, and `now` then does not go with it.
    """
    http = attributes.request.http
    headers, repeated = read_headers(http.header_map)
    provider = attributes.context_extensions.get("provider", "")
    path, _, query = http.path[:_LONGEST_PATH].partition("?")
    return Question(
        call_id=headers.get("x-request-id", ""),
        caller=_caller(attributes.source.certificate, rules, wall_now),
        provider_name=provider,
        method=http.method,
        path=path.removeprefix(f"/{provider}"),
        headers=headers,
        repeated_headers=repeated,
        query_keys=frozenset(pair.partition("=")[0] for pair in query.split("&") if pair) if query else _NO_KEYS,
        body=body,
        rules=rules.book,
        uncovered_allowed=uncovered_allowed,
        now=now,
    )


def read_headers(header_map: HeaderMap) -> tuple[dict[str, str], frozenset[str]]:
    """The headers by lower-case name (Envoy lowers them), and the names that came more than once."""
    fields = header_map.headers
    headers = {
        field.key: raw.decode("utf-8", "replace") if (raw := field.raw_value) else field.value for field in fields
    }
    if len(headers) == len(fields):
        return headers, _NO_KEYS
    names = [field.key for field in fields]
    return headers, frozenset(name for name in headers if names.count(name) > 1)


def _caller(certificate: str, rules: Rules, now: int) -> Caller | CallerProblem:
    proven = rules.peers.caller(certificate, now)
    return CallerProblem(proven.reason, proven.message) if isinstance(proven, PeerProblem) else proven

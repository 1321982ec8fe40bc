"""Envoy's questions: any bytes give a refusal, a clean failure, or the grant of a call that is in order throughout.

A certificate cannot be mutated and stay one, so an input whose certificate says "caller" is asked with a good one.
"""

import asyncio
import itertools
from collections.abc import Iterator
from functools import cache
from typing import Final
from urllib.parse import quote

import msgspec
from google.protobuf.message import DecodeError

from fuzz import goldens
from fuzz.bodies import spliced
from fuzz.strict_json import strict_object
from fuzz.targets.peer_certificates import NOW, ca, leaf_of_caller, pem
from tollway.deciding.question import Question, understand
from tollway.deciding.rulebook import RuleBook
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.ledger.units import LIFETIME, Unit
from tollway.pricing.data import default_book
from tollway.providers.port import Edit, ParsedCall
from tollway.resources.models import (
    AgentIdentity,
    AIProvider,
    AIQuota,
    Endpoint,
    Limit,
    Meta,
    ProviderType,
    ResourceSet,
    Selector,
)
from tollway_extauthz import body_reader
from tollway_extauthz.authorizer import Authorizer
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.peer import PeerValidator
from tollway_extauthz.questions import asked_in, question_of
from tollway_extauthz.rounds import Rounds
from tollway_extauthz.rules import Rules
from tollway_extauthz.settler import Settler
from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.wire.envoy_subset_pb2 import CheckRequest, CheckResponse

_ME: Final = "caller"
_ROUNDS: Final = 5
"""Turns of the loop within which everybody is answered who does not wait for another call's end."""
_ID: Final = "x-request-id"
_PATHS: Final = {
    "openai": ("/v1/chat/completions", "/v1/responses", "/v1/embeddings"),
    "anthropic": ("/v1/messages", "/v1/messages/count_tokens"),
}


def seeds() -> Iterator[bytes]:
    for provider, paths in _PATHS.items():
        for path, body in itertools.product(paths, itertools.islice(goldens.requests(provider), 0, None, 3)):
            yield question(provider, f"/{provider}{path}", body).SerializeToString()
    yield CheckRequest().SerializeToString()
    body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}],"max_completion_tokens":5}'
    repeated = question("openai", "/openai/v1/chat/completions?a=b&a", body)
    repeated.attributes.request.http.header_map.headers.add(key="content-type", raw_value=b"text/plain\xff")
    yield repeated.SerializeToString()
    foreign = question("openai", "CONNECT", body)
    foreign.attributes.source.certificate = "-----BEGIN%20CERTIFICATE-----"
    yield foreign.SerializeToString()


def question(provider: str, path: str, body: bytes) -> CheckRequest:
    """A question that is in order."""
    asked = CheckRequest()
    asked.attributes.source.certificate = _ME
    asked.attributes.context_extensions["provider"] = provider
    asked.attributes.context_extensions["family"] = "OpenAI" if provider == "openai" else "Anthropic"
    http = asked.attributes.request.http
    http.method, http.path, http.raw_body = "POST", path, body
    headers = {":authority": "gateway", "content-type": "application/json", _ID: "call-1"}
    if provider == "anthropic":
        headers["anthropic-version"] = "2023-06-01"
    for name, value in headers.items():
        http.header_map.headers.add(key=name, raw_value=value.encode())
    return asked


def check(data: bytes) -> None:
    raw, asked = data, _read(data)
    if asked is not None:
        if asked.attributes.source.certificate == _ME:
            asked.attributes.source.certificate = quote(pem(leaf_of_caller()), safe="")
            raw = asked.SerializeToString()
        attributes, body = asked_in(bytearray(raw))
        _check_reading_elsewhere(question_of(attributes, body, _rules(), NOW, NOW, uncovered_allowed=False))
    asking = _Asking()
    asyncio.run(_ask(asking, raw))
    (answer,) = asking.answers
    check_response(asked or CheckRequest(), CheckResponse.FromString(answer))


def _read(data: bytes) -> CheckRequest | None:
    try:
        return CheckRequest.FromString(data)
    except DecodeError:
        return None


class _Asking:
    """Envoy, as long as it waits."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.is_wanted = True

    def answer(self, message: bytes) -> None:
        self.answers.append(message)


async def _ask(asking: _Asking, message: bytes) -> None:
    """With fresh books, so that one input says nothing about the next."""
    ledger, learned = MemoryLedger(), LearnedOutputs()
    rounds = Rounds(
        _rules,
        ledger,
        Authorizer(ledger, learned, _now),
        Settler(ledger, learned, _metrics(), _now),
        _metrics(),
        _now,
        _now,
        lambda: 0.0,
        lambda: None,
        uncovered_allowed=False,
    )
    rounds.ask(asking, message)
    rounds.decide()
    for _ in range(_ROUNDS):
        if asking.answers:
            break
        await asyncio.sleep(0)


def _now() -> int:
    return NOW


@cache
def _metrics() -> Metrics:
    return Metrics()


def _check_reading_elsewhere(question: Question) -> None:
    """A body that is read in another process comes back as what it would have been here."""
    family, operation = question.family, question.operation
    if family is None or operation is None:
        return
    kind = question.headers.get("content-type", "")
    here = understand(family, operation, bytes(question.body), kind)
    told = {"family": family.name, "operation": operation, "content_type": kind}
    there = msgspec.msgpack.decode(body_reader.read_one(msgspec.msgpack.encode(told), bytes(question.body)))
    if isinstance(here, ParsedCall):
        assert msgspec.convert(there["parsed"], ParsedCall) == here
    else:
        assert (there["refused"]["reason"], there["refused"]["message"]) == (here.reason, here.message)


def check_response(asked: CheckRequest, response: CheckResponse) -> None:
    if response.status.code == 0:
        _check_grant(asked, response)
        return
    denied = response.denied_response
    assert 400 <= denied.status.code < 600, "a refusal is no failure"
    assert strict_object(denied.body.encode()), "a refusal is not in a provider's shape"
    for option in denied.headers:
        assert option.header.key.isascii()
        assert option.header.value.isprintable(), f"the header {option.header.key} breaks a line"


def _check_grant(asked: CheckRequest, response: CheckResponse) -> None:
    http = asked.attributes.request.http
    assert http.method == "POST"
    names = [header.key for header in http.header_map.headers]
    going = set(names) - set(response.ok_response.headers_to_remove)
    assert not going & {"authorization", "x-api-key", "cookie", "openai-organization"}, "a foreign header goes on"
    call = response.dynamic_metadata.fields["call"].string_value
    ids = [header.raw_value or header.value.encode() for header in http.header_map.headers if header.key == _ID]
    assert ids == [call.encode()], "a call goes under an id that is not its own"
    forwarded = strict_object(spliced(http.raw_body, _edits(response)))
    assert forwarded["model"] == strict_object(http.raw_body)["model"]


def _edits(response: CheckResponse) -> list[Edit]:
    """As the gateway's Lua reads them."""
    told, edits = response.dynamic_metadata.fields["edits"].string_value.encode(), []
    while told:
        begun, _, rest = told.partition(b":")
        offset, length, size = map(int, begun.split(b" "))
        edits.append(Edit(offset, length, rest[:size].decode()))
        told = rest[size:]
    return edits


@cache
def _rules() -> Rules:
    endpoint = Endpoint(tls=True, host="provider.example", port=443)
    resources = ResourceSet(
        agents=(AgentIdentity(Meta("researcher", "team-a"), Selector({"app": "researcher"})),),
        providers=(
            AIProvider(Meta("anthropic"), ProviderType.ANTHROPIC, endpoint),
            AIProvider(Meta("openai"), ProviderType.OPENAI, endpoint),
        ),
        quotas=(AIQuota(Meta("budget", "team-a"), (Limit("budget", Unit.COST, 10**15, LIFETIME),)),),
    )
    book = RuleBook(resources, default_book())
    return Rules(1, book, PeerValidator(DEFAULT_TRUST_DOMAIN, pem(ca()[0]).encode()), resources)

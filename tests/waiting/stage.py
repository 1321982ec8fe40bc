"""Rounds on a real store and real certificates, asked as Envoy asks: by bytes."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from identity.crafting import RESEARCHER, as_envoy_sends
from tollway.deciding.question import Question
from tollway.deciding.rulebook import RuleBook
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.ledger.port import Ledger
from tollway.pricing.data import default_book
from tollway.resources.models import KeyType
from tollway.resources.parse import parse_files
from tollway.settling.call_end import CallEnd
from tollway_extauthz.authorizer import Authorizer
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.peer import PeerValidator
from tollway_extauthz.questions import question_of
from tollway_extauthz.rounds import Rounds
from tollway_extauthz.rules import Rules
from tollway_extauthz.settler import Settler
from tollway_extauthz.wire.envoy_subset_pb2 import CheckRequest, CheckResponse
from tollway_operator.authority.authority import Authority

HOUR = 3_600_000
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 100}
RESOURCES = """
apiVersion: tollway.dev/v1alpha1
kind: AIProvider
metadata: {name: openai}
spec: {type: OpenAI}
---
apiVersion: tollway.dev/v1alpha1
kind: AgentIdentity
metadata: {name: researcher, namespace: team-a}
spec: {selector: {matchLabels: {app: researcher}}, serviceAccountName: researcher-sa}
---
apiVersion: tollway.dev/v1alpha1
kind: AIQuota
metadata: {name: q, namespace: team-a}
spec:
  limits:
  - {name: parallel, concurrent: 1}
  - {name: budget, cost: "%s", window: Lifetime}
"""


class Asker:
    """Who asked: what it was answered, and whether it still waits."""

    def __init__(self) -> None:
        self.is_wanted = True
        self.response: CheckResponse | None = None
        self.took_s = 0.0
        self._began = time.monotonic()

    def answer(self, message: bytes) -> None:
        assert self.response is None, "answered twice"
        self.took_s = time.monotonic() - self._began
        self.is_wanted = False
        self.response = CheckResponse.FromString(message)

    @property
    def said(self) -> str:
        """ "granted", or the reason of the refusal; "" while there is no answer."""
        if self.response is None:
            return ""
        if self.response.status.code == 0:
            return "granted"
        told = {each.header.key: each.header.value for each in self.response.denied_response.headers}
        return told["x-tollway-reason"]


class Stage:
    """`ledger` is a store of its own for each test; `budget` in dollars."""

    def __init__(self, directory: Path, ledger: Ledger, budget: str = "1.00") -> None:
        self.ledger = ledger
        self.metrics = Metrics()
        now = self.clock()
        authority = Authority.load_or_create(directory, DEFAULT_TRUST_DOMAIN, now)
        self._certificate = _certificate(authority, now)
        resources = parse_files({"r.yaml": (RESOURCES % budget).encode()}).resources
        peers = PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem())
        self.rules: Rules | None = Rules(1, RuleBook(resources, default_book()), peers, resources)
        learned = LearnedOutputs()
        self.rounds = Rounds(
            lambda: self.rules,
            ledger,
            Authorizer(ledger, learned, self.clock),
            Settler(ledger, learned, self.metrics, self.clock),
            self.metrics,
            self.clock,
            self.clock,
            time.perf_counter,
            lambda: None,
            uncovered_allowed=False,
        )

    @staticmethod
    def clock() -> int:
        return time.time_ns() // 1_000_000

    def ask(self, call_id: str, body: bytes | None = None) -> Asker:
        asker = Asker()
        self.rounds.ask(asker, self.question(call_id, body or json.dumps(BODY).encode()))
        asyncio.get_running_loop().call_soon(self.rounds.decide)
        return asker

    def question(self, call_id: str, body: bytes) -> bytes:
        request = CheckRequest()
        attributes = request.attributes
        attributes.source.certificate = self._certificate
        attributes.context_extensions.update({"provider": "openai", "family": "OpenAI"})
        http = attributes.request.http
        http.method, http.path, http.raw_body = "POST", "/openai/v1/chat/completions", body
        for name, value in (("content-type", "application/json"), ("x-odd", "1"), ("x-request-id", call_id)):
            http.header_map.headers.add(key=name, raw_value=value.encode())
        return request.SerializeToString()

    def parsed_question(self, body: bytes) -> Question:
        """As the rounds make it of `question`."""
        assert self.rules is not None
        attributes = CheckRequest.FromString(self.question("x", body)).attributes
        return question_of(attributes, body, self.rules, self.clock(), self.clock(), uncovered_allowed=False)

    def end(self, call_id: str) -> None:
        """The access log tells that the call was served."""
        usage = {"prompt_tokens": 10, "completion_tokens": 20}
        self.rounds.take_lines([CallEnd(call_id, 200, True, True, usage)], lambda: None)


def _certificate(authority: Authority, now: int) -> str:
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, now)
    return as_envoy_sends(x509.load_pem_x509_certificates(svid.chain_pem)[0])


async def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until it holds. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - anything may make it so
            await asyncio.sleep(0.002)

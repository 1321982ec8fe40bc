"""One Check: translate Envoy's question, decide, reserve, translate the decision back.

The id of a call is the `x-request-id` that the gateway's Envoy made: it is in the Check, in both access logs and in
what the caller sees, so that nothing can fall between them.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from google.protobuf.struct_pb2 import Struct

from tollway.deciding import reasons
from tollway.deciding.admission import Admission, decide, facts_of
from tollway.deciding.checks import trace
from tollway.deciding.question import CallerProblem, Question
from tollway.deciding.rulebook import Caller
from tollway.deciding.shortfall import refusal_of
from tollway.ledger.port import CallFacts, Granted, Ledger, Refused, Short, Source
from tollway.ledger.units import Amounts
from tollway.providers.openai.family import OPENAI
from tollway.providers.port import Answer, Family, Kind, Refusal, RequestRefused
from tollway.providers.registry import family_of
from tollway_extauthz.gate import Gate
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.peer import Peer
from tollway_extauthz.rules import Rules
from tollway_extauthz.wire.envoy_subset_pb2 import AttributeContext, CheckRequest, CheckResponse, OkHttpResponse

_log = logging.getLogger(__name__)
_OK: Final = 0
_PERMISSION_DENIED: Final = 7
_OVERWRITE: Final = 2  # envoy.config.core.v3.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
# Envoy's own, or needed to frame the request: Envoy refuses to have them removed, or takes care of them itself.
_KEPT: Final = frozenset({"host", "content-length", "transfer-encoding", "te", "x-request-id"})
_LONGEST_PATH: Final = 8192
_LONGEST_TOLD: Final = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a decision: a refusal, or what was granted (and for which parsed question)."""

    question: Question
    refusal: Refusal | None = None
    granted: Granted | None = None


class Authorizer:
    def __init__(
        self,
        rules: Callable[[], Rules | None],
        ledger: Ledger,
        gate: Gate,
        learned: LearnedOutputs,
        metrics: Metrics,
        clock: Callable[[], int],
        timer: Callable[[], float],
        *,
        uncovered_allowed: bool,
    ) -> None:
        self._rules = rules
        self._ledger = ledger
        self._gate = gate
        self._learned = learned
        self._metrics = metrics
        self._clock = clock
        self._timer = timer
        self._uncovered_allowed = uncovered_allowed

    def check(self, request: CheckRequest, still_wanted: Callable[[], bool]) -> CheckResponse:
        """Answer Envoy. Any failure of our own is a refusal in the provider's shape, never a grant."""
        started = self._timer()
        try:
            response, reason = self._answer(request, still_wanted)
        except Exception:  # noqa: BLE001 - an exception must never mean a grant
            _log.exception("a decision failed; the call is refused")
            response, reason = self._failure(request), reasons.INTERNAL
        provider = request.attributes.context_extensions.get("provider", "")
        self._metrics.checked(provider, reason, self._timer() - started)
        return response

    def _answer(self, request: CheckRequest, still_wanted: Callable[[], bool]) -> tuple[CheckResponse, str]:
        rules = self._rules()
        if rules is None:
            return self._failure(request), reasons.INTERNAL
        question = self.question(request.attributes, rules)
        verdict = self.decide(question, still_wanted)
        if verdict.granted is not None and not still_wanted():
            # Envoy gave up while we decided: nobody will use this hold, and no log entry will end it.
            self._ledger.settle(question.call_id, Amounts(), Source.METERED, self._clock())
            self._gate.hold_ended()
        if verdict.refusal is not None:
            return _denied(question.family or _default_family(request), verdict.refusal), verdict.refusal.reason
        return _allowed(verdict), ""

    def decide(self, question: Question, still_wanted: Callable[[], bool]) -> Verdict:
        """Checks, then the ledger. A refusal is in the journal when this returns."""
        outcome = decide(question, self._learned.median)
        if isinstance(outcome, Refusal):
            return self._refuse(question, outcome, facts_of(question))
        result = self._reserve(question, outcome, still_wanted)
        if isinstance(result, Short):
            refusal = refusal_of(result, outcome.facts, question.call_id, self._clock())
            return self._refuse(question, refusal, outcome.facts)
        return Verdict(question, granted=result)

    def question(self, attributes: AttributeContext, rules: Rules) -> Question:
        """Envoy's attributes as the core's frozen input."""
        http = attributes.request.http
        headers, repeated = _headers(attributes)
        provider = attributes.context_extensions.get("provider", "")
        path, _, query = http.path[:_LONGEST_PATH].partition("?")
        return Question(
            call_id=headers.get("x-request-id", ""),
            caller=self._caller(attributes, rules),
            provider_name=provider,
            method=http.method,
            path=path.removeprefix(f"/{provider}"),
            headers=headers,
            repeated_headers=repeated,
            query_keys=frozenset(pair.partition("=")[0] for pair in query.split("&") if pair),
            body=http.raw_body,
            rules=rules.book,
            uncovered_allowed=self._uncovered_allowed,
            now=self._clock(),
        )

    def _caller(self, attributes: AttributeContext, rules: Rules) -> Caller | CallerProblem:
        peer = rules.peers.validate(attributes.source.certificate, self._clock())
        if not isinstance(peer, Peer):
            return CallerProblem(peer.reason, peer.message)
        return caller_of(peer)

    def _reserve(self, q: Question, admission: Admission, still_wanted: Callable[[], bool]) -> Granted | Short:
        return self._gate.reserve(q.call_id, admission.facts, admission.demands, admission.sizes, still_wanted)

    def _refuse(self, question: Question, refusal: Refusal, facts: CallFacts) -> Verdict:
        said = Refused(question.call_id, _with_trace(facts, question, refusal), refusal.reason, refusal.message)
        self._ledger.record_refusal(said, self._clock())
        return Verdict(question, refusal=refusal)

    def _failure(self, request: CheckRequest) -> CheckResponse:
        headers, _ = _headers(request.attributes)
        refusal = Refusal(
            Kind.UNAVAILABLE,
            reasons.INTERNAL,
            "Tollway cannot decide about this call at the moment, so it was not made. Try again.",
            headers.get("x-request-id", ""),
            retry_after_ms=1000,
        )
        return _denied(_default_family(request), refusal)


def caller_of(peer: Peer) -> Caller:
    """The caller that a validated certificate proves."""
    return Caller(
        spiffe_id=str(peer.spiffe_id),
        namespace=peer.path.namespace,
        service_account=peer.path.service_account,
        agent=peer.path.agent,
        pod=peer.pod_uid or "",
    )


def _headers(attributes: AttributeContext) -> tuple[dict[str, str], frozenset[str]]:
    """The headers by lower-case name (Envoy lowers them), and the names that came more than once."""
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    for header in attributes.request.http.header_map.headers:
        if header.key in headers:
            repeated.add(header.key)
        headers[header.key] = header.raw_value.decode("utf-8", "replace") if header.raw_value else header.value
    return headers, frozenset(repeated)


def _default_family(request: CheckRequest) -> Family:
    """The shape of an answer when the provider itself is unknown: the route's, else the one most SDKs read."""
    return family_of(request.attributes.context_extensions.get("family", "")) or OPENAI


def _with_trace(facts: CallFacts, question: Question, refusal: Refusal) -> CallFacts:
    said = trace(question)
    if said[-1][1] == "passed":
        said = (*said, ("limits", f"{refusal.reason}: {refusal.message}"))
    return replace(facts, checks=said)


def _denied(family: Family, refusal: Refusal) -> CheckResponse:
    answer: Answer = family.refusal(refusal)
    response = CheckResponse()
    response.status.code = _PERMISSION_DENIED
    response.denied_response.status.code = answer.status
    response.denied_response.body = answer.body.decode()
    for name, value in answer.headers:
        option = response.denied_response.headers.add(append_action=_OVERWRITE)
        option.header.key, option.header.value = name, value
    # Keeps Envoy's own error shapes off a denial that has its body already.
    response.dynamic_metadata.fields["answered"].bool_value = True
    return response


def _allowed(verdict: Verdict) -> CheckResponse:
    question, granted = verdict.question, verdict.granted
    assert granted is not None  # noqa: S101 - a verdict is one of both
    assert question.family is not None  # noqa: S101 - `provider_known`
    response = CheckResponse()
    response.status.code = _OK
    ok = response.ok_response
    ok.headers_to_remove.extend(_foreign_headers(question, question.family))
    _edit_headers(ok, question)
    call_header = ok.response_headers_to_add.add(append_action=_OVERWRITE).header
    call_header.key, call_header.value = "x-tollway-call", question.call_id
    _tell_envoy(response.dynamic_metadata, question, granted, question.family)
    return response


def _edit_headers(ok: OkHttpResponse, question: Question) -> None:
    """Take out of allowed headers what must not travel, and tell the caller."""
    edits = question.header_edits
    assert not isinstance(edits, RequestRefused)  # noqa: S101 - `features_understood`
    for edit in edits:
        if edit.value:
            header = ok.headers.add(append_action=_OVERWRITE).header
            header.key, header.value = edit.name, edit.value
        else:
            ok.headers_to_remove.append(edit.name)
        told = ok.response_headers_to_add.add(append_action=_OVERWRITE).header
        told.key, told.value = "x-tollway-removed", f"{edit.name}: {', '.join(edit.removed)}"[:_LONGEST_TOLD]


def _foreign_headers(question: Question, family: Family) -> list[str]:
    return [
        name
        for name in question.headers
        if name not in family.allowed_headers and name not in _KEPT and not name.startswith((":", "x-tollway-"))
    ]


def _tell_envoy(metadata: Struct, question: Question, granted: Granted, family: Family) -> None:
    """What the filters behind ext_authz act on: the edits of the body, and whether to hide the usage we asked for."""
    fields = metadata.fields
    fields["call"].string_value = question.call_id
    fields["provider"].string_value = question.provider_name
    if question.call.stream and not question.call.wants_usage:
        fields["strip_usage"].bool_value = True
    for edit in family.edits(question.call, question.body, granted.size or None):
        told = fields["edits"].list_value.values.add().struct_value.fields
        told["off"].number_value = edit.offset
        told["len"].number_value = edit.length
        told["text"].string_value = edit.text

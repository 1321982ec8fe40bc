"""The decision before the ledger is asked: an ordered list of named checks. The list is the specification.

Each check takes the whole question and returns nothing or a refusal; a check may rely on those before it. Checks do no
I/O and read no clock. Tests run against the whole list.
"""

from collections.abc import Callable
from typing import Final

from tollway.deciding import reasons
from tollway.deciding.question import CallerProblem, Question
from tollway.deciding.rulebook import Caller
from tollway.providers.port import Kind, Refusal, RequestRefused
from tollway.resources.models import ENFORCE_LABEL, ENFORCED, ROOT_NAMESPACE

_LONGEST_NAME: Final = 253

# Headers that decide who is trusted or how the body is read: seen twice, two readers could take different ones.
_SINGLE_HEADERS: Final = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "host",
        ":authority",
        "transfer-encoding",
        "x-api-key",
        "api-key",
        "anthropic-beta",
        "anthropic-version",
        # The call's id: an end that is told of one is the end of that call.
        "x-request-id",
    }
)


def identity_proven(q: Question) -> Refusal | None:
    if isinstance(q.caller, CallerProblem):
        return _refusal(q, q.caller.reason, q.caller.message)
    return None


def identity_in_force(q: Question) -> Refusal | None:
    caller = _caller(q)
    if caller.namespace == ROOT_NAMESPACE:
        return _refusal(
            q, reasons.IDENTITY_INVALID, f"{caller.spiffe_id} is an identity of Tollway itself, not of an agent."
        )
    if q.standing.suspended:
        return _refusal(
            q, reasons.IDENTITY_SUSPENDED, f"{_name(caller)} is suspended: an operator stopped all of its model calls."
        )
    if not q.standing.known:
        return _refusal(
            q, reasons.IDENTITY_UNKNOWN, f"There is no AgentIdentity {caller.namespace}/{caller.agent} (any more)."
        )
    return None


def namespace_enforced(q: Question) -> Refusal | None:
    if not q.standing.enforced:
        return _refusal(
            q,
            reasons.IDENTITY_UNENFORCED,
            f"The namespace {_caller(q).namespace!r} is not enforced (any more): identities of such namespaces make no "
            f"calls. Label it {ENFORCE_LABEL}={ENFORCED}.",
        )
    return None


def headers_unambiguous(q: Question) -> Refusal | None:
    if not q.repeated_headers.isdisjoint(_SINGLE_HEADERS):
        twice = min(q.repeated_headers & _SINGLE_HEADERS)
        return _refusal(q, reasons.REQUEST_MALFORMED, f"The request carries the header {twice!r} more than once.")
    if "," in q.headers.get(":authority", ""):
        return _refusal(q, reasons.REQUEST_MALFORMED, "The request names more than one host.")
    return None


def provider_known(q: Question) -> Refusal | None:
    if q.family is None:
        return _refusal(q, reasons.PROVIDER_UNKNOWN, f"There is no AIProvider {_shown(q)} that Tollway can serve.")
    return None


def provider_open(q: Question) -> Refusal | None:
    if not q.standing.open:
        return _refusal(
            q,
            reasons.PROVIDER_CLOSED,
            f"The AIProvider {_shown(q)} is not open to agents of the namespace {_caller(q).namespace!r}.",
        )
    return None


def query_allowed(q: Question) -> Refusal | None:
    if q.family is not None and not q.query_keys <= q.family.allowed_query:
        # Its name is not told: a key that was pasted into a URL is the name of a parameter without a value.
        allowed = ", ".join(sorted(q.family.allowed_query)) or "none"
        return _refusal(
            q,
            reasons.REQUEST_MALFORMED,
            f"The request has a query parameter that may not be sent to {_shown(q)} (allowed: {allowed}).",
        )
    return None


def operation_known(q: Question) -> Refusal | None:
    if q.operation is None:
        return _refusal(
            q,
            reasons.OPERATION_UNKNOWN,
            f"{q.method} {q.path} is not an operation that Tollway can bound at {_shown(q)}.",
        )
    return None


def features_understood(q: Question) -> Refusal | None:
    return _refused(q, q.header_edits) if isinstance(q.header_edits, RequestRefused) else None


def body_understood(q: Question) -> Refusal | None:
    return _refused(q, q.parsed) if isinstance(q.parsed, RequestRefused) else None


def model_allowed(q: Question) -> Refusal | None:
    if not q.listing.allowed:
        return _refusal(
            q,
            reasons.MODEL_FORBIDDEN,
            f"The model {q.call.model!r} is not in the list of the AIProvider {_shown(q)}.",
            param="model",
        )
    return None


def price_known(q: Question) -> Refusal | None:
    if q.listing.offer is None:
        return _refusal(
            q,
            reasons.MODEL_UNPRICED,
            f"No price is known for the model {q.call.model!r} at {_shown(q)}, and an unknown price is not "
            f"free: state it under spec.prices of the AIProvider.",
            param="model",
        )
    return None


def covered_by_quota(q: Question) -> Refusal | None:
    if q.uncovered_allowed or q.terms.bounded:
        return None
    return _refusal(
        q,
        reasons.QUOTA_NONE,
        f"No AIQuota limits tokens or cost of {_name(_caller(q))} for {q.call.model!r} at {_shown(q)}.",
    )


def output_bounded(q: Question) -> Refusal | None:
    if worst_size(q) is None:
        return _refusal(
            q,
            reasons.REQUEST_UNBOUNDED,
            f"The request names no output cap, and none is known for {q.call.model!r}: send one, or set "
            f"defaultMaxOutputTokens in the AIQuota or maxOutputTokens in the AIProvider.",
        )
    return None


Check = Callable[[Question], Refusal | None]

CHECKS_BEFORE_BODY: Final[tuple[tuple[str, Check], ...]] = (
    ("identity", identity_proven),
    ("identity in force", identity_in_force),
    ("namespace enforced", namespace_enforced),
    ("headers", headers_unambiguous),
    ("provider", provider_known),
    ("provider open", provider_open),
    ("query", query_allowed),
    ("operation", operation_known),
    ("features", features_understood),
)
CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    *CHECKS_BEFORE_BODY,
    ("body", body_understood),
    ("model", model_allowed),
    ("price", price_known),
    ("quota", covered_by_quota),
    ("output cap", output_bounded),
)


def first_refusal(q: Question) -> Refusal | None:
    """The first check's word against the call, if any."""
    return _first(CHECKS, q)


def refusal_before_body(q: Question) -> Refusal | None:
    """The same, of the checks that need not know what the body says."""
    return _first(CHECKS_BEFORE_BODY, q)


def _first(checks: tuple[tuple[str, Check], ...], q: Question) -> Refusal | None:
    for _, check in checks:
        if (refusal := check(q)) is not None:
            return refusal
    return None


def trace(q: Question) -> tuple[tuple[str, str], ...]:
    """Each check's name and what it said, up to and with the one that refused."""
    said: list[tuple[str, str]] = []
    for name, check in CHECKS:
        refusal = check(q)
        said.append((name, "passed" if refusal is None else f"{refusal.reason}: {refusal.message}"))
        if refusal is not None:
            break
    return tuple(said)


def worst_size(q: Question) -> int | None:
    """The output cap per answer that bounds this call: the request's own, the quotas' default, the model's maximum.

    A request's own may be below the least that the provider takes: that is between the two.
    """
    call = q.call
    if call.output_cap is not None:
        return call.output_cap
    unasked = _default_size(q)
    return None if unasked is None else max(unasked, call.least_output)


def _default_size(q: Question) -> int | None:
    """The cap of a request that names none."""
    if q.terms.default_size is not None:
        return q.terms.default_size
    return q.offer.limits.max_output_tokens if q.offer is not None else None


def _caller(q: Question) -> Caller:
    assert isinstance(q.caller, Caller)  # noqa: S101 - `identity_proven` stands before every other check
    return q.caller


def _name(caller: Caller) -> str:
    if caller.agent is not None:
        return f"The agent {caller.namespace}/{caller.agent}"
    return f"The service account {caller.namespace}/{caller.service_account}"


def _shown(q: Question) -> str:
    """The provider's name as a sentence has it: one that no AIProvider has may be of any length."""
    return repr(q.provider_name[:_LONGEST_NAME])


def _refused(q: Question, refused: RequestRefused) -> Refusal:
    """What a provider's parser says against the request."""
    return Refusal(refused.kind, refused.reason, refused.message, q.call_id, param=refused.param)


def _refusal(q: Question, reason: str, message: str, param: str | None = None) -> Refusal:
    return Refusal(reasons.KINDS.get(reason, Kind.FORBIDDEN), reason, message, q.call_id, param=param)

"""A decision in Envoy's words: what a refused caller is told, and what becomes of a call that may go."""

from functools import lru_cache
from typing import Final

from tollway.deciding import reasons
from tollway.deciding.question import Question
from tollway.ledger.port import Granted
from tollway.providers.openai.family import OPENAI
from tollway.providers.port import Family, Kind, Refusal, RequestRefused
from tollway.providers.registry import family_of
from tollway_extauthz.wire import writing
from tollway_extauthz.wire.envoy_subset_pb2 import CheckResponse

_PERMISSION_DENIED: Final = 7
_OVERWRITE: Final = 2  # envoy.config.core.v3.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
# Envoy's own, or needed to frame the request: Envoy refuses to have them removed, or takes care of them itself.
_KEPT: Final = frozenset({"host", "content-length", "transfer-encoding", "te", "x-request-id"})
_APART: Final = (":", "x-tollway-")
"""Not headers, and taken care of by Envoy's configuration."""
_LONGEST_TOLD: Final = 1024


def allowed(question: Question, granted: Granted) -> bytes:
    """The call may go, with this done to it."""
    family = question.family
    assert family is not None  # noqa: S101 - `provider_known`
    headers = (
        _removals(family.allowed_headers, tuple(question.headers))
        + _header_edits(question)
        + writing.told("x-tollway-call", question.call_id)
    )
    return writing.ok(headers, _for_envoy(question, granted, family))


def denied(family: Family, refusal: Refusal) -> bytes:
    """The call may not go, said as its provider would say it."""
    answer = family.refusal(refusal)
    response = CheckResponse()
    response.status.code = _PERMISSION_DENIED
    response.denied_response.status.code = answer.status
    response.denied_response.body = answer.body.decode()
    for name, value in answer.headers:
        option = response.denied_response.headers.add(append_action=_OVERWRITE)
        option.header.key, option.header.value = name, value
    # Keeps Envoy's own error shapes off a denial that has its body already.
    response.dynamic_metadata.fields["answered"].bool_value = True
    return response.SerializeToString()


def undecided(family_name: str, call_id: str) -> bytes:
    """Something of our own failed: the call is not made, and may be tried again."""
    refusal = Refusal(
        Kind.UNAVAILABLE,
        reasons.INTERNAL,
        "Tollway cannot decide about this call at the moment, so it was not made. Try again.",
        call_id,
        retry_after_ms=1000,
    )
    return denied(shape_of(family_name), refusal)


def shape_of(family_name: str) -> Family:
    """The shape of an answer when the provider itself is unknown: the route's, else the one most SDKs read."""
    return family_of(family_name) or OPENAI


@lru_cache(maxsize=128)
def _removals(allowed_headers: frozenset[str], names: tuple[str, ...]) -> bytes:
    """Every header that the provider is not to see. An SDK sends the same ones with each call."""
    passing = allowed_headers | _KEPT
    return writing.removed([name for name in names if name not in passing and not name.startswith(_APART)])


def _header_edits(question: Question) -> bytes:
    """Take out of allowed headers what must not travel, and tell the caller."""
    edits = question.header_edits
    assert not isinstance(edits, RequestRefused)  # noqa: S101 - `features_understood`
    written = b""
    for edit in edits:
        written += writing.sent(edit.name, edit.value) if edit.value else writing.removed([edit.name])
        said = f"{edit.name}: {', '.join(edit.removed)}"[:_LONGEST_TOLD]
        written += writing.told("x-tollway-removed", said)
    return written


def _for_envoy(question: Question, granted: Granted, family: Family) -> bytes:
    """What the filters behind ext_authz act on: the edits of the body, and whether to hide the usage we asked for."""
    told = writing.text(b"call", question.call_id)
    edits = family.edits(question.call, question.body, granted.size or None)
    if edits:
        told += writing.edits(b"edits", [(edit.offset, edit.length, edit.text) for edit in edits])
    if question.call.stream and not question.call.wants_usage:
        told += writing.truth(b"strip_usage")
    return told

"""Our own answers in Anthropic's shape, so that SDKs and frameworks raise what they raise for the provider's own.

The official SDK picks the exception by status, retries 408, 409, 429 and 5xx, and obeys `x-should-retry` and
`retry-after-ms`; code reads `error.type`. So only what waiting can mend is left to be retried.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from tollway.providers.port import Answer, Kind, Refusal
from tollway.providers.refusal_headers import refusal_headers


@dataclass(frozen=True, slots=True)
class _Shape:
    status: int
    type: str
    retriable: bool = False


_SHAPES: Final = {
    Kind.INVALID: _Shape(400, "invalid_request_error"),
    Kind.UNAUTHENTICATED: _Shape(401, "authentication_error"),
    Kind.FORBIDDEN: _Shape(403, "permission_error"),
    Kind.NOT_FOUND: _Shape(404, "not_found_error"),
    Kind.TOO_LARGE: _Shape(413, "request_too_large"),
    Kind.RATE: _Shape(429, "rate_limit_error", retriable=True),
    # Anthropic's own word for money that is gone, `billing_error`, is about the account and not about this agent.
    Kind.SPENT: _Shape(429, "rate_limit_error"),
    Kind.UNAVAILABLE: _Shape(529, "overloaded_error", retriable=True),
}


def anthropic_answer(refusal: Refusal) -> Answer:
    shape = _SHAPES[refusal.kind]
    error = {"type": shape.type, "message": _sentence(refusal)}
    body = {"type": "error", "error": error, "request_id": refusal.call_id or None}
    headers = refusal_headers(refusal, retriable=shape.retriable)
    if refusal.call_id:
        # The SDK shows this header, and not the body's member, as the error's `request_id`.
        headers = (*headers, ("request-id", refusal.call_id))
    return Answer(shape.status, headers, msgspec.json.encode(body))


def _sentence(refusal: Refusal) -> str:
    """Anthropic has no member for the parameter: its own sentences begin with it."""
    return f"{refusal.param}: {refusal.message}" if refusal.param else refusal.message

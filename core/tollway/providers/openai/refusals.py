"""Our own answers in OpenAI's shape, so that SDKs and frameworks raise what they raise for the provider's own.

The official SDK picks the exception by status, retries 408, 409, 429 and 5xx, and obeys `x-should-retry` and
`retry-after-ms`; code reads `error.code`. So only what waiting can mend is left to be retried.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from tollway.providers.port import Answer, Kind, Refusal
from tollway.providers.refusal_headers import refusal_headers


@dataclass(frozen=True, slots=True)
class _Shape:
    """`code` None: the refusal's own reason is the code."""

    status: int
    type: str
    code: str | None = None
    retriable: bool = False


_SHAPES: Final = {
    Kind.INVALID: _Shape(400, "invalid_request_error"),
    Kind.UNAUTHENTICATED: _Shape(401, "invalid_request_error", "invalid_api_key"),
    Kind.FORBIDDEN: _Shape(403, "invalid_request_error"),
    Kind.NOT_FOUND: _Shape(404, "invalid_request_error"),
    Kind.TOO_LARGE: _Shape(413, "invalid_request_error"),
    Kind.RATE: _Shape(429, "requests", "rate_limit_exceeded", retriable=True),
    Kind.SPENT: _Shape(429, "insufficient_quota", "insufficient_quota"),
    Kind.UNAVAILABLE: _Shape(503, "server_error", retriable=True),
}

_ABOUT_MODELS: Final = "model."
"""OpenAI says `model_not_found` for a model that does not exist and for one that the key may not use."""


def openai_answer(refusal: Refusal) -> Answer:
    shape = _SHAPES[refusal.kind]
    error = {
        "message": refusal.message,
        "type": shape.type,
        "param": refusal.param,
        "code": shape.code or _code_of(refusal),
    }
    return Answer(
        shape.status, refusal_headers(refusal, retriable=shape.retriable), msgspec.json.encode({"error": error})
    )


def _code_of(refusal: Refusal) -> str:
    about_model = refusal.kind in (Kind.FORBIDDEN, Kind.NOT_FOUND) and refusal.reason.startswith(_ABOUT_MODELS)
    return "model_not_found" if about_model else refusal.reason

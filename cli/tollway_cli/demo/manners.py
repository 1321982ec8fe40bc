"""How a provider is spoken to, whatever is asked of it: where the key stands, what errors look like, what answers tell.

Both send headers about the shared key that a gateway must not pass on.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec

from tollway_cli.demo.request import ApiError

ANTHROPIC_VERSIONS: Final = ("2023-06-01", "2026-10-21")

_BETA: Final = re.compile(r"[a-z0-9-]+-\d{4}-\d{2}-\d{2}")

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Manners:
    """`admit` takes a request's headers and the only key that is accepted (None: any), and returns the caller's key; it
    raises `ApiError`. `error` gives an error's body, `id_header` the header with the request's id."""

    admit: Callable[[Headers, str | None], str]
    error: Callable[[ApiError, str], bytes]
    id_header: str
    about_the_shared_key: Headers

    def headers(self, request_id: str) -> dict[str, str]:
        return {self.id_header: request_id, **self.about_the_shared_key}


def _admit_bearer(headers: Headers, expected: str | None) -> str:
    key = _bearer(headers)
    if not _may_enter(key, expected):
        raise ApiError(401, "Incorrect API key provided.", "invalid_api_key")
    return key


def _admit_api_key(headers: Headers, expected: str | None) -> str:
    """The header of its own, or the one that SDKs of version 2 send."""
    key = headers.get("x-api-key") or _bearer(headers)
    if not _may_enter(key, expected):
        raise ApiError(401, "invalid x-api-key")
    if headers.get("anthropic-version") not in ANTHROPIC_VERSIONS:
        raise ApiError(400, "anthropic-version: header is required, and must name a version that there is")
    betas = [word.strip() for word in headers.get("anthropic-beta", "").split(",")]
    if not all(_BETA.fullmatch(word) for word in betas if word):
        raise ApiError(400, "Unexpected value(s) for the `anthropic-beta` header")
    return key


def _bearer(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else ""


def _may_enter(key: str, expected: str | None) -> bool:
    return expected is None or hmac.compare_digest(key.encode(), expected.encode())


_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _openai_error(error: ApiError, request_id: str) -> bytes:
    del request_id  # it stands in a header only
    return error.body()


def _anthropic_error(error: ApiError, request_id: str) -> bytes:
    kind = _ANTHROPIC_TYPES.get(error.status, "api_error")
    said = {"type": kind, "message": error.message}
    return msgspec.json.encode({"type": "error", "error": said, "request_id": request_id})


OPENAI: Final = Manners(
    admit=_admit_bearer,
    error=_openai_error,
    id_header="x-request-id",
    about_the_shared_key=MappingProxyType(
        {
            "openai-organization": "demo-organization",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-reset-requests": "6ms",
        }
    ),
)

ANTHROPIC: Final = Manners(
    admit=_admit_api_key,
    error=_anthropic_error,
    id_header="request-id",
    about_the_shared_key=MappingProxyType(
        {
            "anthropic-organization-id": "demo-organization",
            "anthropic-ratelimit-requests-limit": "10000",
            "anthropic-ratelimit-requests-remaining": "9999",
            "anthropic-ratelimit-requests-reset": "2026-11-01T00:00:00Z",
        }
    ),
)

"""The Anthropic family behind the protocol of `port`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tollway.pricing.usage import Usage
from tollway.providers.anthropic.edits import message_edits
from tollway.providers.anthropic.features import VERSIONS, feature_edits
from tollway.providers.anthropic.refusals import anthropic_answer
from tollway.providers.anthropic.request import COUNT_TOKENS, MESSAGES, parse_count, parse_message
from tollway.providers.anthropic.usage import USAGE_FIELDS, message_usage, message_usage_so_far
from tollway.providers.json_scan import Body
from tollway.providers.port import Answer, Edit, HeaderEdit, Operation, ParsedCall, Refusal

_OPERATIONS: Final = {("POST", "/v1/messages"): MESSAGES, ("POST", "/v1/messages/count_tokens"): COUNT_TOKENS}
_PARSERS: Final[Mapping[str, Callable[[bytes, str], ParsedCall]]] = {
    MESSAGES.name: parse_message,
    COUNT_TOKENS.name: parse_count,
}

PLACEHOLDER_KEY: Final = "tollway-holds-the-key"
"""The SDK sends nothing without a key; the gateway puts the real one in its place."""


@dataclass(frozen=True, slots=True)
class AnthropicFamily:
    """`Family` for Anthropic's own API."""

    name: str = "Anthropic"

    # Other headers of Anthropic's change who pays or what runs; x-stainless-* is telemetry.
    allowed_headers: frozenset[str] = frozenset(
        {"accept", "anthropic-beta", "anthropic-version", "content-type", "user-agent"}
    )
    # `?beta=true` is how SDKs mark calls of their beta side; what they ask for is in headers and body.
    allowed_query: frozenset[str] = frozenset({"beta"})

    usual_path: str = "/v1/messages"
    # `message_usage` knows the end by itself: by its reason.
    counts_along: bool = False

    @property
    def usual_headers(self) -> Mapping[str, str]:
        return {"content-type": "application/json", "anthropic-version": max(VERSIONS)}

    @property
    def usage_fields(self) -> Mapping[str, tuple[str, ...]]:
        return USAGE_FIELDS

    def operation(self, method: str, path: str) -> Operation | None:
        return _OPERATIONS.get((method, path))

    def parse(self, operation: Operation, body: bytes, content_type: str) -> ParsedCall:
        return _PARSERS[operation.name](body, content_type)

    def header_edits(self, headers: Mapping[str, str]) -> Sequence[HeaderEdit]:
        return feature_edits(headers)

    def edits(self, call: ParsedCall, body: Body, cap: int | None) -> Sequence[Edit]:
        return message_edits(call, body, cap)

    def usage(self, fields: Mapping[str, int | float | str]) -> Usage | None:
        return message_usage(fields)

    def usage_so_far(self, fields: Mapping[str, int | float | str]) -> Usage | None:
        return message_usage_so_far(fields)

    def refusal(self, refusal: Refusal) -> Answer:
        return anthropic_answer(refusal)

    def base_url(self, prefix: str) -> str:
        return prefix

    def sdk_env(self, base_url: str) -> Mapping[str, str]:
        return {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_API_KEY": PLACEHOLDER_KEY}

    def credential_header(self, key: str) -> tuple[str, str]:
        return "x-api-key", key


ANTHROPIC: Final = AnthropicFamily()

"""The OpenAI family behind the protocol of `port`: OpenAI itself, and the servers that speak its format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tollway.pricing.usage import Usage
from tollway.providers.json_scan import Body
from tollway.providers.openai import chat_completions, embeddings, responses
from tollway.providers.openai.dialect import Described, Dialect
from tollway.providers.openai.refusals import openai_answer
from tollway.providers.openai.usage import USAGE_FIELDS, openai_usage
from tollway.providers.port import Answer, Edit, HeaderEdit, Operation, ParsedCall, Refusal

_AT: Final[Mapping[tuple[str, str], Described]] = {
    ("POST", "/v1/chat/completions"): chat_completions.DESCRIBED,
    ("POST", "/v1/responses"): responses.DESCRIBED,
    ("POST", "/v1/embeddings"): embeddings.DESCRIBED,
}
_NAMED: Final = {described.operation.name: described for described in _AT.values()}

PLACEHOLDER_KEY: Final = "tollway-holds-the-key"
"""The SDK does not start without a key; the gateway puts the real one in its place."""


@dataclass(frozen=True, slots=True)
class OpenAIFamily:
    """`Family` for one dialect of the format."""

    name: str
    dialect: Dialect
    counts_along: bool
    """Some compatible servers count in every event; OpenAI itself only in the last."""

    # OpenAI-Organization, OpenAI-Project and OpenAI-Beta change who pays or what runs; x-stainless-* is telemetry;
    # a stream compressed by accept-encoding could not be metered.
    allowed_headers: frozenset[str] = frozenset({"accept", "content-type", "user-agent"})
    allowed_query: frozenset[str] = frozenset()

    usual_path: str = "/v1/chat/completions"

    @property
    def usual_headers(self) -> Mapping[str, str]:
        return {"content-type": "application/json"}

    @property
    def usage_fields(self) -> Mapping[str, tuple[str, ...]]:
        return USAGE_FIELDS

    def operation(self, method: str, path: str) -> Operation | None:
        described = _AT.get((method, path))
        return described.operation if described is not None else None

    def parse(self, operation: Operation, body: bytes, content_type: str) -> ParsedCall:
        return _NAMED[operation.name].parse(body, content_type, self.dialect)

    def header_edits(self, headers: Mapping[str, str]) -> Sequence[HeaderEdit]:
        del headers  # those that switch something on are not allowed at all
        return ()

    def edits(self, call: ParsedCall, body: Body, cap: int | None) -> Sequence[Edit]:
        return _NAMED[call.operation.name].edits(call, body, cap, self.dialect)

    def usage(self, fields: Mapping[str, int | float | str]) -> Usage | None:
        return openai_usage(fields)

    def usage_so_far(self, fields: Mapping[str, int | float | str]) -> Usage | None:
        return openai_usage(fields) if self.counts_along else None

    def refusal(self, refusal: Refusal) -> Answer:
        return openai_answer(refusal)

    def base_url(self, prefix: str) -> str:
        return f"{prefix}/v1"

    def sdk_env(self, base_url: str) -> Mapping[str, str]:
        return {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": PLACEHOLDER_KEY}

    def credential_header(self, key: str) -> tuple[str, str]:
        return "authorization", f"Bearer {key}"


OPENAI: Final = OpenAIFamily(
    "OpenAI",
    Dialect(
        extended=False,
        tokens_per_request=64,
        tokens_per_text=1,
        chat_cap="max_completion_tokens",
        least_response=16,
        # An account may store answers, and bill another service tier, unless a request says otherwise.
        unasked=MappingProxyType({"store": "false", "service_tier": '"default"'}),
    ),
    counts_along=False,
)

OPENAI_COMPATIBLE: Final = OpenAIFamily(
    "OpenAICompatible",
    Dialect(
        extended=True,
        # Chat templates of open models bring system prompts of their own.
        tokens_per_request=1024,
        # Models that are trained on it read an instruction in front of each text.
        tokens_per_text=64,
        # Older servers ignore the newer field without a word, and then nothing would bound the answer.
        chat_cap="max_tokens",
        least_response=1,
        # Strict servers refuse a field that they do not know.
        unasked=MappingProxyType({}),
    ),
    counts_along=True,
)

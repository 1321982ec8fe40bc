"""The OpenAI family behind the protocol of `port`: OpenAI itself, and the servers that speak its format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tollway.pricing.usage import Usage
from tollway.providers.openai.edits import chat_completion_edits
from tollway.providers.openai.fields import EXTENSIONS
from tollway.providers.openai.refusals import openai_answer
from tollway.providers.openai.request import CHAT_COMPLETIONS, parse_chat_completion
from tollway.providers.openai.usage import USAGE_FIELDS, chat_completion_usage
from tollway.providers.port import Answer, Edit, Operation, ParsedCall, Refusal

_OPERATIONS: Final = {("POST", "/v1/chat/completions"): CHAT_COMPLETIONS}

PLACEHOLDER_KEY: Final = "tollway-holds-the-key"
"""The SDK does not start without a key; the gateway puts the real one in its place."""


@dataclass(frozen=True, slots=True)
class OpenAIFamily:
    """`Family` for one dialect of the format.

    `extensions` are request fields known beyond OpenAI's, `tokens_per_request` is what the provider may add to any
    prompt, `cap_field` is the output cap that every server of this dialect obeys, and `unasked` is what a request is
    made to say (name -> JSON) where it says nothing and the account's own settings would decide.
    """

    name: str
    extensions: frozenset[str]
    tokens_per_request: int
    cap_field: str
    unasked: Mapping[str, str]

    # OpenAI-Organization, OpenAI-Project and OpenAI-Beta change who pays or what runs; x-stainless-* is telemetry;
    # a stream compressed by accept-encoding could not be metered.
    allowed_headers: frozenset[str] = frozenset({"accept", "content-type", "user-agent"})
    allowed_query: frozenset[str] = frozenset()

    @property
    def usage_fields(self) -> Mapping[str, tuple[str, ...]]:
        return USAGE_FIELDS

    def operation(self, method: str, path: str) -> Operation | None:
        return _OPERATIONS.get((method, path))

    def parse(self, operation: Operation, body: bytes, content_type: str) -> ParsedCall:
        del operation  # there is one
        return parse_chat_completion(body, content_type, self.extensions, self.tokens_per_request)

    def edits(self, call: ParsedCall, body: bytes, cap: int | None) -> Sequence[Edit]:
        return chat_completion_edits(call, body, cap, cap_field=self.cap_field, unasked=self.unasked)

    def usage(self, fields: Mapping[str, int | float | str]) -> Usage | None:
        return chat_completion_usage(fields)

    def refusal(self, refusal: Refusal) -> Answer:
        return openai_answer(refusal)

    def base_url(self, prefix: str) -> str:
        return f"{prefix}/v1"

    def sdk_env(self, base_url: str) -> Mapping[str, str]:
        return {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": PLACEHOLDER_KEY}

    def credential_header(self, key: str) -> tuple[str, str]:
        return "authorization", f"Bearer {key}"


OPENAI: Final = OpenAIFamily(
    name="OpenAI",
    extensions=frozenset(),
    tokens_per_request=64,
    cap_field="max_completion_tokens",
    # An account may store completions, and bill another service tier, unless a request says otherwise.
    unasked=MappingProxyType({"store": "false", "service_tier": '"default"'}),
)

OPENAI_COMPATIBLE: Final = OpenAIFamily(
    name="OpenAICompatible",
    extensions=EXTENSIONS,
    # Chat templates of open models bring system prompts of their own.
    tokens_per_request=1024,
    # Older servers ignore the newer field without a word, and then nothing would bound the answer.
    cap_field="max_tokens",
    # Strict servers refuse a field that they do not know.
    unasked=MappingProxyType({}),
)

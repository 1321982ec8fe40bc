"""The bytes of OpenAI's chat completions API: one JSON document, or server-sent events.

Source: the openai SDK's types `chat_completion`, `chat_completion_chunk` and `completion_usage`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from tollway_cli.demo.generation import Completion, Usage, complete
from tollway_cli.demo.request import ChatRequest, read_chat_request
from tollway_cli.demo.wire import Api, Circumstances, Event

FINGERPRINT: Final = "fp_tollway_demo"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every document about one completion says of it."""

    completion_id: str
    model: str
    created: int
    tier: str

    def fields(self, kind: str) -> dict[str, object]:
        return {
            "id": self.completion_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "service_tier": self.tier,
            "system_fingerprint": FINGERPRINT,
        }


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    envelope: Envelope
    completion: Completion
    include_usage: bool

    @property
    def id(self) -> str:
        return self.envelope.completion_id

    @property
    def usage(self) -> Usage:
        return self.completion.usage

    @property
    def ending(self) -> bytes:
        return b"data: [DONE]\n\n"

    def document(self) -> bytes:
        choices: list[dict[str, object]] = [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(self.completion.choices)
        ]
        fields = self.envelope.fields("chat.completion")
        return _encode({**fields, "choices": choices, "usage": usage_fields(self.usage)})

    def events(self, chunk_tokens: int) -> Iterator[Event]:
        """For each choice its role, its words, its finish; then the usage, if asked for."""
        shell = _Shell(self.envelope, include_usage=self.include_usage)
        choices = self.completion.choices
        for index in range(len(choices)):
            yield shell.chunk(index, {"role": "assistant", "content": "", "refusal": None})
        for start in range(0, max(len(choice.words) for choice in choices), chunk_tokens):
            for index, choice in enumerate(choices):
                if words := choice.words[start : start + chunk_tokens]:
                    yield shell.chunk(index, {"content": "".join(words)}, tokens=len(words))
        for index, choice in enumerate(choices):
            yield shell.chunk(index, {}, finish_reason=choice.finish_reason)
        if self.include_usage:
            yield shell.usage(self.usage)


class _Shell:
    """The parts of a chunk that are the same in a whole stream, encoded once."""

    def __init__(self, envelope: Envelope, *, include_usage: bool) -> None:
        fields = envelope.fields("chat.completion.chunk")
        self._before = b"data: " + _encode(fields)[:-1] + b',"choices":['
        self._after = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"

    def chunk(
        self, index: int, delta: dict[str, str | None], *, tokens: int = 0, finish_reason: str | None = None
    ) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return Event(self._before + _encode(choice) + self._after, tokens)

    def usage(self, usage: Usage) -> Event:
        return Event(self._before + b'],"usage":' + _encode(usage_fields(usage)) + b"}\n\n")


def usage_fields(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _answer(request: ChatRequest, given: Circumstances) -> ChatAnswer:
    envelope = Envelope(f"chatcmpl-demo{given.number:08}", request.model, given.created, request.tier)
    return ChatAnswer(envelope, complete(request, given.body_bytes, given.behaviour), request.include_usage)


CHAT_COMPLETIONS: Final = Api(read_chat_request, _answer)

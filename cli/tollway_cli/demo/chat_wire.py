"""A completion as the bytes of OpenAI's chat completions API: one JSON document, or server-sent events.

Source: the openai SDK's types `chat_completion`, `chat_completion_chunk` and `completion_usage`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from tollway_cli.demo.generation import Completion, Usage

FINGERPRINT: Final = "fp_tollway_demo"
DONE: Final = b"data: [DONE]\n\n"

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
class Event:
    """One server-sent event, and how many tokens of output it carries."""

    data: bytes
    tokens: int = 0


def document(envelope: Envelope, completion: Completion) -> bytes:
    choices: list[dict[str, object]] = [
        {
            "index": index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }
        for index, choice in enumerate(completion.choices)
    ]
    return _encode({**envelope.fields("chat.completion"), "choices": choices, "usage": usage_fields(completion.usage)})


def events(envelope: Envelope, completion: Completion, chunk_tokens: int, *, include_usage: bool) -> Iterator[Event]:
    """All events but `[DONE]`: for each choice its role, its words, its finish; then the usage, if asked for."""
    shell = _Shell(envelope, include_usage=include_usage)
    for index in range(len(completion.choices)):
        yield shell.chunk(index, {"role": "assistant", "content": "", "refusal": None})
    longest = max(len(choice.words) for choice in completion.choices)
    for start in range(0, longest, chunk_tokens):
        for index, choice in enumerate(completion.choices):
            if words := choice.words[start : start + chunk_tokens]:
                yield shell.chunk(index, {"content": "".join(words)}, tokens=len(words))
    for index, choice in enumerate(completion.choices):
        yield shell.chunk(index, {}, finish_reason=choice.finish_reason)
    if include_usage:
        yield shell.usage(completion.usage)


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

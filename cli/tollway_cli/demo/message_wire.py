"""The bytes of Anthropic's messages API: its request, one JSON document, or the events of a stream; and the count.

What a request marks by `cache_control` is written to the cache, for as long as it says and as far as it is not read
from there; the rest of the prompt is plain input.
Source: the anthropic SDK's types `MessageCreateParams`, `Message` and `RawMessageStreamEvent`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import msgspec

from tollway_cli.demo.generation import BYTES_PER_TOKEN, Completion, Usage, complete
from tollway_cli.demo.manners import ANTHROPIC
from tollway_cli.demo.request import ApiError, list_of, model_of, object_of
from tollway_cli.demo.wire import Api, Circumstances, Event

LARGEST_CAP: Final = 2**31 - 1

_encode = msgspec.json.Encoder().encode

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Marked:
    """How many tokens of a prompt its sender wants cached, by how long."""

    five_minutes: int = 0
    one_hour: int = 0


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """`messages` are the system prompt and the messages."""

    model: str
    messages: list[object]
    tools: list[object]
    stream: bool
    cap: int
    tier: str
    speed: str
    marked: Marked
    answers: int = 1


@dataclass(frozen=True, slots=True)
class CountRequest:
    model: str
    messages: list[object]
    tools: list[object]
    stream: bool = False
    cap: int = 0
    answers: int = 1


def read_message_request(body: bytes) -> MessageRequest:
    """Raises `ApiError`."""
    fields = object_of(body)
    cap = _cap(fields)
    _check_thinking(fields.get("thinking"), cap)
    return MessageRequest(
        model=model_of(fields),
        messages=_messages(fields),
        tools=list_of(fields, "tools"),
        stream=fields.get("stream") is True,
        cap=cap,
        tier="priority" if fields.get("service_tier") == "auto" else "standard",
        speed="fast" if fields.get("speed") == "fast" else "standard",
        marked=_marked(fields),
    )


def read_count_request(body: bytes) -> CountRequest:
    """Raises `ApiError`."""
    fields = object_of(body)
    if "max_tokens" in fields:
        raise ApiError(400, "max_tokens: Extra inputs are not permitted")
    return CountRequest(model_of(fields), _messages(fields), list_of(fields, "tools"))


def _messages(fields: Json) -> list[object]:
    messages = list_of(fields, "messages")
    if not messages:
        raise ApiError(400, "messages: at least one message is required")
    return [fields.get("system"), *messages]


def _cap(fields: Json) -> int:
    cap = fields.get("max_tokens")
    if cap is None:
        raise ApiError(400, "max_tokens: Field required")
    if type(cap) is not int or not 0 <= cap <= LARGEST_CAP:
        raise ApiError(400, "max_tokens: Input should be a valid integer")
    return cap


def _check_thinking(thinking: object, cap: int) -> None:
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(budget, int) and budget >= cap:
        raise ApiError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")


def _marked(fields: Json) -> Marked:
    """Everything that carries a `cache_control`, at whatever level."""
    tokens = {"5m": 0, "1h": 0}
    waiting: list[object] = [fields]
    while waiting:
        thing = waiting.pop()
        waiting += thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ()
        control = thing.get("cache_control") if isinstance(thing, dict) else None
        if isinstance(control, dict):
            tokens["1h" if control.get("ttl") == "1h" else "5m"] += -(-len(_encode(thing)) // BYTES_PER_TOKEN)
    return Marked(tokens["5m"], tokens["1h"])


@dataclass(frozen=True)
class MessageAnswer:
    request: MessageRequest
    completion: Completion
    number: int

    ending = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    @property
    def id(self) -> str:
        return f"msg_demo{self.number:08}"

    @cached_property
    def usage(self) -> Usage:
        said, marked = self.completion.usage, self.request.marked
        fresh = said.prompt_tokens - said.cached_tokens
        one_hour = min(marked.one_hour, fresh)
        return replace(said, written_1h_tokens=one_hour, written_5m_tokens=min(marked.five_minutes, fresh - one_hour))

    def document(self) -> bytes:
        text = self.completion.choices[0].text
        return _encode(self._message([_text(text)] if text else [], self._stop_reason, self._usage()))

    def events(self, chunk_tokens: int) -> Iterator[Event]:
        for fields, tokens in self._happenings(chunk_tokens):
            yield Event(f"event: {fields['type']}\ndata: ".encode() + _encode(fields) + b"\n\n", tokens)

    def _happenings(self, chunk_tokens: int) -> Iterator[tuple[Json, int]]:
        """The fields of each event, and how many tokens of output it carries."""
        begun = {**self._usage(), "output_tokens": min(1, self.usage.completion_tokens)}
        yield {"type": "message_start", "message": self._message([], None, begun)}, 0
        if words := self.completion.choices[0].words:
            yield {"type": "content_block_start", "index": 0, "content_block": _text("")}, 0
            yield {"type": "ping"}, 0
            for start in range(0, len(words), chunk_tokens):
                said = words[start : start + chunk_tokens]
                delta = {"type": "text_delta", "text": "".join(said)}
                yield {"type": "content_block_delta", "index": 0, "delta": delta}, len(said)
            yield {"type": "content_block_stop", "index": 0}, 0
        ended = {"stop_reason": self._stop_reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": ended, "usage": self._counts()}, 0

    def _message(self, content: list[Json], stop_reason: str | None, usage: Json) -> Json:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.request.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }

    @property
    def _stop_reason(self) -> str:
        return "max_tokens" if self.completion.choices[0].finish_reason == "length" else "end_turn"

    def _usage(self) -> dict[str, object]:
        usage = self.usage
        return {
            **self._counts(),
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.written_5m_tokens,
                "ephemeral_1h_input_tokens": usage.written_1h_tokens,
            },
            "service_tier": self.request.tier,
            "speed": self.request.speed,
            "inference_geo": "global",
        }

    def _counts(self) -> dict[str, object]:
        """What a stream tells again at its end."""
        usage = self.usage
        written = usage.written_5m_tokens + usage.written_1h_tokens
        return {
            "input_tokens": usage.prompt_tokens - usage.cached_tokens - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        }


@dataclass(frozen=True)
class CountAnswer:
    """A count, which is free: what is billed of it is nothing."""

    tokens: int
    number: int

    ending = b""

    @property
    def id(self) -> str:
        """The format has none: this one is for the log."""
        return f"count_demo{self.number:08}"

    @property
    def usage(self) -> Usage:
        return Usage(0, 0, 0, 0)

    def document(self) -> bytes:
        return _encode({"input_tokens": self.tokens})

    def events(self, chunk_tokens: int) -> Iterator[Event]:
        """None: a request cannot ask for them."""
        del chunk_tokens
        return iter(())


def _text(text: str) -> Json:
    return {"type": "text", "text": text, "citations": None}


def _answer(request: MessageRequest, given: Circumstances) -> MessageAnswer:
    return MessageAnswer(request, complete(request, given.body_bytes, given.behaviour), given.number)


def _count(request: CountRequest, given: Circumstances) -> CountAnswer:
    return CountAnswer(complete(request, given.body_bytes, given.behaviour).usage.prompt_tokens, given.number)


MESSAGES: Final = Api(read_message_request, _answer, ANTHROPIC)
COUNT_TOKENS: Final = Api(read_count_request, _count, ANTHROPIC)

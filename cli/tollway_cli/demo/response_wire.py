"""The bytes of OpenAI's responses API: its request, one JSON document, or the events of a stream.

Source: the openai SDK's types `responses.Response` and `responses.ResponseStreamEvent`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec

from tollway_cli.demo.generation import Completion, Usage, complete
from tollway_cli.demo.request import ApiError, list_of, model_of, object_of, tier_of, whole_number, wrong
from tollway_cli.demo.wire import Api, Circumstances, Event

LEAST_CAP: Final = 16

_encode = msgspec.json.Encoder().encode

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """`messages` are the instructions and the items of the input. `echoed`: what the answer says of the request."""

    model: str
    messages: list[object]
    tools: list[object]
    stream: bool
    cap: int | None
    tier: str
    echoed: Json
    answers: int = 1


def read_response_request(body: bytes) -> ResponseRequest:
    """Raises `ApiError`."""
    fields = object_of(body)
    _refuse_references(fields)
    tools, cap, tier = list_of(fields, "tools"), _cap(fields), tier_of(fields)
    return ResponseRequest(
        model=model_of(fields),
        messages=[fields.get("instructions"), *_input(fields)],
        tools=tools,
        stream=fields.get("stream") is True,
        cap=cap,
        tier=tier,
        echoed={
            "instructions": fields.get("instructions"),
            "max_output_tokens": cap,
            "metadata": fields.get("metadata") or {},
            "parallel_tool_calls": fields.get("parallel_tool_calls") is not False,
            "previous_response_id": None,
            "service_tier": tier,
            "store": fields.get("store") is not False,
            "tool_choice": fields.get("tool_choice") or "auto",
            "tools": tools,
            "truncation": fields.get("truncation") or "disabled",
        },
    )


def _refuse_references(fields: Json) -> None:
    """Nothing is ever stored here, so nothing can be found again."""
    for name in ("previous_response_id", "conversation", "prompt"):
        if fields.get(name) is not None:
            raise ApiError(404, f"What '{name}' refers to was not found.", f"{name}_not_found", name)


def _input(fields: Json) -> list[object]:
    given = fields.get("input")
    items: list[object] = [given] if isinstance(given, str) else list_of(fields, "input")
    if not items:
        wrong("input", "a string or an array of at least one item")
    return items


def _cap(fields: Json) -> int | None:
    cap = whole_number(fields, "max_output_tokens", 2**31 - 1)
    if cap is not None and cap < LEAST_CAP:
        raise ApiError(
            400,
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {LEAST_CAP}, "
            f"but got {cap} instead.",
            "integer_below_min_value",
            "max_output_tokens",
        )
    return cap


@dataclass(frozen=True)
class ResponseAnswer:
    request: ResponseRequest
    completion: Completion
    number: int
    created: int

    ending = b""

    @property
    def id(self) -> str:
        return f"resp_demo{self.number:08}"

    @property
    def usage(self) -> Usage:
        return self.completion.usage

    def document(self) -> bytes:
        return _encode(self._response(self._status, self._output, usage_fields(self.usage)))

    def events(self, chunk_tokens: int) -> Iterator[Event]:
        for number, (kind, fields, tokens) in enumerate(self._happenings(chunk_tokens)):
            data = _encode({"type": kind, **fields, "sequence_number": number})
            yield Event(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n", tokens)

    def _happenings(self, chunk_tokens: int) -> Iterator[tuple[str, Json, int]]:
        """The type of each event, its fields, and how many tokens of output it carries."""
        begun = {"response": self._response("in_progress", [], None)}
        yield "response.created", begun, 0
        yield "response.in_progress", begun, 0
        for index, item in enumerate(self._output):
            yield "response.output_item.added", {"output_index": index, "item": _begun(item)}, 0
            if item["type"] == "message":
                yield from self._text(str(item["id"]), index, chunk_tokens)
            yield "response.output_item.done", {"output_index": index, "item": item}, 0
        ended = {"response": self._response(self._status, self._output, usage_fields(self.usage))}
        yield f"response.{self._status}", ended, 0

    def _text(self, item: str, index: int, chunk_tokens: int) -> Iterator[tuple[str, Json, int]]:
        place = {"item_id": item, "output_index": index, "content_index": 0}
        words = self.completion.choices[0].words
        text = self.completion.choices[0].text
        yield "response.content_part.added", {**place, "part": _part("")}, 0
        for start in range(0, len(words), chunk_tokens):
            said = words[start : start + chunk_tokens]
            yield "response.output_text.delta", {**place, "delta": "".join(said), "logprobs": []}, len(said)
        yield "response.output_text.done", {**place, "text": text, "logprobs": []}, 0
        yield "response.content_part.done", {**place, "part": _part(text)}, 0

    def _response(self, status: str, output: Sequence[Json], usage: Json | None) -> Json:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self.request.model,
            "output": output,
            "reasoning": {"effort": None, "summary": None},
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "top_p": 1.0,
            "usage": usage,
            **self.request.echoed,
        }

    @property
    def _status(self) -> str:
        return "incomplete" if self.completion.choices[0].finish_reason == "length" else "completed"

    @cached_property
    def _output(self) -> list[Json]:
        """Reasoning, if there was any, and the message, if the cap left anything for it."""
        text, hidden = self.completion.choices[0].text, self.usage.reasoning_tokens
        items: list[Json] = []
        if hidden:
            items.append(
                {
                    "id": f"rs_demo{self.number:08}",
                    "type": "reasoning",
                    "summary": [],
                    "encrypted_content": "hidden " * hidden,
                }
            )
        if text or not hidden:
            items.append(
                {
                    "id": f"msg_demo{self.number:08}",
                    "type": "message",
                    "status": self._status,
                    "role": "assistant",
                    "content": [_part(text)],
                }
            )
        return items


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _begun(item: Json) -> Json:
    return {**item, "status": "in_progress", "content": []} if item["type"] == "message" else item


def usage_fields(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _answer(request: ResponseRequest, given: Circumstances) -> ResponseAnswer:
    completion = complete(request, given.body_bytes, given.behaviour)
    return ResponseAnswer(request, completion, given.number, given.created)


RESPONSES: Final = Api(read_response_request, _answer)

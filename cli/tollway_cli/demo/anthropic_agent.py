"""Asking with the official Anthropic SDK."""

from collections.abc import Mapping

import anthropic
from anthropic.types import Message

from tollway_cli.demo.asking import CAP, Refused


class AnthropicCaller:
    def __init__(self, model: str) -> None:
        self._client = anthropic.Anthropic()
        self._model = model

    def ask(self, question: str) -> Mapping[str, object]:
        try:
            answer = self._client.messages.create(
                model=self._model, messages=[{"role": "user", "content": question}], max_tokens=CAP
            )
        except anthropic.APIStatusError as error:
            raise _refused(error) from error
        return _seen(answer, stream=False)

    def stream(self, question: str) -> Mapping[str, object]:
        try:
            with self._client.messages.stream(
                model=self._model, messages=[{"role": "user", "content": question}], max_tokens=CAP
            ) as streaming:
                answer = streaming.get_final_message()
        except anthropic.APIStatusError as error:
            raise _refused(error) from error
        return _seen(answer, stream=True)


def _seen(answer: Message, *, stream: bool) -> Mapping[str, object]:
    usage = answer.usage
    cached = usage.cache_read_input_tokens or 0
    return {
        "stream": stream,
        "finish_reason": answer.stop_reason,
        "prompt_tokens": usage.input_tokens + cached,
        "cached_tokens": cached,
        "completion_tokens": usage.output_tokens,
    }


def _refused(error: anthropic.APIStatusError) -> Refused:
    """As the SDK raised it."""
    said = {
        "class": f"anthropic.{type(error).__name__}",
        "status": error.status_code,
        "type": _error_type(error.body),
        "message": error.message,
    }
    return Refused(said, error.response.headers)


def _error_type(body: object) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) else None

"""Asking with the official OpenAI SDK."""

from collections.abc import Mapping

import openai
from openai.types import CompletionUsage

from tollway_cli.demo.asking import CAP, Refused


class OpenAICaller:
    def __init__(self, model: str) -> None:
        self._client = openai.OpenAI()
        self._model = model

    def ask(self, question: str) -> Mapping[str, object]:
        try:
            answer = self._client.chat.completions.create(
                model=self._model, messages=[{"role": "user", "content": question}], max_completion_tokens=CAP
            )
        except openai.APIStatusError as error:
            raise _refused(error) from error
        return _seen(answer.usage, answer.choices[0].finish_reason, stream=False)

    def stream(self, question: str) -> Mapping[str, object]:
        usage, finish_reason = None, None
        try:
            for chunk in self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": question}],
                max_completion_tokens=CAP,
                stream=True,
                stream_options={"include_usage": True},
            ):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    finish_reason = choice.finish_reason or finish_reason
        except openai.APIStatusError as error:
            raise _refused(error) from error
        return _seen(usage, finish_reason, stream=True)


def _seen(usage: CompletionUsage | None, finish_reason: str | None, *, stream: bool) -> Mapping[str, object]:
    details = usage.prompt_tokens_details if usage is not None else None
    return {
        "stream": stream,
        "finish_reason": finish_reason,
        "prompt_tokens": usage.prompt_tokens if usage is not None else 0,
        "cached_tokens": (details.cached_tokens or 0) if details is not None else 0,
        "completion_tokens": usage.completion_tokens if usage is not None else 0,
    }


def _refused(error: openai.APIStatusError) -> Refused:
    """As the SDK raised it."""
    said = {
        "class": f"openai.{type(error).__name__}",
        "status": error.status_code,
        "code": error.code,
        "type": error.type,
        "message": error.message,
    }
    return Refused(said, error.response.headers)

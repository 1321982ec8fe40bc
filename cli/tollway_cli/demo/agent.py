"""The demo's agent: an ordinary program on the official OpenAI SDK that knows nothing of Tollway.

It is started with the variables that `tollway run` sets, calls its model until it is told that the money is spent, and
writes one line of JSON for each thing that happened to it.
"""

import json
import sys
import threading
import time
from typing import Final

import openai
from openai.types import CompletionUsage

WORKERS: Final = 3
CAP: Final = 400
_QUESTIONS: Final = (
    "Tell me about the bridge where two roads meet.",
    "Who counted the coins, and how often?",
    "What did the sign on the wall say?",
    "Why was the gate closed until morning?",
)


class Worker:
    """One caller, taking turns between plain and streaming calls."""

    def __init__(self, client: openai.OpenAI, model: str, number: int) -> None:
        self._client = client
        self._model = model
        self._number = number

    def work(self) -> None:
        turn = self._number
        while True:
            try:
                self._stream(turn) if turn % 2 else self._ask(turn)
            except openai.APIStatusError as error:
                report(refused=_refusal(error))
                if error.code == "insufficient_quota":
                    return
                time.sleep(0.2)
            turn += 1

    def _ask(self, turn: int) -> None:
        answer = self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": _QUESTIONS[turn % len(_QUESTIONS)]}],
            max_completion_tokens=CAP,
        )
        report(call=_seen(answer.usage, answer.choices[0].finish_reason, stream=False))

    def _stream(self, turn: int) -> None:
        usage, finish_reason = None, None
        for chunk in self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": _QUESTIONS[turn % len(_QUESTIONS)]}],
            max_completion_tokens=CAP,
            stream=True,
            stream_options={"include_usage": True},
        ):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                finish_reason = choice.finish_reason or finish_reason
        report(call=_seen(usage, finish_reason, stream=True))


def _seen(usage: CompletionUsage | None, finish_reason: str | None, *, stream: bool) -> dict[str, object]:
    details = usage.prompt_tokens_details if usage is not None else None
    return {
        "stream": stream,
        "finish_reason": finish_reason,
        "prompt_tokens": usage.prompt_tokens if usage is not None else 0,
        "cached_tokens": (details.cached_tokens or 0) if details is not None else 0,
        "completion_tokens": usage.completion_tokens if usage is not None else 0,
    }


def _refusal(error: openai.APIStatusError) -> dict[str, object]:
    """The refusal as the SDK raised it."""
    return {
        "class": f"openai.{type(error).__name__}",
        "status": error.status_code,
        "code": error.code,
        "type": error.type,
        "message": error.message,
        "reason": error.response.headers.get("x-tollway-reason"),
        "call": error.response.headers.get("x-tollway-call"),
    }


def report(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    client = openai.OpenAI()
    workers = [Worker(client, sys.argv[1], number) for number in range(WORKERS)]
    threads = [threading.Thread(target=worker.work) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()

"""The calls that are measured, as the SDK sends them, and the answers a provider gives.

They name no cap, as most do not, so that Tollway has to put one in; streams do not ask for their usage, so that
Tollway has to ask for it and to take it out again: the usual cases and not the cheapest. All are billed the same
tokens, so that a ledger is checked by counting.
"""

import json
from dataclasses import dataclass
from typing import Final

from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage

ANSWERING: Final = "openai"
"""The provider that gives a whole answer at once."""
STREAMING: Final = "streaming"
"""The provider that gives one chunk by chunk."""
MODEL: Final = "gpt-4o-mini"
PROMPT_TOKENS: Final = 168
COMPLETION_TOKENS: Final = 74

_INSTRUCTIONS: Final = (
    "You are the assistant of a library's enquiry desk. Answer in two or three plain sentences, name the floor and the "
    "shelf mark where you know them, and say so when you do not. Never invent a title, an author or an opening time. "
    "If a question is about somebody's account, ask them to come to the desk with their card instead."
)
_QUESTION: Final = (
    "I am looking for an introduction to bookkeeping for small associations, something that explains how a ledger is "
    "kept and checked at the end of the year. Is there anything that can be borrowed over the weekend, and would you "
    "recommend one of them to a treasurer who has never done this before and has one evening a week for it?"
)
_REPLY: Final = (
    "Yes: the shelf for associations and clubs is on the second floor at QP 820, and the introductions to bookkeeping "
    "stand at its left end. Everything with a green label can be borrowed from Friday noon to Monday morning. I do not "
    "know which of them are in at the moment; the desk on that floor can look it up for you."
)
_USAGE: Final = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_ENVELOPE: Final = {
    "id": "chatcmpl-BqZ0w7nR4tYk2LdVhC8sXe51",
    "created": 1_790_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "service_tier": "default",
}

ANSWER: Final = json.dumps(
    {
        **_ENVELOPE,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _REPLY, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
).encode()

CHUNKS: Final = 50
CHUNK_EVERY_S: Final = 0.002


def _event(choices: list[object], **more: object) -> bytes:
    return b"data: " + json.dumps({**_ENVELOPE, "object": "chat.completion.chunk", "choices": choices, **more}).encode()


def _chunk(number: int) -> bytes:
    words = _REPLY.split()
    delta = {"role": "assistant", "content": ""} if number == 0 else {"content": f" {words[number % len(words)]}"}
    finish = "stop" if number == CHUNKS - 1 else None
    return _event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]) + b"\n\n"


STREAM_CHUNKS: Final = tuple(map(_chunk, range(CHUNKS)))
STREAM_USAGE: Final = _event([], usage=_USAGE) + b"\n\n"
STREAM_END: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent to which provider, and how many bytes the body of its right answer has."""

    name: str
    provider: str
    body: bytes
    answer_bytes: int


def _request(messages: list[tuple[str, str]], **more: object) -> bytes:
    said = [{"role": role, "content": content} for role, content in messages]
    document = {"messages": said, "model": MODEL, "temperature": 0.2, **more}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()  # as the SDK writes it


def _conversation(size: int) -> bytes:
    """A request of about `size` bytes: 40 messages, with as many escapes as prose in JSON has."""
    turns = 40
    paragraph = f'{_QUESTION}\n"{_REPLY}"\n'
    text = paragraph * (size // turns // len(paragraph) + 1)
    told = text[: size // turns]
    return _request([("system", _INSTRUCTIONS), *((("user", "assistant")[n % 2], told) for n in range(turns))])


_ASKED: Final = [("system", _INSTRUCTIONS), ("user", _QUESTION)]

SMALL: Final = Call("small", ANSWERING, _request(_ASKED), len(ANSWER))
BIG: Final = Call("277 KB", ANSWERING, _conversation(270_000), len(ANSWER))
HUGE: Final = Call("2.8 MB", ANSWERING, _conversation(2_730_000), len(ANSWER))
STREAM: Final = Call(
    f"stream of {CHUNKS} chunks",
    STREAMING,
    _request(_ASKED, stream=True),
    sum(map(len, STREAM_CHUNKS)) + len(STREAM_END),
)


def cost_of_a_call() -> int:
    """Nano-USD: what the ledger has to have of each."""
    priced = default_book().find("OpenAI", MODEL)
    assert priced is not None
    return priced.row.cost(Usage(input=PROMPT_TOKENS, output=COMPLETION_TOKENS, tier="default"))

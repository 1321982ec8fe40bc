"""What is said between the callers of a soak and its provider. Tokens are words; every prompt is billed the same."""

import json
from functools import cache
from typing import Final

MODEL: Final = "gpt-4o-mini"
PROMPT_TOKENS: Final = 60
CHUNK_TOKENS: Final = 8
CAP: Final = 200
"""Tokens that a request asks for at most."""

OWN_ERROR: Final = b'{"error":{"message":"The provider had an error of its own.","type":"server_error","code":null}}'
"""What the provider says where it fails by itself."""
BREAKS_OFF: Final = b": this one breaks off\n\n"
"""A comment in a stream that the provider will not end."""
STREAM_END: Final = b"data: [DONE]\n\n"

_PROMPT: Final = "Which shelf has the introductions to bookkeeping, and can they be borrowed over the weekend? " * 3
_ENVELOPE: Final = {"id": "chatcmpl-soak", "created": 1_790_000_000, "model": MODEL}


def request(*, stream: bool) -> bytes:
    document: dict[str, object] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": _PROMPT}],
        "max_completion_tokens": CAP,
    }
    return json.dumps({**document, "stream": True} if stream else document).encode()


@cache
def answer(output: int) -> bytes:
    """A whole answer of so many tokens."""
    message = {"role": "assistant", "content": " ".join(["shelf"] * output)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({**_ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": _usage(output)}).encode()


@cache
def chunk(tokens: int) -> bytes:
    return _event([{"index": 0, "delta": {"content": " shelf" * tokens}, "finish_reason": None}])


@cache
def ending(output: int, *, usage: bool) -> bytes:
    """How a stream of so many tokens ends."""
    counted = _event([], usage=_usage(output)) if usage else b""
    return _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + counted + STREAM_END


def framed(data: bytes) -> bytes:
    """A chunk of HTTP/1.1's transfer coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(choices: list[object], **more: object) -> bytes:
    document = {**_ENVELOPE, "object": "chat.completion.chunk", "choices": choices, **more}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _usage(output: int) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": output,
        "total_tokens": PROMPT_TOKENS + output,
    }

"""The call that is measured: a short chat completion as the SDK sends it, and the answer a provider gives.

The request names no cap, as most do not, so that Tollway has to put one in: the usual case and not the cheapest.
"""

import json
from typing import Final

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

REQUEST: Final = json.dumps(
    {
        "messages": [{"role": "system", "content": _INSTRUCTIONS}, {"role": "user", "content": _QUESTION}],
        "model": MODEL,
        "temperature": 0.2,
    },
    separators=(",", ":"),  # as the SDK writes it
    ensure_ascii=False,
).encode()

ANSWER: Final = json.dumps(
    {
        "id": "chatcmpl-BqZ0w7nR4tYk2LdVhC8sXe51",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _REPLY, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
    }
).encode()

"""What the demo provider's models say, and how many tokens that is.

Everything follows from the request: the same request gets the same text. The rules of counting are simple and public:
a token of output is one word, and a prompt is one token for every four bytes of its messages' and tools' JSON, rounded
up, so that it never has more tokens than bytes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from tollway_cli.demo.settings import Behaviour

BYTES_PER_TOKEN: Final = 4

_STORY: Final = """
a bridge was built where two roads met and at each end stood a small house with a lamp in it whoever came by paid a coin
and got a mark on the hand nobody asked for more than the sign on the wall said and nobody crossed for free when the
river rose the keeper counted the coins twice wrote the sum into a book and closed the gate until morning
"""
_WORDS: Final = tuple(_STORY.split())


@dataclass(frozen=True, slots=True)
class Choice:
    words: tuple[str, ...]
    """Each with the space before it, but for the first."""
    finish_reason: str
    """"stop", or "length" where the cap ended it."""

    @property
    def text(self) -> str:
        return "".join(self.words)


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    written_5m_tokens: int = 0
    """Of the prompt's tokens, those that were written to the cache for five minutes, or for an hour."""
    written_1h_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    choices: tuple[Choice, ...]
    usage: Usage


class Prompt(Protocol):
    """What an answer follows from."""

    @property
    def model(self) -> str: ...

    @property
    def messages(self) -> Sequence[object]: ...

    @property
    def tools(self) -> Sequence[object]: ...

    @property
    def cap(self) -> int | None: ...

    @property
    def answers(self) -> int: ...


def complete(request: Prompt, body_bytes: int, behaviour: Behaviour) -> Completion:
    content = msgspec.json.encode((request.messages, request.tools))
    reasoning, visible, finish_reason = _lengths(request.cap, behaviour)
    prompt = min(-(-len(content) // BYTES_PER_TOKEN), body_bytes)
    seed = hashlib.sha256(request.model.encode() + content).digest()
    choices = tuple(Choice(_words(seed, index, visible), finish_reason) for index in range(request.answers))
    usage = Usage(
        prompt_tokens=prompt,
        cached_tokens=min(behaviour.cached_tokens, prompt),
        completion_tokens=(reasoning + visible) * request.answers,
        reasoning_tokens=reasoning * request.answers,
    )
    return Completion(choices, usage)


def _lengths(cap: int | None, behaviour: Behaviour) -> tuple[int, int, str]:
    """Reasoning tokens, visible tokens, and why it ends there. Reasoning comes first and may use up the whole cap."""
    wanted = behaviour.reasoning_tokens + behaviour.output_tokens
    if cap is None or cap >= wanted:
        return behaviour.reasoning_tokens, behaviour.output_tokens, "stop"
    reasoning = min(behaviour.reasoning_tokens, cap)
    return reasoning, cap - reasoning, "length"


def _words(seed: bytes, index: int, count: int) -> tuple[str, ...]:
    start = int.from_bytes(seed[:4]) + index
    words = [_WORDS[(start + step) % len(_WORDS)] for step in range(count)]
    return tuple(f" {word}" if step else word for step, word in enumerate(words))

"""The bytes of OpenAI's embeddings API: its request, and its one JSON document. Equal texts have equal vectors.

Source: the openai SDK's types `EmbeddingCreateParams` and `CreateEmbeddingResponse`.
"""

import base64
import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from tollway_cli.demo.generation import BYTES_PER_TOKEN, Usage
from tollway_cli.demo.request import model_of, object_of, whole_number, wrong
from tollway_cli.demo.wire import Api, Circumstances, Event

DIMENSIONS: Final = 256
MOST_DIMENSIONS: Final = 4096

Text = str | list[int]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """`texts`: each as it is, or as its tokens."""

    model: str
    texts: tuple[Text, ...]
    dimensions: int
    as_base64: bool
    stream: bool = False


def read_embedding_request(body: bytes) -> EmbeddingRequest:
    """Raises `ApiError`."""
    fields = object_of(body)
    return EmbeddingRequest(
        model=model_of(fields),
        texts=_texts(fields.get("input")),
        dimensions=whole_number(fields, "dimensions", MOST_DIMENSIONS) or DIMENSIONS,
        as_base64=fields.get("encoding_format") == "base64",
    )


def _texts(given: object) -> tuple[Text, ...]:
    if isinstance(given, str) or (isinstance(given, list) and given and all(type(one) is int for one in given)):
        given = [given]
    try:
        texts = msgspec.convert(given, tuple[Text, ...])
    except msgspec.ValidationError:
        wrong("input", "a string, an array of strings, or arrays of tokens")
    if not all(texts) or len({type(text) for text in texts}) != 1:
        wrong("input", "at least one text, none empty, all as strings or all as tokens")
    return texts


@dataclass(frozen=True)
class EmbeddingAnswer:
    request: EmbeddingRequest
    number: int

    ending = b""

    @property
    def id(self) -> str:
        """The format has none: this one is for the log."""
        return f"embd_demo{self.number:08}"

    @property
    def usage(self) -> Usage:
        return Usage(sum(map(_tokens, self.request.texts)), 0, 0, 0)

    def document(self) -> bytes:
        tokens = self.usage.prompt_tokens
        return msgspec.json.encode(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": self._shown(text)}
                    for index, text in enumerate(self.request.texts)
                ],
                "model": self.request.model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def events(self, chunk_tokens: int) -> Iterator[Event]:
        """None: a request cannot ask for them."""
        del chunk_tokens
        return iter(())

    def _shown(self, text: Text) -> list[float] | str:
        vector = _vector(self.request.model, text, self.request.dimensions)
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if self.request.as_base64 else vector


def _tokens(text: Text) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN) if isinstance(text, str) else len(text)


def _vector(model: str, text: Text, dimensions: int) -> list[float]:
    """Of length 1."""
    noise = hashlib.shake_256(repr((model, text)).encode()).digest(2 * dimensions)
    raw = [number + 0.5 for number in struct.unpack(f"<{dimensions}h", noise)]
    length = math.hypot(*raw)
    return [number / length for number in raw]


def _answer(request: EmbeddingRequest, given: Circumstances) -> EmbeddingAnswer:
    return EmbeddingAnswer(request, given.number)


EMBEDDINGS: Final = Api(read_embedding_request, _answer)

"""What an operation is to the family, and in what the servers that speak OpenAI's format differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tollway.providers.json_scan import Body
from tollway.providers.port import Edit, Operation, ParsedCall


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of servers.

    `extended`: request fields beyond OpenAI's are known. `tokens_per_request` is what the server may add to any prompt,
    `tokens_per_text` to each of many texts that are embedded. `chat_cap` is the output cap of chat completions that
    every such server obeys, `least_response` the smallest cap of a response that it takes. `unasked` is what a request
    is made to say (name -> JSON) where it says nothing and the account's own settings would decide.
    """

    extended: bool
    tokens_per_request: int
    tokens_per_text: int
    chat_cap: str
    least_response: int
    unasked: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Described:
    """One operation. `parse` takes the body and the content type, `edits` the cap to set, and both the dialect."""

    operation: Operation
    parse: Callable[[bytes, str, Dialect], ParsedCall]
    edits: Callable[[ParsedCall, Body, int | None, Dialect], Sequence[Edit]]

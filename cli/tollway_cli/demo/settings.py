"""How the demo provider behaves. One frozen value, made by whoever starts it; requests cannot change it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one model answers. Lengths in tokens, per choice; times in milliseconds.

    `reasoning_tokens` are never shown but billed, and count toward the cap, as with real reasoning models.
    `status` other than 200: every call fails with it. `hang_up_after`: a stream breaks off after so many chunks.
    """

    latency_ms: int = 0
    """Before the first byte."""
    chunk_delay_ms: int = 0
    """Before each chunk of a stream but the first."""
    chunk_tokens: int = 1
    output_tokens: int = 64
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    """How many of the prompt's tokens are said to come from the cache, if it has as many."""
    status: int = 200
    hang_up_after: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """`key`: the only one that is accepted (None: any). `models`: models that behave otherwise than `behaviour`.

    A model is known if it is in `models` or its name begins with one of `known_prefixes`.
    """

    key: str | None = field(default=None, repr=False)
    behaviour: Behaviour = Behaviour()
    models: Mapping[str, Behaviour] = field(default_factory=dict)
    known_prefixes: tuple[str, ...] = ("gpt-", "o1", "o3", "o4", "text-embedding-", "claude-")
    created: int = 1_790_000_000
    """What every answer says about its time, in seconds since the epoch: the demo provider has no clock."""
    largest_body: int = 40 * 1024 * 1024
    log_length: int = 100_000

    def behaviour_of(self, model: str) -> Behaviour | None:
        """None: there is no such model."""
        if model in self.models:
            return self.models[model]
        return self.behaviour if model.startswith(self.known_prefixes) else None

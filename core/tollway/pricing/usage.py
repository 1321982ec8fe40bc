"""What a provider says a call consumed, in the classes that providers price."""

from enum import IntEnum

from tollway.values import value


class CacheWrites(IntEnum):
    """The dearest writing to a provider's cache that a call can be billed for; each includes those before it."""

    NONE = 0
    FIVE_MINUTES = 1
    ONE_HOUR = 2


@value(frozen=True, slots=True)
class Usage:
    """Tokens of one call. Every token is in exactly one class, except `reasoning`, which is a part of `output`.

    `input` excludes cached and audio tokens, `output` excludes audio. Cached audio, where a provider tells it apart, is
    `audio_input`: the dearer class. `tier` is the service tier that answered, in the
    provider's word ("" if it says none).
    """

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    output: int = 0
    audio_output: int = 0
    reasoning: int = 0
    tier: str = ""

    @property
    def input_tokens(self) -> int:
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.audio_input

    @property
    def output_tokens(self) -> int:
        return self.output + self.audio_output

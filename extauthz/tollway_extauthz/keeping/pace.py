"""When to try again: ever later while nothing goes well, never at once, and never before the server wants it. Pure."""

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.2
LONGEST_S: Final = 15.0
LONGEST_OBEYED_S: Final = 120.0


class Pace:
    """Of one conversation. `jitter` is in [0, 1): many who were cut off together do not come back together."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0

    def went_well(self) -> None:
        self._failures = 0

    def pause(self, asked_s: float = 0.0) -> float:
        """Seconds to wait before the next try. `asked_s`: what the server wants."""
        usual = min(LONGEST_S, FIRST_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return max(usual, min(asked_s, LONGEST_OBEYED_S)) * (1 + self._jitter() / 2)

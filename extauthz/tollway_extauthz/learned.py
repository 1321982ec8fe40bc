"""What this process has learned of each agent's answers: how long they usually are.

A hint for the size of a hold when little is left, never a bound: it is kept in memory, and seeded from the journal.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from statistics import median_low
from typing import Final

_SAMPLES: Final = 31
_ENOUGH: Final = 5
_PAIRS: Final = 10_000


class LearnedOutputs:
    """Median answers per agent and model, of the latest calls. Bounded in samples and in pairs."""

    def __init__(self, seen: Iterable[tuple[str, str, int]] = ()) -> None:
        self._samples: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        for agent, model, tokens in seen:
            self.add(agent, model, tokens)

    def add(self, agent: str, model: str, tokens: int) -> None:
        """Note one answer of `tokens` tokens."""
        samples = self._samples.setdefault((agent, model), deque(maxlen=_SAMPLES))
        samples.append(tokens)
        self._samples.move_to_end((agent, model))
        if len(self._samples) > _PAIRS:
            self._samples.popitem(last=False)

    def median(self, agent: str, model: str) -> int | None:
        """The median answer in tokens, or None while too few are known."""
        samples = self._samples.get((agent, model))
        if samples is None or len(samples) < _ENOUGH:
            return None
        return max(median_low(list(samples)), 1)

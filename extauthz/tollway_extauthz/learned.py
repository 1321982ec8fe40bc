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
        self._samples: OrderedDict[tuple[str, str], _Samples] = OrderedDict()
        for agent, model, tokens in seen:
            self.add(agent, model, tokens)

    def add(self, agent: str, model: str, tokens: int) -> None:
        """Note one answer of `tokens` tokens."""
        samples = self._samples.get((agent, model))
        if samples is None:
            samples = self._samples[agent, model] = _Samples()
            if len(self._samples) > _PAIRS:
                self._samples.popitem(last=False)
        samples.add(tokens)

    def take_over(self, fresh: "LearnedOutputs") -> None:
        """Know what `fresh` knows, and nothing else."""
        self._samples = fresh._samples  # noqa: SLF001 - its own kind

    def median(self, agent: str, model: str) -> int | None:
        """The median answer in tokens, or None while too few are known."""
        samples = self._samples.get((agent, model))
        return samples.median if samples is not None else None


class _Samples:
    """The latest answers of one agent and model. Their median is looked at with each call, and taken now and then."""

    __slots__ = ("_latest", "_since", "median")

    def __init__(self) -> None:
        self._latest: deque[int] = deque(maxlen=_SAMPLES)
        self._since = 0
        self.median: int | None = None

    def add(self, tokens: int) -> None:
        self._latest.append(tokens)
        self._since += 1
        if self._since >= _ENOUGH:
            self._since = 0
            self.median = max(median_low(self._latest), 1)

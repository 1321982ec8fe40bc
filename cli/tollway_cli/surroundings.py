"""What a command is started in, as a value: `__main__` reads it, everything else is handed it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Surroundings:
    environ: Mapping[str, str] = field(repr=False)
    now_ms: Callable[[], int]
    """Milliseconds since the epoch, by the machine's clock."""
    up_ms: Callable[[], int]
    """Milliseconds since this machine started, sleep included."""
    random: Callable[[], float]
    """From 0 to under 1."""

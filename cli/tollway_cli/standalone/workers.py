"""How the workers of the data plane are told apart: the first has no number, so that one alone looks as it should."""

from typing import Final

EXTAUTHZ: Final = "extauthz"
"""The first worker."""
MOST: Final = 64
"""Workers. What they write goes into one file, one after the other: more of them would only wait longer."""


def numbered(stem: str, worker: int) -> str:
    """What `worker` (from 0) has of what the first calls `stem`: a process, a socket, a file."""
    return f"{stem}-{worker}" if worker else stem


def all_numbered(stem: str, workers: int) -> tuple[str, ...]:
    return tuple(numbered(stem, worker) for worker in range(workers))

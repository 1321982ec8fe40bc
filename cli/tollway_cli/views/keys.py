"""Single keys from a terminal, while something else is shown on it."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import TypeAlias

Wait: TypeAlias = Callable[[float], str]
"""Wait so many seconds for a key; "" where none came."""


@contextlib.contextmanager
def keys() -> Iterator[Wait]:
    """Keys without Enter and without an echo. Where there is no terminal to type at, time just passes."""
    descriptor = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    if descriptor is None:
        yield _pause
        return
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield lambda seconds: _key(descriptor, seconds)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _pause(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _key(descriptor: int, seconds: float) -> str:
    readable, _, _ = select.select([descriptor], [], [], seconds)
    return os.read(descriptor, 1).decode("ascii", "replace") if readable else ""

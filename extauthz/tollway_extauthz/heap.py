"""How the C library's allocator is to treat what large bodies leave behind."""

import ctypes
from contextlib import suppress
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_LARGE: Final = 128 * 1024


def give_back_memory() -> None:
    """Have blocks of `_LARGE` bytes and more go back to the kernel when they are let go, for good.

    Left alone, glibc raises that size to the largest block it ever freed, and keeps such blocks between small ones that
    stay. Other C libraries have other ways, and are left alone.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)
        mallopt(_ARENA_MAX, 2)

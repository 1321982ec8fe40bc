"""Work that is done again and again, and that nothing may stop for good."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

Work = Callable[[], object | Awaitable[object]]


async def every(seconds: float, work: Work) -> None:
    """Do `work` now, and again `seconds` after each time; until cancelled."""
    while True:
        await attempt(work)
        await asyncio.sleep(seconds)


async def attempt(work: Work) -> None:
    """Do `work` once. Whatever fails is logged: the next time may succeed."""
    try:
        result = work()
        if isinstance(result, Awaitable):
            await result
    except Exception:  # noqa: BLE001 - whatever it is, the next round may succeed
        _log.exception("a periodic task failed and is tried again")

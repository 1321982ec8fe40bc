"""Asks our own processes over HTTP, on Unix sockets and loopback: are you ready, what do you run?"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiohttp

POLL: Final = 0.03
"""Seconds between two questions: a reload has to be in force within a second."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)


async def ask_socket(path: Path, target: str, method: str = "GET") -> bytes | None:
    """The body of a 200 from a server on a Unix socket; None for anything else."""
    return await _ask(aiohttp.UnixConnector(path=str(path), force_close=True), method, f"http://localhost{target}")


async def ask_port(port: int, target: str) -> bytes | None:
    """The body of a 200 from a server on a loopback port; None for anything else."""
    return await _ask(aiohttp.TCPConnector(force_close=True), "GET", f"http://127.0.0.1:{port}{target}")


async def _ask(connector: aiohttp.BaseConnector, method: str, url: str) -> bytes | None:
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
            session.request(method, url) as response,
        ):
            content = await response.read()
            return content if response.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Wait until `condition` holds; False when it did not within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - what is asked is another process
                await asyncio.sleep(POLL)
    except TimeoutError:
        return False
    return True

"""Callers that never stop: so many calls a second, each on a connection of its own, all the way to the gateway."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

BODY = json.dumps({"model": "gpt-5-mini", "max_completion_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]})


@dataclass
class Calls:
    """`phase` is asked at the start of each call. A call that failed is in `failures`, with its phase."""

    urls: Sequence[str]
    phase: Callable[[], str]
    per_second: int = 200
    answered: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    async def _run(self) -> None:
        start, made, open_ = time.monotonic(), 0, set[asyncio.Task[None]]()
        while not self._stop.is_set():
            due = int((time.monotonic() - start) * self.per_second)
            # A machine that is too slow gets fewer calls, and not more and more at once.
            for _ in range(min(due - made, 40 - len(open_))):
                task = asyncio.create_task(self._call(self.urls[made % len(self.urls)]))
                open_.add(task)
                task.add_done_callback(open_.discard)
                made += 1
            made = max(made, due - self.per_second)
            await asyncio.sleep(0.01)
        await asyncio.gather(*open_)

    async def _call(self, url: str) -> None:
        phase = self.phase()
        try:
            async with asyncio.timeout(20):
                said = await _post(url)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            said = repr(error)
        if said.startswith("HTTP/1.1 200"):
            self.answered[phase] += 1
        else:
            self.failures.append((phase, said[:600]))


async def _post(base: str) -> str:
    where = urlsplit(base)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = (
        f"POST {where.path}/chat/completions HTTP/1.1\r\nhost: {where.netloc}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    writer.write((head + BODY).encode())
    try:
        return (await reader.read()).decode(errors="replace")
    finally:
        writer.close()

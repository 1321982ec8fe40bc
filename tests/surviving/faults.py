"""Faults as a machine makes them, callers that go on calling meanwhile, and what they may be told."""

import contextlib
import http.client
import itertools
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ending.stage import CHAT, MESSAGES, Stage, Way
from installations import wait_until

RECOVERY_S = 5.0
"""How long after the end of a fault calls may still be refused."""
WAYS = (CHAT, MESSAGES)
_LAST = {"openai": b"[DONE]\n\n", "anthropic": b'{"type": "message_stop"}\n\n'}


@dataclass(frozen=True)
class Told:
    """What one caller was told. `status` 0: nothing that is HTTP. Times are of the monotonic clock."""

    way: Way = field(repr=False)
    began: float
    ended: float
    status: int
    reason: str = ""
    body: bytes = field(default=b"", repr=False)

    @property
    def is_answer(self) -> bool:
        return self.status == 200 and self.body.endswith(_LAST[self.way.provider])

    @property
    def is_refusal(self) -> bool:
        """Whether Tollway refused it for the time being, as its provider would."""
        if self.status != (503 if self.way is CHAT else 529) or not self.reason.startswith("tollway."):
            return False
        said = json.loads(self.body)
        if self.way is CHAT:
            return set(said) == {"error"} and set(said["error"]) == {"message", "type", "param", "code"}
        return said.keys() == {"type", "error", "request_id"} and said["error"]["type"] == "overloaded_error"


def told(stage: Stage, way: Way = CHAT, act: str = "stream") -> Told:
    """Call, and say what came of it."""
    began = time.monotonic()
    try:
        call = stage.call(act, way)
        status, headers = call.response.status, call.response.headers
        body = call.read()
    except (http.client.HTTPException, OSError):
        return Told(way, began, time.monotonic(), 0)
    return Told(way, began, time.monotonic(), status, headers.get("x-tollway-reason", ""), body)


class Crowd:
    """Callers of both providers that call without a pause, and all that they were told."""

    def __init__(self, stage: Stage, callers: int) -> None:
        self._stage = stage
        self._gone = threading.Event()
        self.told: list[Told] = []
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        for way in itertools.islice(itertools.cycle(WAYS), number, None):
            if self._gone.is_set():
                return
            found = told(self._stage, way)
            self.told.append(found)
            if not found.is_answer:
                time.sleep(0.05)

    def answers(self, since: float = 0.0) -> list[Told]:
        """Of calls made since a moment."""
        return [each for each in self.told if each.is_answer and each.began >= since]

    def refusals(self, since: float = 0.0) -> list[Told]:
        return [each for each in self.told if each.is_refusal and each.began >= since]

    def is_answered(self, number: int) -> None:
        """Wait until so many more calls were answered."""
        before = len(self.answers())
        wait_until(lambda: len(self.answers()) >= before + number, 20, lambda: str(self.told[-5:]))

    def is_refused(self, number: int = 5, reason: str = "tollway.") -> None:
        """Wait until so many more calls of each provider were refused for this reason."""
        before = len(self.told)

        def refused(way: Way) -> int:
            told = self.told[before:]
            return sum(each.is_refusal and each.way is way and each.reason.startswith(reason) for each in told)

        wait_until(lambda: all(refused(way) >= number for way in WAYS), 20, lambda: str(self.told[-5:]))

    def is_served_again(self, since: float, within: float = RECOVERY_S) -> None:
        """Whether all that was called later than `within` seconds after the fault ended is answered."""
        self.is_answered(20)
        late = [each for each in self.told if each.began > since + within and not each.is_answer]
        assert not late, late[:3]
        first = min((each.ended for each in self.answers(since)), default=float("inf"))
        assert first - since < within, f"nobody was answered for {first - since:.1f} s"

    def were_told_nothing_else(self) -> bool:
        strange = [each for each in self.told if not each.is_answer and not each.is_refusal]
        assert not strange, f"{len(strange)} of {len(self.told)}: {strange[:3]}"
        return True


def recovers(stage: Stage, since: float, within: float = RECOVERY_S) -> bool:
    """Whether a call of each provider is answered soon enough after a fault ended."""
    for way in WAYS:
        wait_until(lambda way=way: told(stage, way).is_answer, 30)  # type: ignore[misc]
    assert time.monotonic() - since < within, f"it took {time.monotonic() - since:.1f} s"
    return True


def is_up(stage: Stage) -> bool:
    """Whether the data plane, perhaps another than before, can be asked."""
    try:
        return stage.ask("/status") is not None
    except OSError:
        return False


def is_in_order(stage: Stage, within: float = 20.0) -> bool:
    """Whether no call is open any more, and all adds up: the journal, the counters, the provider's bills."""
    wait_until(lambda: all(call["outcome"] != "open" for call in stage.calls()), within, lambda: str(open_calls(stage)))
    return stage.in_order()


def open_calls(stage: Stage) -> Sequence[dict[str, Any]]:
    return [call for call in stage.calls() if call["outcome"] == "open"]


@contextlib.contextmanager
def limited(pid: int, what: int, to: int) -> Iterator[None]:
    """The kernel gives a process no more of `what` (a `resource.RLIMIT_…`) than `to`."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (to, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, what, before)


def no_descriptor_left(pid: int) -> contextlib.AbstractContextManager[None]:
    """It keeps what is open, and can open nothing more."""
    return limited(pid, resource.RLIMIT_NOFILE, 3)


def full_disk(pid: int) -> contextlib.AbstractContextManager[None]:
    """No file grows beyond its first bytes; nothing is written to what is longer."""
    return limited(pid, resource.RLIMIT_FSIZE, 512)


def memory(pid: int, kind: str = "VmRSS") -> int:
    """Bytes; `VmHWM` is the most that it ever had, `VmSize` all that it may touch."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{kind}:"))


def kill(pid: int) -> float:
    """The moment of its death."""
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()

"""What `tollway up` says while it runs: one line per event; trouble goes to stderr."""

import contextlib
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

from tollway_cli.standalone.supervisor import Crash
from tollway_cli.views.wording import local_time


class Voice:
    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._shown: dict[str, tuple[str, ...]] = {}
        """The lines of log that were shown last for each process."""

    def say(self, sentence: str) -> None:
        _write(sys.stdout, f"{self._time()}  {sentence}")

    def warn(self, sentence: str, details: Iterable[str] = ()) -> None:
        _write(sys.stderr, "\n".join((f"{self._time()}  {sentence}", *(f"    {detail}" for detail in details))))

    def crashed(self, crash: Crash) -> None:
        """Its last lines only where they say something new: a process may fail again and again."""
        said = f"{crash.name} {crash.reason} after {crash.ran_for:.1f} s; it is started again in {crash.again_in:.1f} s"
        if self._shown.get(crash.name) == crash.last_lines:
            self.warn(said)
        else:
            self.warn(f"{said}. The end of {crash.log}:", crash.last_lines or ("(empty)",))
        self._shown[crash.name] = crash.last_lines

    def _time(self) -> str:
        return local_time(self._clock())[11:19]


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone: that is no reason to stop serving
        stream.write(f"{text}\n")
        stream.flush()

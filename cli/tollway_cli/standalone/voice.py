"""What `tollway up` says while it runs: one line per event; trouble goes to stderr."""

import sys
from collections.abc import Callable, Iterable

from tollway_cli.standalone.supervisor import Crash
from tollway_cli.views.wording import local_time


class Voice:
    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._shown: dict[str, tuple[str, ...]] = {}
        """The lines of log that were shown last for each process."""

    def say(self, sentence: str) -> None:
        print(f"{self._time()}  {sentence}", file=sys.stdout, flush=True)  # noqa: T201 - it is the interface

    def warn(self, sentence: str, details: Iterable[str] = ()) -> None:
        lines = (f"{self._time()}  {sentence}", *(f"    {detail}" for detail in details))
        print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201 - it is the interface

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

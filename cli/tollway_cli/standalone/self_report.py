"""What `tollway up` says of itself in a file, for `tollway doctor`: also when it no longer runs, or does not answer.

Written whenever it changes and left behind at the end, so that a person who finds nothing running learns what ran.
"""

from pathlib import Path
from typing import Final

import msgspec

from tollway_files.atomic import write_file

FILE_NAME: Final = "instance.json"


class ProcessReport(msgspec.Struct, frozen=True):
    """One supervised process; `failures` are short runs in a row that ended by themselves, the last at `ended_at`."""

    name: str
    pid: int | None
    log: str
    failures: int = 0
    ended_at: int | None = None
    ended: str = ""


class SelfReport(msgspec.Struct, frozen=True):
    """Paths are absolute, times milliseconds since the epoch. No value of a Secret is in it."""

    version: str
    pid: int
    started_at: int
    config: str
    ledger: str
    uncovered: str
    envoy: str
    upstream_ca: str
    ready_file: str = ""
    """The one that was asked for beside the state directory's own."""
    generation: int = 0
    given_secrets: tuple[str, ...] = ()
    """Which keys (NAME/KEY) came from the environment."""
    problems: tuple[str, ...] = ()
    """What is wrong with the files now: what was in force before stays in force."""
    not_in_force: str = ""
    """Why the last change of sound files is not in force."""
    processes: tuple[ProcessReport, ...] = ()
    workers: int = 1


class Reporter:
    """Keeps the file up to date; costs nothing while nothing changes."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE_NAME
        self._told: SelfReport | None = None

    def tell(self, report: SelfReport) -> None:
        """Raises `OSError`."""
        if report != self._told:
            write_file(self._path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
            self._told = report


def read_report(state: Path) -> SelfReport | None:
    """What the last `tollway up` with this state said; None where there is none that can be read."""
    try:
        return msgspec.json.decode((state / FILE_NAME).read_bytes(), type=SelfReport)
    except (OSError, msgspec.DecodeError):
        return None

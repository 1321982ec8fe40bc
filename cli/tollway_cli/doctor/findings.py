"""What a check says: nothing, or findings, each with what mends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    WRONG = "wrong"
    HINT = "hint"
    """Worth knowing, and perhaps meant: it does not make the answer no."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`object` is what it is about ("AIQuota team-a/research", a file, a process); `mend` is a command where one does
    it, else what to change."""

    level: Level
    object: str
    message: str
    mend: str


def wrong(subject: str, message: str, mend: str) -> Finding:
    return Finding(Level.WRONG, subject, message, mend)


def hint(subject: str, message: str, mend: str) -> Finding:
    return Finding(Level.HINT, subject, message, mend)


class Result(StrEnum):
    """What became of one check."""

    FINE = "fine"
    HINT = "hint"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    """What it looks at could not be seen: another check says why, or it was not asked for."""


@dataclass(frozen=True, slots=True)
class Checked:
    name: str
    result: Result
    findings: tuple[Finding, ...] = ()


def checked(name: str, findings: Sequence[Finding] | None) -> Checked:
    """None: what the check looks at could not be seen."""
    if findings is None:
        return Checked(name, Result.UNKNOWN)
    if any(finding.level is Level.WRONG for finding in findings):
        return Checked(name, Result.WRONG, tuple(findings))
    return Checked(name, Result.HINT if findings else Result.FINE, tuple(findings))


def is_well(checked: Sequence[Checked]) -> bool:
    return all(each.result is not Result.WRONG for each in checked)

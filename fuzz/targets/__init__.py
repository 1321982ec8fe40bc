"""The targets: a module each, with `seeds` (inputs that are in order, or nearly) and `check` (what holds for any).

`check` raises what it likes for an input that breaks something, and returns for every other. It is quick, keeps nothing
from one input to the next, and depends on nothing but its input.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

CASES: Final = Path(__file__).parent.parent / "cases"

NAMES: Final = (
    "access_log_lines",
    "anthropic_bodies",
    "check_requests",
    "header_edits",
    "http2",
    "json_scan",
    "openai_bodies",
    "peer_certificates",
    "resource_files",
    "spiffe_ids",
    "usage",
)


class Target(Protocol):
    def seeds(self) -> Iterable[bytes]: ...

    def check(self, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """An input that broke something once. The file's name says what."""

    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()


def load(name: str) -> Target:
    """The target's module; imported only now, so that a campaign can have it instrumented."""
    return cast(Target, import_module(f"fuzz.targets.{name}"))


def kept(name: str) -> tuple[Kept, ...]:
    return tuple(Kept(path) for path in sorted((CASES / name).glob("*")) if path.is_file())

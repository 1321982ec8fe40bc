"""A disk that stops in the middle: real files, and a power loss before any step, or half way through a write."""

from dataclasses import dataclass
from pathlib import Path

from tollway_files.atomic import REAL_FILES


class PowerLoss(Exception):  # noqa: N818
    """Nothing more happens."""


@dataclass
class DyingDisk:
    """Does `steps` steps, then none. A write of a file is two: half of it, and the whole."""

    steps: int

    def _step(self) -> None:
        if self.steps == 0:
            raise PowerLoss
        self.steps -= 1

    def create(self, path: Path, data: bytes) -> None:
        self._step()
        path.write_bytes(data[: len(data) // 2])
        self._step()
        path.unlink()
        REAL_FILES.create(path, data)

    def make_directory(self, path: Path) -> None:
        self._step()
        REAL_FILES.make_directory(path)

    def link(self, path: Path, target: str) -> None:
        self._step()
        REAL_FILES.link(path, target)

    def rename(self, path: Path, target: Path) -> None:
        self._step()
        REAL_FILES.rename(path, target)

    def remove(self, path: Path) -> None:
        self._step()
        REAL_FILES.remove(path)

    def sync(self, directory: Path) -> None:
        self._step()
        REAL_FILES.sync(directory)

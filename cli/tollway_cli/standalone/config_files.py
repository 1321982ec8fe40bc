"""The files of a configuration directory: which count, how big they may be, and whether they changed."""

import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from tollway.resources.problems import Problem

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
MAX_FILE: Final = 1024 * 1024
MAX_TOTAL: Final = 8 * 1024 * 1024
MAX_FILES: Final = 1000

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""(name, mtime in ns, size, inode) of each file, in order."""


def _counting(directory: Path, except_for: Collection[Path]) -> list[Path]:
    """The files that count, by name. Raises `OSError`."""
    found = (path for path in directory.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if path not in except_for)


def fingerprint(directory: Path, except_for: Collection[Path] = ()) -> Fingerprint:
    """Changes whenever a file that counts is written, replaced, added or removed. Links are followed."""
    return tuple((path.name, *_written(path)) for path in _counting(directory, except_for))


def _written(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:  # removed since, or a dead link: reading says so
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_directory(
    directory: Path, except_for: Collection[Path] = ()
) -> tuple[Mapping[str, bytes], tuple[Problem, ...]]:
    """The content of each file that counts, not recursive, and what cannot be read."""
    try:
        paths = _counting(directory, except_for)
    except OSError as error:
        return {}, (Problem(str(directory), "", "", f"cannot be read: {error.strerror}"),)
    if len(paths) > MAX_FILES:
        return {}, (Problem(str(directory), "", "", f"has {len(paths)} files; at most {MAX_FILES} are read"),)
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for path in paths:
        match read_file(path):
            case bytes(content):
                files[path.name] = content
            case Problem() as problem:
                problems.append(problem)
    if sum(map(len, files.values())) > MAX_TOTAL:
        problems.append(Problem(str(directory), "", "", f"has more than {MAX_TOTAL // 1024 // 1024} MiB of files"))
    return files, tuple(problems)


def read_file(path: Path) -> bytes | Problem:
    """One file within the limit. A pipe or a device is not opened: it could block for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Problem(path.name, "", "", "is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        return Problem(path.name, "", "", f"cannot be read: {error.strerror}")
    if len(content) > MAX_FILE:
        return Problem(path.name, "", "", f"is larger than {MAX_FILE // 1024} KiB")
    return content


class ConfigWatch:
    """Tells once per change; a change counts when two looks in a row see it alike."""

    def __init__(self, directory: Path, except_for: Collection[Path] = ()) -> None:
        self._directory = directory
        self._except_for = except_for
        self._taken = self._look()
        self._seen = self._taken

    def changed(self) -> bool:
        now = self._look()
        settled = now == self._seen
        self._seen = now
        if not settled or now == self._taken:
            return False
        self._taken = now
        return True

    def _look(self) -> Fingerprint:
        try:
            return fingerprint(self._directory, self._except_for)
        except OSError:  # gone: reading says so
            return ()

"""Files that others read while we change them: after a crash at any point they are the old ones or the new ones.

Two forms: `write_file` replaces one file (the state of the authority), `swap` replaces a whole directory of files that
belong together (a certificate and its key; Envoy's listeners and clusters), the way the kubelet does it for Secret
volumes. Envoy, told of the directory as `watched_directory`, reloads when `..data` is renamed into place.

    DIR/tls.crt -> ..data/tls.crt       stable names, for the reader's configuration
    DIR/..data -> ..4f1d09c2…           renamed over: the one moment in which everything changes
    DIR/..4f1d09c2…/tls.crt             named by content, so that no clock is needed

Both take one writer at a time for granted. Files are 0600, directories 0700.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

DATA: Final = "..data"
"""The link of a swapped directory through which everything in it changes at once."""
_NEW_LINK: Final = "..new"


class FileOperations(Protocol):
    """What is done to the disk, one step each: tests let a crash happen between any two."""

    def create(self, path: Path, data: bytes) -> None:
        """Make a file that does not exist, 0600, and wait until its data is on disk."""
        ...

    def make_directory(self, path: Path) -> None:
        """0700; its parents too. One that exists stays as it is."""
        ...

    def link(self, path: Path, target: str) -> None: ...

    def rename(self, path: Path, target: Path) -> None: ...

    def remove(self, path: Path) -> None:
        """A file, a link or a whole directory; nothing if it is not there."""
        ...

    def sync(self, directory: Path) -> None:
        """Wait until the names in the directory are on disk."""
        ...


class _RealFiles:
    def create(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(data)
            file.flush()
            os.fsync(descriptor)

    def make_directory(self, path: Path) -> None:
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)

    def link(self, path: Path, target: str) -> None:
        path.symlink_to(target)

    def rename(self, path: Path, target: Path) -> None:
        path.rename(target)

    def remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def sync(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


REAL_FILES: Final[FileOperations] = _RealFiles()


def write_file(path: Path, data: bytes, operations: FileOperations = REAL_FILES) -> None:
    """Replace the file at `path`, or create it with its directory. Errors are `OSError`."""
    new = path.with_name(f".{path.name}.new")
    operations.make_directory(path.parent)
    operations.remove(new)
    operations.create(new, data)
    operations.rename(new, path)
    operations.sync(path.parent)


def swap(directory: Path, files: Mapping[str, bytes], operations: FileOperations = REAL_FILES) -> bool:
    """Make `files` (name to content) what the directory shows, all in one moment. Says whether anything changed.

    Names must be plain file names that do not start with ".." (`ValueError`). Names that are no longer in `files`
    vanish. What is not a link made here stays. Errors are `OSError`.
    """
    _check_names(files)
    content = _content_name(files)
    if _is_complete(directory, content, files):
        return False
    if not _is_shown(directory, content, files):
        _write_content(directory / content, files, operations)
    _link_names(directory, files, operations)
    _replace_link(directory / DATA, content, operations)
    operations.sync(directory)
    _sweep(directory, content, files, operations)
    return True


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not name or "/" in name or "\0" in name or name == "." or name.startswith(".."):
            raise ValueError(f"{name!r} cannot be a file of a swapped directory: it must be a plain file name")


def _content_name(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return f"..{digest.hexdigest()[:32]}"


def _is_complete(directory: Path, content: str, files: Mapping[str, bytes]) -> bool:
    # Only leftovers of a crash make the listing longer.
    shows = _is_shown(directory, content, files)
    return shows and {entry.name for entry in directory.iterdir() if _is_ours(entry)} == {DATA, content, *files}


def _is_shown(directory: Path, content: str, files: Mapping[str, bytes]) -> bool:
    # `..data` names a content only once that was written whole; somebody may have removed some of it since.
    data = directory / DATA
    if not data.is_symlink() or str(data.readlink()) != content or not data.is_dir():
        return False
    return {entry.name for entry in data.iterdir()} == files.keys()


def _is_ours(entry: Path) -> bool:
    return entry.name.startswith("..") or (entry.is_symlink() and str(entry.readlink()) == f"{DATA}/{entry.name}")


def _write_content(content: Path, files: Mapping[str, bytes], operations: FileOperations) -> None:
    operations.make_directory(content.parent)
    # A crash may have left a part of it.
    operations.remove(content)
    operations.make_directory(content)
    for name, data in files.items():
        operations.create(content / name, data)
    operations.sync(content)


def _link_names(directory: Path, names: Iterable[str], operations: FileOperations) -> None:
    # Before `..data` is replaced: whoever is woken by that must find every name.
    for name in names:
        if not (directory / name).is_symlink() or not _is_ours(directory / name):
            _replace_link(directory / name, f"{DATA}/{name}", operations)


def _replace_link(path: Path, target: str, operations: FileOperations) -> None:
    new = path.parent / _NEW_LINK
    operations.remove(new)
    operations.link(new, target)
    operations.rename(new, path)


def _sweep(directory: Path, content: str, names: Iterable[str], operations: FileOperations) -> None:
    kept = {DATA, content, *names}
    for entry in sorted(directory.iterdir()):
        if _is_ours(entry) and entry.name not in kept:
            operations.remove(entry)

"""The state directory of an instance: who may use it, where everything lies in it.

Private (0700): it holds the CA's key, SVIDs and provider credentials. One instance at a time, guarded by a lock.
"""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from tollway_files.atomic import write_file

SOCKET_PATH_LIMIT: Final = 107
"""`sockaddr_un.sun_path` without its final zero byte."""
_LONGEST_SOCKET: Final = "agent-0123456789abcdef.sock"


def default_state(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/tollway`, else `~/.local/state/tollway`."""
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):  # the XDG specification: relative paths are to be ignored
        return Path(base) / "tollway"
    return Path(environ.get("HOME") or "/") / ".local" / "state" / "tollway"


class StateUnusable(Exception):  # noqa: N818 - named for what is wrong
    """The state directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Where everything lies below `root`. `sockets` is `root/run`, or a short private directory it links to."""

    root: Path
    sockets: Path

    @classmethod
    def at(cls, root: Path) -> Self:
        """The directory as it is, for those who only look."""
        return cls(root, root / "run")

    @classmethod
    def planned(cls, root: Path) -> Self:
        """The directory as `prepare` would make it, with dots for what is random in it."""
        run = root / "run"
        return cls(root, run if _is_short(run) else Path(tempfile.gettempdir()) / "tollway-........")

    @property
    def authority(self) -> Path:
        return self.root / "authority"

    @property
    def gateway(self) -> Path:
        return self.root / "gateway"

    @property
    def extauthz(self) -> Path:
        return self.root / "extauthz"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def ready_file(self) -> Path:
        return self.root / "ready.json"

    @property
    def memory_file(self) -> Path:
        return self.root / "memory.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    def agent(self, key: str) -> Path:
        """The directory of the agent `namespace/name`."""
        return self.root / "agents" / _file_name(key)

    def socket(self, name: str) -> Path:
        return self.sockets / f"{name}.sock"

    def agent_socket(self, key: str) -> Path:
        """The admin socket of an agent's sidecar: short, whatever the agent is called."""
        return self.socket(f"agent-{hashlib.sha256(key.encode()).hexdigest()[:16]}")


def _file_name(key: str) -> str:
    """A Kubernetes name has no underscore, so this is unique; those too long for a file name are cut and digested."""
    name = key.replace("/", "_")
    return name if len(name) <= 200 else f"{name[:180]}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def prepare(root: Path) -> StateDirectory:
    """Make the directory private and its socket directory usable. Raises `StateUnusable`."""
    root = root.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_ours(root)
        root.chmod(0o700)
        for name in ("gateway", "agents", "extauthz"):
            (root / name).mkdir(exist_ok=True, mode=0o700)
        return StateDirectory(root, _socket_directory(root / "run"))
    except OSError as error:
        raise StateUnusable(f"{root}: {error.strerror}; give a directory of your own with --state") from error


def _require_ours(root: Path) -> None:
    """Root may change any directory; whose it is can do so, too, whatever its mode."""
    owner = root.stat().st_uid
    if owner != os.getuid():
        raise StateUnusable(
            f"{root} belongs to user {owner}, who could read and replace every key in it; "
            "give a directory of your own with --state"
        )


def _socket_directory(run: Path) -> Path:
    """`run` where the paths of sockets in it are short enough, else a short private directory that it links to."""
    if _is_short(run):
        run.mkdir(exist_ok=True, mode=0o700)
        run.chmod(0o700)
        return run
    if run.is_symlink():
        if _private(run.readlink()):
            return run.readlink()
        run.unlink()
    short = Path(tempfile.mkdtemp(prefix="tollway-"))
    run.symlink_to(short)
    return short


def _is_short(run: Path) -> bool:
    return len(os.fsencode(run / _LONGEST_SOCKET)) <= SOCKET_PATH_LIMIT


def _private(directory: Path) -> bool:
    """A directory of ours alone: in a shared temporary directory somebody else may have made one of that name."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700


def remove_sockets(state: StateDirectory) -> None:
    """Leave no dead sockets behind, and no directory outside the state."""
    if state.sockets.parent != state.root:
        shutil.rmtree(state.sockets, ignore_errors=True)
        (state.root / "run").unlink(missing_ok=True)
        return
    for socket in state.sockets.glob("*.sock"):
        socket.unlink(missing_ok=True)


class Held(StateUnusable):
    """Another process uses this state."""


class Lock:
    """The right to use a state directory or a ledger; the kernel takes it back however the process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take_ledger(cls, ledger: Path) -> Self:
        """The right to write to a ledger, wherever it is: two gateways would end each other's holds.

        Raises `Held` and `OSError`.
        """
        ledger.parent.mkdir(parents=True, exist_ok=True)
        return cls.take(
            ledger.with_name(f"{ledger.name}.lock"), f"the ledger {ledger}", "give this one another ledger with --store"
        )

    @classmethod
    def take(
        cls, path: Path, what: str = "", otherwise: str = "give this one a directory of its own with --state"
    ) -> Self:
        """Raises `Held`, saying who holds it: `what` is taken, in words, and what to do but stop that one."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 64).decode("ascii", "replace").strip()
            os.close(fd)
            raise Held(
                f"{what or path.parent} is in use by a running `tollway up` (process {holder or 'unknown'}); "
                f"stop that one, or {otherwise}"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(fd)

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


class Memory(msgspec.Struct, frozen=True):
    """What must be the same after a restart: URLs that programs were given, and numbers that never go back."""

    generation: int = 0
    ports: dict[str, int] = {}
    """Process name -> port on loopback."""


def recall(state: StateDirectory) -> Memory:
    """What was remembered. An unreadable file is forgotten: everything in it can be chosen anew."""
    try:
        return msgspec.json.decode(state.memory_file.read_bytes(), type=Memory)
    except (OSError, msgspec.DecodeError):
        return Memory()


def remember(state: StateDirectory, memory: Memory) -> None:
    write_file(state.memory_file, msgspec.json.encode(memory))

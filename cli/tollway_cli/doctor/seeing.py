"""What of an installation can be seen on this machine: its directory, its files, its processes, its certificates."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from tollway.pricing.table import PriceBook
from tollway.resources.models import AIProvider, ModelRule, ResourceSet, RuleFile
from tollway_cli.doctor.snapshot import CertificateFacts, Prices, Programs, StateFacts
from tollway_cli.failures import Broken
from tollway_cli.standalone import watches
from tollway_cli.standalone.plan import GATEWAY
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.standalone.workers import all_numbered
from tollway_operator.authority.authority import STATE_FILE
from tollway_operator.authority.svid_files import CERTIFICATE_FILE
from tollway_operator.envoy.binary import EnvoyNotFoundError, envoy_binary
from tollway_operator.envoy.file_names import credential_file_name

ENVOY_VERSION: Final = re.compile(r"/(\d+\.\d+\.\d+)")
_WORKERS_SOCKETS: Final = ("admin", "check")


# The state directory


def state_facts(state: StateDirectory, ledger: Path, agents: Iterable[str], workers: int = 1) -> StateFacts:
    """Raises `Broken` for a directory that cannot be looked into."""
    root = state.root
    try:
        found = root.stat()
        list(root.iterdir())
    except FileNotFoundError:
        return StateFacts(root, exists=False, is_held=False, has_ready_file=False)
    except OSError as error:
        raise Broken(f"{root} cannot be looked into: {error.strerror}; run this as its owner, or name it") from error
    is_held, holder = _lock(state.lock_file)
    expected = _expected_sockets(state, agents, workers) if state.ready_file.exists() else ()
    return StateFacts(
        root,
        mode=stat.S_IMODE(found.st_mode),
        is_ours=found.st_uid == os.getuid(),
        is_held=is_held,
        holder=holder,
        holder_lives=holder is None or is_alive(holder),
        real_holders=tuple(_holders(state.lock_file)),
        has_ready_file=state.ready_file.exists(),
        run_link=_dead_link(root / "run"),
        sockets={str(path): _socket_mode(path) for path in expected},
        can_watch=watches.is_one_left(),
        free_bytes={str(where): shutil.disk_usage(where).free for where in _disks(root, ledger.parent)},
    )


def _expected_sockets(state: StateDirectory, agents: Iterable[str], workers: int) -> Sequence[Path]:
    own = [name for socket in _WORKERS_SOCKETS for name in all_numbered(socket, workers)]
    return [*map(state.socket, (*own, GATEWAY)), *map(state.agent_socket, agents)]


def _lock(path: Path) -> tuple[bool, int | None]:
    """Whether a process holds the lock, and which one says so. Looking takes it for a moment, shared, never alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False, None
    try:
        text = os.read(descriptor, 64).decode("ascii", "replace").strip()
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return False, None


def _holders(path: Path) -> Iterator[int]:
    """Who has the lock by the kernel's list: `1: FLOCK  ADVISORY  WRITE 4711 00:2a:1234 0 EOF`."""
    with contextlib.suppress(OSError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            match line.split():
                case [_, "FLOCK", _, "WRITE", pid, where, *_] if where.rpartition(":")[2] == inode and int(pid) > 0:
                    yield int(pid)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _dead_link(run: Path) -> str:
    return str(run.readlink()) if run.is_symlink() and not run.is_dir() else ""


def _socket_mode(path: Path) -> int | None:
    try:
        found = path.stat().st_mode
    except OSError:
        return None
    return stat.S_IMODE(found) if stat.S_ISSOCK(found) else None


def _disks(*directories: Path) -> Sequence[Path]:
    """One directory of each disk."""
    found: dict[int, Path] = {}
    for directory in directories:
        with contextlib.suppress(OSError):
            found.setdefault(directory.stat().st_dev, directory)
    return list(found.values())


# Programs


def programs() -> Programs:
    try:
        envoy = envoy_binary()
    except EnvoyNotFoundError:
        return Programs(version("tollway"), sys.version_info[:2], None, None)
    return Programs(version("tollway"), sys.version_info[:2], str(envoy), _envoy_version(envoy))


def _envoy_version(envoy: Path) -> str | None:
    try:
        said = subprocess.run([envoy, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = ENVOY_VERSION.search(said)
    return match[1] if match else None


# What was published


def published(state: StateDirectory) -> RuleFile | None:
    try:
        return msgspec.json.decode((state.extauthz / "rules.json").read_bytes(), type=RuleFile)
    except (OSError, msgspec.MsgspecError):
        return None


def has_credential(state: StateDirectory, provider: AIProvider) -> bool:
    """Whether Envoy was given a key for it."""
    return (state.gateway / "xds" / credential_file_name(provider.meta.name)).exists()


def envoy_files(directory: Path) -> Mapping[str, bytes]:
    """What one Envoy was given."""
    try:
        return {path.name: path.read_bytes() for path in (directory / "xds").glob("*.json")}
    except OSError:
        return {}


# Certificates


class _Pair(msgspec.Struct, frozen=True):
    certificate: str


class _Authority(msgspec.Struct, frozen=True):
    """The certificates of the authority's file; its keys are not read."""

    root: _Pair
    active: _Pair
    prepared: _Pair | None = None


def authority(state: StateDirectory) -> tuple[CertificateFacts, ...] | None:
    """The root and the signing CAs; None where there is no authority yet."""
    path = state.authority / STATE_FILE
    if not path.exists():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Authority)
    except (OSError, msgspec.MsgspecError):
        return (CertificateFacts("root", str(path)),)
    pairs = (("root", found.root), ("active signing CA", found.active), ("prepared signing CA", found.prepared))
    return tuple(_facts(name, path, pair.certificate.encode()) for name, pair in pairs if pair is not None)


def svids(state: StateDirectory, agents: Iterable[str]) -> tuple[CertificateFacts, ...]:
    holders = {GATEWAY: state.gateway, **{agent: state.agent(agent) for agent in agents}}
    return tuple(_svid(name, where / "identity" / CERTIFICATE_FILE) for name, where in holders.items())


def _svid(name: str, path: Path) -> CertificateFacts:
    try:
        return _facts(name, path, path.read_bytes())
    except OSError:
        return CertificateFacts(name, str(path))


def _facts(name: str, path: Path, pem: bytes) -> CertificateFacts:
    try:
        found = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return CertificateFacts(name, str(path))
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    return CertificateFacts(name, str(path), int(begins.timestamp() * 1000), int(ends.timestamp() * 1000))


# Prices


def prices(book: PriceBook, resources: ResourceSet | None, now: int) -> Prices:
    providers = resources.providers if resources is not None else ()
    unpriced = {each.meta.name: tuple(_unpriced(each, book, now)) for each in providers}
    return Prices(book.date, {name: lines for name, lines in unpriced.items() if lines})


def _unpriced(provider: AIProvider, book: PriceBook, now: int) -> Iterator[str]:
    own = {price.model for price in provider.prices}
    for rule in provider.models:
        if not _is_priced(rule, own, provider.type.value, book, now):
            yield rule.name


def _is_priced(rule: ModelRule, own: set[str], provider_type: str, book: PriceBook, now: int) -> bool:
    wanted = rule.model or rule.name
    if wanted in own or book.find(provider_type, wanted, now) is not None:
        return True
    return any(_may_match(rule.name, name) for name in (*own, *book.names(provider_type)))


def _may_match(pattern: str, name: str) -> bool:
    """Whether the pattern allows the model. A name that stands for every date may match a pattern that begins alike."""
    stem, any_date, _ = name.partition("YYYY")
    return fnmatchcase(name, pattern) or (bool(any_date) and pattern.partition("*")[0].startswith(stem))

"""What one data-plane process is told at start: a JSON file that the supervisor or the chart writes."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from tollway.resources.models import ROOT_NAMESPACE

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Paths, sockets and switches. Sockets are Unix sockets, made with mode 0600."""

    trust_domain: str
    rules: str
    """A `RuleFile` as JSON, replaced atomically on change."""
    issuers: str
    """PEM of every signing CA whose leaves may still live."""
    ledger: str
    check_socket: str
    access_log: str
    """Envoy's JSON access log."""
    gateway_admin_socket: str
    admin_socket: str
    metrics_port: int
    metrics_address: str = "127.0.0.1"
    durability: Literal["normal", "full"] = "normal"
    uncovered: Literal["deny", "allow"] = "deny"
    hold_ms: Annotated[int, msgspec.Meta(ge=1)] = 60_000
    """For how long a hold lasts unless it is renewed. The gateway says often enough which calls still run."""
    worker: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Which of the processes on this ledger it is. The first, 0, also does what only one of them may do."""
    other_workers: tuple[str, ...] = ()
    """Told to the first: the admin sockets of the others."""
    booted_at: int | None = None
    """When this machine started, milliseconds since the epoch. Told to workers, so that they share a clock even if the
    machine's was set between their starts; one alone finds it out by itself."""
    root_namespace: str = ROOT_NAMESPACE
    """Where Tollway is installed: the operator is a service account there."""
    usage_port: Port = 0
    """Where the operator asks for usage, with its SVID (15444 in a cluster); 0: nowhere."""
    usage_address: str = ""
    """Empty: every address. The operator comes over the pod network, and nobody else is let in."""
    identity: str = ""
    """The directory with the gateway's SVID and trust bundle, which `usage_port` needs."""
    trials_socket: str = ""
    """Where Envoy tells which sidecars have tried the trial certificate; empty: nowhere."""
    gateway_port: Port = 15_443
    """Envoy's own, at which this process tries it."""
    admin_port: Port = 0
    """The administration's application on loopback as well, for the command line's port-forward; 0: not."""

    def __post_init__(self) -> None:
        if self.usage_port and not self.identity:
            raise ValueError("usage_port needs identity, the directory with the gateway's SVID")


def read_settings(path: Path) -> Settings:
    """Raises `ValueError` with the file's name and what is wrong in it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settings)
    except (OSError, msgspec.MsgspecError) as problem:
        raise ValueError(f"{path}: {problem}") from problem

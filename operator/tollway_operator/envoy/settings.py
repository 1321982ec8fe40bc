"""What an installation decides about its Envoys: addresses, sockets, files and limits. All paths are absolute."""

from dataclasses import dataclass

from tollway.resources.models import ROOT_NAMESPACE

MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path (`sun_path` without its closing zero)."""

MIB = 1024 * 1024


class SettingsError(Exception):
    """These settings cannot work."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The gateway: `address:port` is its mTLS listener.

    `check_sockets` are where the workers of extauthz listen.
    `access_log` is the file Envoy writes. `xds_dir` holds what `gateway_files` gives, `identity_dir` holds tls.crt,
    tls.key and bundle.json (a map of SPIFFE bundles); both through a `..data` link. `upstream_ca_file` is a PEM bundle
    of the authorities that vouch for providers.
    """

    trust_domain: str
    address: str
    port: int
    check_sockets: tuple[str, ...]
    admin_socket: str
    access_log: str
    xds_dir: str
    identity_dir: str
    trials_socket: str = ""
    """Where extauthz hears who has tried the trial certificate; empty: it is not told."""
    upstream_ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    check_timeout_ms: int = 2_000
    max_body_bytes: int = 32 * MIB
    max_heap_bytes: int = 1024 * MIB
    max_connections: int = 10_000
    max_streams_per_connection: int = 256
    headers_s: int = 10
    """Within which a request's headers must have come in."""
    arrival_s: int = 120
    """Within which a request must have come in whole."""
    silence_s: int = 600
    """For how long a provider may be silent: models that think stream nothing for minutes."""
    longest_stream_s: int = 3_600
    still_open_ms: int = 15_000
    """How often a call that runs on says so: well within the time after which its hold would expire."""

    def __post_init__(self) -> None:
        for path in (*self.check_sockets, self.admin_socket, self.trials_socket):
            require_socket_path(path)


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    """One agent's sidecar: plain HTTP on the loopback `address:port`, mTLS to the gateway.

    `agent` is "namespace/name". The directories are as the gateway's.
    """

    agent: str
    address: str
    port: int
    gateway_address: str
    gateway_port: int
    trust_domain: str
    admin_socket: str
    xds_dir: str
    identity_dir: str
    max_connections: int = 1_000
    max_streams_per_connection: int = 256
    headers_s: int = 10
    """Within which a request's headers must have come in; for the rest the gateway has a limit."""
    silence_s: int = 620
    """Longer than the gateway's, so that the gateway's answer arrives and not ours."""
    root_namespace: str = ROOT_NAMESPACE
    """The gateway's: a part of the one identity that may answer."""
    health_port: int = 0
    """Where a kubelet asks whether this Envoy lives; 0: nowhere."""
    health_address: str = "0.0.0.0"  # noqa: S104 - a kubelet comes from outside of the pod
    calls_per_connection: int = 0
    """After so many it makes another connection to the gateway; 0: it has no such limit."""
    trial_every_s: int = 5
    """How often it is tried, until it succeeds, whether the gateway's next root is trusted."""

    def __post_init__(self) -> None:
        require_socket_path(self.admin_socket)


def require_socket_path(path: str) -> None:
    """Raises `SettingsError` for a path that the kernel cannot bind."""
    size = len(path.encode())
    if size > MAX_SOCKET_PATH:
        raise SettingsError(
            f"the socket path {path} has {size} bytes; the kernel allows {MAX_SOCKET_PATH}. Use a shorter directory."
        )

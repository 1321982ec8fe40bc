"""The Envoys of an instance: what they are told at start."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tollway_cli.standalone.ports import LOOPBACK
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.standalone.tuning import USUAL, Tuning
from tollway_cli.standalone.workers import all_numbered
from tollway_files.atomic import write_file
from tollway_operator.envoy.settings import GatewaySettings, SidecarSettings

_CA_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def upstream_ca_file(environ: Mapping[str, str]) -> str:
    """The authorities that vouch for providers: `SSL_CERT_FILE`, else where distributions keep them."""
    stated = environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return next((path for path in (stated, *_CA_FILES) if path and Path(path).is_file()), _CA_FILES[0])


def provider_authorities(state: StateDirectory, environ: Mapping[str, str], more: Path | None) -> str:
    """The file of those authorities: the machine's own, or one made of them and of `more`. Raises `OSError`."""
    usual = upstream_ca_file(environ)
    if more is None:
        return usual
    both = state.gateway / "upstream-ca.pem"
    known = Path(usual).read_bytes() if Path(usual).is_file() else b""
    write_file(both, b"\n".join((known, more.read_bytes())))
    return str(both)


def gateway_settings(
    state: StateDirectory, trust_domain: str, port: int, ca_file: str, tuning: Tuning = USUAL, workers: int = 1
) -> GatewaySettings:
    return GatewaySettings(
        trust_domain=trust_domain,
        address=LOOPBACK,
        port=port,
        check_sockets=tuple(str(state.socket(name)) for name in all_numbered("check", workers)),
        admin_socket=str(state.socket("gateway")),
        access_log=str(state.gateway / "access.log"),
        xds_dir=str(state.gateway / "xds"),
        identity_dir=str(state.gateway / "identity"),
        upstream_ca_file=ca_file,
        max_heap_bytes=tuning.gateway_heap,
        headers_s=tuning.headers_s,
        arrival_s=tuning.arrival_s,
        silence_s=tuning.silence_s,
        longest_stream_s=tuning.longest_stream_s,
        still_open_ms=tuning.still_open_ms,
    )


def sidecar_settings(
    state: StateDirectory, trust_domain: str, agent: str, port: int, gateway_port: int, tuning: Tuning = USUAL
) -> SidecarSettings:
    directory = state.agent(agent)
    return SidecarSettings(
        agent=agent,
        address=LOOPBACK,
        port=port,
        gateway_address=LOOPBACK,
        gateway_port=gateway_port,
        trust_domain=trust_domain,
        admin_socket=str(state.agent_socket(agent)),
        xds_dir=str(directory / "xds"),
        identity_dir=str(directory / "identity"),
        headers_s=tuning.headers_s,
        calls_per_connection=tuning.calls_per_connection,
        trial_every_s=tuning.trial_every_s,
    )


def command(binary: Path, bootstrap: Path, concurrency: int) -> tuple[str, ...]:
    """Without hot restart an Envoy has no shared memory: nothing to collide with, nothing left behind."""
    options = {
        "--config-path": str(bootstrap),
        "--concurrency": str(concurrency),
        "--log-level": "warning",
        "--component-log-level": "misc:error",  # else it warns of each extension that is work in progress
        "--file-flush-interval-msec": "20",
    }
    return (str(binary), "--disable-hot-restart", *(part for option in options.items() for part in option))

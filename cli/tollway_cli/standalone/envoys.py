"""The Envoys of an instance: what they are told at start, what files change under them, what they run by now."""

import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tollway_cli.standalone.ports import LOOPBACK
from tollway_cli.standalone.probes import ask_socket, until
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.standalone.tuning import USUAL, Tuning
from tollway_cli.standalone.workers import all_numbered
from tollway_operator.atomic_files import swap, write_file
from tollway_operator.envoy.settings import GatewaySettings, SidecarSettings

RUNS_WITHIN: Final = 5.0
"""How long an Envoy may take to run new files, seconds."""
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
        logs_sockets=tuple(str(state.socket(name)) for name in all_numbered("logs", workers)),
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
    )


def command(binary: Path, bootstrap: Path, concurrency: int) -> tuple[str, ...]:
    """Without hot restart an Envoy has no shared memory: nothing to collide with, nothing left behind."""
    options = {
        "--config-path": str(bootstrap),
        "--concurrency": str(concurrency),
        "--log-level": "warning",
        "--component-log-level": "misc:error",  # else it warns of each extension that is work in progress
        "--file-flush-interval-msec": "100",
    }
    return (str(binary), "--disable-hot-restart", *(part for option in options.items() for part in option))


class WatchedFiles:
    """The files that change under one running Envoy. A change that it refuses is taken back."""

    def __init__(self, xds_dir: str, admin_socket: str) -> None:
        self._directory = Path(xds_dir)
        self._socket = Path(admin_socket)
        self._shown: Mapping[str, bytes] = {}

    def show(self, files: Mapping[str, bytes]) -> bool:
        """Put `files` there; whether that changed anything."""
        self._shown = files
        return swap(self._directory, files)

    async def change(self, files: Mapping[str, bytes]) -> str | None:
        """Have the Envoy run `files`. None when it does, else what it has against them: then it has those of before."""
        before, refused_before = self._shown, await self._refusals()
        if not self.show(files) or await self._run_unrefused(refused_before):
            return None
        grown = _grown(refused_before, await self._refusals())
        self.show(before)
        return f"Envoy refused it ({', '.join(grown)})" if grown else f"Envoy did not run it within {RUNS_WITHIN:.0f} s"

    async def run(self) -> bool:
        """Whether the Envoy runs the files shown last."""
        dump = await ask_socket(self._socket, "/config_dump")
        return dump is not None and essential_versions(self._shown) <= running_versions(json.loads(dump))

    async def idle(self) -> bool:
        """Whether no call is in flight; an Envoy that does not answer has none."""
        answer = await ask_socket(self._socket, "/stats?filter=downstream_rq_active&format=text")
        lines = (answer or b"").splitlines()
        counts = (line.rpartition(b": ")[2] for line in lines if not line.startswith(b"http.admin"))
        return not any(int(count) for count in counts if count.isdigit())

    async def _run_unrefused(self, refused_before: Mapping[str, int]) -> bool:
        runs = False

        async def is_decided() -> bool:
            nonlocal runs
            runs = await self.run()
            return runs or bool(_grown(refused_before, await self._refusals()))

        await until(is_decided, RUNS_WITHIN)
        return runs

    async def _refusals(self) -> Mapping[str, int]:
        return await refusals(self._socket)


async def refusals(socket: Path) -> Mapping[str, int]:
    """How often an Envoy refused a change of each part of its configuration since it started."""
    answer = await ask_socket(socket, "/stats?filter=update_(rejected|failure)&format=text")
    pairs = (line.rpartition(": ") for line in (answer or b"").decode().splitlines())
    # A cluster's own counter is about DNS: a name that cannot be looked up now says nothing against the change.
    return {name: int(count) for name, _, count in pairs if count.isdigit() and not name.startswith("cluster.")}


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    return sorted(name for name, count in after.items() if count > before.get(name, 0))


_ESSENTIAL: Final = ("Cluster", "RouteConfiguration")


def essential_versions(files: Mapping[str, bytes]) -> set[str]:
    """The versions of the files that an Envoy always reads. Secrets it reads only once something needs them."""
    responses = [json.loads(content) for content in files.values()]
    return {response["versionInfo"] for response in responses if _is_essential(response)}


def _is_essential(response: Mapping[str, Sequence[Mapping[str, str]]]) -> bool:
    return all(resource["@type"].endswith(_ESSENTIAL) for resource in response.get("resources", ()))


def running_versions(dump: object) -> set[str]:
    """Every version in a configuration dump, but for what is still warming up."""
    if isinstance(dump, list):
        return set().union(*map(running_versions, dump))
    if not isinstance(dump, dict):
        return set()
    below = (running_versions(value) for key, value in dump.items() if "warming" not in key)
    own = dump.get("version_info")
    return set().union(*below) | ({own} if isinstance(own, str) else set())

"""The files that change under a running Envoy, and what it runs of them by now: on one machine and in a pod alike."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tollway_extauthz.keeping.probes import ask_socket, until
from tollway_files.atomic import DATA, swap

RUNS_WITHIN: Final = 5.0
"""How long an Envoy may take to run new files, seconds."""


class WatchedFiles:
    """The files that change under one running Envoy. A change that it refuses is taken back."""

    def __init__(self, xds_dir: str, admin_socket: str) -> None:
        self._directory = Path(xds_dir)
        self._socket = Path(admin_socket)
        self._shown: Mapping[str, bytes] = {}

    @property
    def shown(self) -> Mapping[str, bytes]:
        return self._shown

    def take_up(self) -> None:
        """Go on from what the directory shows: another process of ours put it there."""
        data = self._directory / DATA
        self._shown = {path.name: path.read_bytes() for path in data.iterdir()} if data.is_dir() else {}

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

    async def answers(self) -> bool:
        """Whether there is an Envoy at all."""
        return await ask_socket(self._socket, "/server_info") is not None

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
    resources = response.get("resources", ())
    # Of a first list with nothing in it Envoy does not tell the version.
    return bool(resources) and all(resource["@type"].endswith(_ESSENTIAL) for resource in resources)


def running_versions(dump: object) -> set[str]:
    """Every version in a configuration dump, but for what is still warming up."""
    if isinstance(dump, list):
        return set().union(*map(running_versions, dump))
    if not isinstance(dump, dict):
        return set()
    below = (running_versions(value) for key, value in dump.items() if "warming" not in key)
    own = dump.get("version_info")
    return set().union(*below) | ({own} if isinstance(own, str) else set())

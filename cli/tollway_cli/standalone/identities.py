"""The identities of an instance: its authority, the SVIDs it issued, and the files from which Envoys read them."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tollway.identity.rotation import renew_at
from tollway.identity.spiffe_id import parse_spiffe_id
from tollway_cli.standalone.plan import GATEWAY, Holding, SVIDRequest
from tollway_cli.standalone.state import StateDirectory
from tollway_operator.atomic_files import swap, write_file
from tollway_operator.authority.authority import SVID, Authority
from tollway_operator.authority.svid_files import svid_files


class Identities:
    """SVIDs live in memory and in one directory per Envoy; after a restart everybody gets a new one."""

    def __init__(self, authority: Authority, state: StateDirectory, jitter: Callable[[], float]) -> None:
        self._authority = authority
        self._state = state
        self._jitter = jitter
        self._svids: dict[str, SVID] = {}
        self._held: dict[str, Holding] = {}
        self.publish_issuers()

    @property
    def held(self) -> Mapping[str, Holding]:
        return self._held

    def rotate(self, now: int) -> bool:
        """Do with the signing CAs what is due, and publish them before they sign."""
        if not self._authority.rotate(now):
            return False
        self.publish_issuers()
        for key in self._svids:
            self._show(key)
        return True

    def publish_issuers(self) -> None:
        write_file(self._state.extauthz / "issuers.pem", self._authority.issuers_pem())

    def issue(self, requests: Iterable[SVIDRequest], now: int) -> None:
        """Issue, and swap the files under the Envoy that reads them."""
        for request in requests:
            svid = self._authority.issue(parse_spiffe_id(request.spiffe_id), request.key_type, request.ttl_ms, now)
            self._svids[request.key] = svid
            due = renew_at(svid.not_before, svid.not_after, self._jitter())
            self._held[request.key] = Holding(request.spiffe_id, request.key_type, svid.not_before, due, svid.not_after)
            self._show(request.key)

    def forget(self, key: str) -> None:
        """Remove the key of an agent that is gone, with everything else of it."""
        self._svids.pop(key, None)
        self._held.pop(key, None)
        shutil.rmtree(self._state.agent(key), ignore_errors=True)

    def _show(self, key: str) -> None:
        swap(self._directory(key), svid_files(self._svids[key], self._authority.bundle_map()))

    def _directory(self, key: str) -> Path:
        return (self._state.gateway if key == GATEWAY else self._state.agent(key)) / "identity"


def remove_strangers(state: StateDirectory, agents: Iterable[str]) -> None:
    """Remove what agents of earlier runs left: their keys above all."""
    kept = {state.agent(agent) for agent in agents}
    for directory in (state.root / "agents").iterdir():
        if directory not in kept:
            shutil.rmtree(directory, ignore_errors=True)

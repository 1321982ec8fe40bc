"""The identities of an instance: its authority, the SVIDs it issued, and the files from which Envoys read them."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tollway.identity.rotation import renew_at
from tollway.identity.spiffe_id import gateway_id, parse_spiffe_id
from tollway_cli.standalone.plan import GATEWAY, Holding, SVIDRequest
from tollway_cli.standalone.state import StateDirectory
from tollway_files.atomic import swap, write_file
from tollway_operator.authority.authority import SVID, Authority
from tollway_operator.authority.root_changes import issue_trial, published, trial_of
from tollway_operator.authority.state import State
from tollway_operator.authority.svid_files import gateway_svid_files, svid_files


class Identities:
    """SVIDs live in memory and in one directory per Envoy; after a restart everybody gets a new one."""

    def __init__(self, authority: Authority, state: StateDirectory, jitter: Callable[[], float]) -> None:
        self.authority = authority
        self._state = state
        self._gateway = gateway_id(authority.trust_domain)
        self._jitter = jitter
        self._trial: SVID | None = None
        self._svids: dict[str, SVID] = {}
        self._held: dict[str, Holding] = {}
        self.publish_issuers()

    @property
    def held(self) -> Mapping[str, Holding]:
        return self._held

    @property
    def tried(self) -> str | None:
        """The digest of the trust bundle that it is tried who trusts; None where nothing is tried."""
        state = self.authority.state
        return published(state).bundle if trial_of(state, self._gateway) is not None else None

    def rotate(self, now: int) -> bool:
        """Do with the signing CAs what is due, and publish them before they sign."""
        return self._publish(now) if self.authority.rotate(now) else False

    def become(self, state: State, now: int) -> bool:
        """Go on from this state of a change of the root, and publish what follows. Raises `OSError`."""
        return self._publish(now) if self.authority.become(state) else False

    def _publish(self, now: int) -> bool:
        self.publish_issuers()
        self._trial = issue_trial(self.authority, self._gateway, now)
        for key in self._svids:
            self._show(key)
        return True

    def publish_issuers(self) -> None:
        write_file(self._state.extauthz / "issuers.pem", self.authority.issuers_pem())

    def keep_trying(self, now: int) -> None:
        """Renew the trial certificate when that is due."""
        if self.tried is not None and (self._trial is None or now >= _renewal(self._trial)):
            self._trial = issue_trial(self.authority, self._gateway, now)
            self._show(GATEWAY)

    def issue(self, requests: Iterable[SVIDRequest], now: int) -> None:
        """Issue, and swap the files under the Envoy that reads them."""
        for request in requests:
            svid = self.authority.issue(parse_spiffe_id(request.spiffe_id), request.key_type, request.ttl_ms, now)
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
        bundle = self.authority.bundle_map()
        svid = self._svids[key]
        files = gateway_svid_files(svid, self._trial, bundle) if key == GATEWAY else svid_files(svid, bundle)
        swap(self._directory(key), files)

    def _directory(self, key: str) -> Path:
        return (self._state.gateway if key == GATEWAY else self._state.agent(key)) / "identity"


def _renewal(svid: SVID) -> int:
    return renew_at(svid.not_before, svid.not_after, 0.0)


def remove_strangers(state: StateDirectory, agents: Iterable[str]) -> None:
    """Remove what agents of earlier runs left: their keys above all."""
    kept = {state.agent(agent) for agent in agents}
    for directory in (state.root / "agents").iterdir():
        if directory not in kept:
            shutil.rmtree(directory, ignore_errors=True)

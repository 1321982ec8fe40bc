"""The authority in a cluster: its state is a Secret of the root namespace, changed under its resourceVersion only.

What is not written down is not used: a new signing CA signs after the API server has it. Whoever loses a race reads
what the winner wrote, so two operators have one CA.
"""

import asyncio
import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tollway.identity.rotation import USUAL, Pace
from tollway.identity.spiffe_id import TrustDomain
from tollway_operator.authority.authority import Authority, new_state, rotated
from tollway_operator.authority.root import BroughtRoot
from tollway_operator.authority.state import State, UnreadableState, decode, encode
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import Conflict
from tollway_operator.cluster.kinds import SECRET, Object
from tollway_operator.names import AUTHORITY, AUTHORITY_KEY, BROUGHT_ROOT, OUR_LABELS

_log = logging.getLogger(__name__)
_TYPE: Final = "tollway.dev/certificate-authority"


@dataclass(frozen=True, slots=True)
class _Stored:
    state: State
    resource_version: str


class StoredAuthority:
    """`ready` before anything is issued; `forget` when somebody else may have changed the Secret."""

    def __init__(self, client: Client, trust_domain: TrustDomain, root_namespace: str, pace: Pace = USUAL) -> None:
        self.pace = pace
        self._client = client
        self._trust_domain = trust_domain
        self._namespace = root_namespace
        self._stored: _Stored | None = None
        self._forgotten = 0
        # Of two who read or write at once the slower would put an older version back into memory.
        self._one_at_a_time = asyncio.Lock()

    @property
    def resource_version(self) -> str:
        """That of the state in use; empty before there is one."""
        return self._stored.resource_version if self._stored is not None else ""

    def forget(self) -> None:
        self._stored = None
        self._forgotten += 1

    def current(self) -> Authority | None:
        """The authority as it was last read or written; it may have been rotated since by nobody but us."""
        return Authority(self._stored.state, _refuse, self.pace) if self._stored is not None else None

    async def ready(self, now: int) -> Authority:
        """Read, made where there is none, rotated where that is due, and written down.

        Raises `ClusterError`, `UnreadableState`, `UnusableRoot`, `CannotSign`; then nothing has changed.
        """
        return await self.stepped(now, lambda state: state)

    async def stepped(self, now: int, step: Callable[[State], State]) -> Authority:
        """The same, with a step of a root change, made of what is written, in the same write; errors as `ready`, and
        those of `step`."""
        async with self._one_at_a_time:
            stored = self._stored or await self._latest() or await self._create(now)
            state = rotated(step(stored.state), now, self.pace)
            if state is not stored.state:
                before, stored = stored, await self._replace(state, stored.resource_version)
                _log.info("%s", _said(before.state, state))
            self._stored = stored
            return Authority(state, _refuse, self.pace)

    async def restore(self) -> None:
        """Somebody removed the Secret: put back what is in use, rather than begin anew with another root."""
        if self._stored is None or await self._read() is not None:
            return
        _log.warning("Secret %s/%s was removed, and is put back", self._namespace, AUTHORITY)
        content = self._content(self._stored.state)
        self._stored = _Stored(self._stored.state, _version(await self._client.create(SECRET, content)))

    async def _latest(self) -> _Stored | None:
        """What was read when nobody said meanwhile that there is something newer."""
        while True:
            forgotten = self._forgotten
            found = await self._read()
            if self._forgotten == forgotten:
                return found

    async def _read(self) -> _Stored | None:
        found = await self._client.get(SECRET, AUTHORITY, self._namespace)
        if found is None:
            return None
        return _Stored(self._decoded(found), _version(found))

    def _decoded(self, found: Object) -> State:
        where = f"Secret {self._namespace}/{AUTHORITY}"
        try:
            state = decode(base64.b64decode(found.get("data", {}).get(AUTHORITY_KEY, ""), validate=True))
        except ValueError:
            raise UnreadableState(
                f"{where} has no readable authority under {AUTHORITY_KEY}: restore it from a backup, or delete it to "
                "start with a new root, which invalidates every certificate issued so far"
            ) from None
        if state.trust_domain != self._trust_domain:
            raise UnreadableState(
                f"{where} is of trust domain {state.trust_domain}, and the installation's is {self._trust_domain}"
            )
        return state

    async def _create(self, now: int) -> _Stored:
        state = new_state(self._trust_domain, now, await self.brought(), self.pace)
        created = await self._client.create(SECRET, self._content(state))
        _log.info("made a certificate authority for trust domain %s", self._trust_domain)
        return _Stored(state, _version(created))

    async def _replace(self, state: State, version: str) -> _Stored:
        content = self._content(state, version)
        try:
            return _Stored(state, _version(await self._client.replace(SECRET, content)))
        except Conflict:
            # What is remembered is old, whether or not the watch says so.
            self.forget()
            raise

    async def brought(self) -> BroughtRoot | None:
        """The root that the user brings, if there is one."""
        found = await self._client.get(SECRET, BROUGHT_ROOT, self._namespace)
        if found is None:
            return None
        data = found.get("data", {})
        certificate, key = (base64.b64decode(data.get(name, "")) for name in ("tls.crt", "tls.key"))
        return BroughtRoot(certificate, key)

    def _content(self, state: State, version: str = "") -> Object:
        metadata: dict[str, object] = {"labels": OUR_LABELS}
        if version:
            metadata["resourceVersion"] = version
        data = {AUTHORITY_KEY: base64.b64encode(encode(state)).decode()}
        return SECRET.new(AUTHORITY, self._namespace, metadata=metadata, type=_TYPE, data=data)


def _version(content: Object) -> str:
    return str(content["metadata"]["resourceVersion"])


def _said(before: State, after: State) -> str:
    if before.change.phase is after.change.phase:
        return "the signing CAs were rotated"
    return f"the change of the root is {after.change.phase} now, after {before.change.phase}"


def _refuse(_: State) -> None:
    raise AssertionError("a stored authority is rotated by `ready` alone")

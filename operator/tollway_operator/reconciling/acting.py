"""Does actions: each is one write, and what the API server answers goes into the store at once."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tollway.identity.spiffe_id import parse_spiffe_id
from tollway.resources.status import rfc3339
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.stored import StoredAuthority
from tollway_operator.authority.svid_files import svid_files
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import Conflict, NotFound
from tollway_operator.cluster.kinds import EVENT, POD, POD_CERTIFICATE_REQUEST, SECRET, Kind, Object
from tollway_operator.names import MANAGER, OUR_LABELS, ROOTS_FILE
from tollway_operator.reconciling.actions import (
    Action,
    AnswerRequest,
    Apply,
    Delete,
    IssueSVID,
    ReadyAuthority,
    Say,
    ShowBundle,
    WriteStatus,
)
from tollway_operator.reconciling.answering import Answering
from tollway_operator.reconciling.snapshot import Trust, trust_of
from tollway_operator.watching.facts import Identity
from tollway_operator.watching.listing import readable
from tollway_operator.watching.store import Store

_TLS: Final = "kubernetes.io/tls"
_LONGEST_NOTE: Final = 1_024


@dataclass(slots=True)
class TrustedAuthority:
    """The authority as everybody here sees it: `trust` is what others see, and grows only with what is written."""

    stored: StoredAuthority
    trust: Trust | None = None

    async def ready(self, now: int) -> Authority:
        authority = await self.stored.ready(now)
        self.trust = trust_of(authority)
        return authority


class Actor:
    """`trusted` is told when what others see of the authority is not what it was."""

    def __init__(
        self,
        client: Client,
        store: Store,
        authority: TrustedAuthority,
        answering: Answering,
        clock: Callable[[], int],
        trusted: Callable[[], None],
    ) -> None:
        self._client = client
        self._store = store
        self._authority = authority
        self._answering = answering
        self._clock = clock
        self._trusted = trusted

    async def act(self, action: Action) -> None:
        """Raises `ClusterError`, and what the authority raises."""
        match action:
            case ReadyAuthority():
                await self._ready_authority()
            case Apply(kind, content):
                self._seen(kind, await self._client.apply(kind, content))
            case Delete(kind, me):
                await self._client.delete(kind, me.name, me.namespace, me.uid)
            case IssueSVID():
                await self._issue(action)
            case ShowBundle(me, files):
                await self._show(me, files)
            case WriteStatus(kind, me, status):
                await self._write_status(kind, me, status)
            case Say():
                await self._say(action)
            case AnswerRequest(_, content):
                await self._answer(content)

    def _seen(self, kind: Kind, content: Object) -> None:
        fact = readable(kind, content)
        if fact is not None:
            self._store.put(kind, fact)

    async def _ready_authority(self) -> None:
        before = self._authority.trust
        await self._authority.stored.restore()
        await self._authority.ready(self._clock())
        if self._authority.trust != before:
            self._trusted()

    async def _issue(self, action: IssueSVID) -> None:
        now = self._clock()
        authority = await self._authority.ready(now)
        trust = trust_of(authority)
        svid = authority.issue(parse_spiffe_id(action.spiffe_id), action.key_type, action.ttl_ms, now)
        files = {**svid_files(svid, trust.bundle), ROOTS_FILE: trust.roots}
        content = _svid_secret(action, files)
        if action.replaces:
            self._seen(SECRET, await self._client.replace(SECRET, content))
        else:
            self._seen(SECRET, await self._client.create(SECRET, content))

    async def _answer(self, content: Object) -> None:
        authority = await self._authority.ready(self._clock())
        answered = await self._answering.answer(content, authority, self._clock())
        self._seen(POD_CERTIFICATE_REQUEST, answered.content)
        if answered.denial is not None:
            asked, denial = answered.request, answered.denial
            pod = Identity(asked.pod_name, asked.namespace, asked.pod_uid, "")
            await self._say(Say(POD, pod, "Warning", denial.reason, f"no certificate: {denial.message}"))

    async def _show(self, me: Identity, files: Mapping[str, bytes]) -> None:
        metadata = {"resourceVersion": me.resource_version, "uid": me.uid}
        content = SECRET.new(me.name, me.namespace, metadata=metadata, data=_encoded(files))
        self._seen(SECRET, await self._client.merge(SECRET, content))

    async def _write_status(self, kind: Kind, me: Identity, status: Object) -> None:
        content = kind.new(me.name, me.namespace, metadata={"uid": me.uid}, status=status)
        try:
            self._seen(kind, await self._client.apply(kind, content, "status"))
        except NotFound:
            return  # it is gone, and so is whoever would read it

    async def _say(self, event: Say) -> None:
        content = _event(event, self._clock())
        try:
            await self._client.create(EVENT, content)
        except Conflict:
            return  # said before


def _svid_secret(action: IssueSVID, files: Mapping[str, bytes]) -> Object:
    metadata: dict[str, object] = {"labels": OUR_LABELS}
    if action.replaces:
        metadata["resourceVersion"] = action.replaces
    if action.owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "tollway.dev/v1alpha1",
                "kind": "AgentIdentity",
                "name": action.owner.name,
                "uid": action.owner.uid,
                "controller": True,
            }
        ]
    return SECRET.new(action.name, action.namespace, metadata=metadata, type=_TLS, data=_encoded(files))


def _encoded(files: Mapping[str, bytes]) -> Mapping[str, str]:
    return {name: base64.b64encode(data).decode() for name, data in files.items()}


def _event(event: Say, now: int) -> Object:
    """The name follows from what is said of which version: saying it twice is saying it once."""
    me = event.me
    said = "\0".join((me.uid, event.type, event.reason, event.message, str(me.generation)))
    name = f"{me.name[:200]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    # Events on objects of the whole cluster live in `default`, as kubectl expects.
    namespace = me.namespace or "default"
    involved = {
        "apiVersion": event.kind.api_version,
        "kind": event.kind.kind,
        "name": me.name,
        "namespace": me.namespace,
        "uid": me.uid,
    }
    return EVENT.new(
        name,
        namespace,
        involvedObject=involved,
        type=event.type,
        reason=event.reason,
        message=event.message[:_LONGEST_NOTE],
        source={"component": MANAGER},
        reportingComponent=MANAGER,
        firstTimestamp=rfc3339(now),
        lastTimestamp=rfc3339(now),
        count=1,
    )

"""Does actions: each is one write, and what the API server answers goes into the store at once."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tollway.identity.root_change import Event, Observed, RefusedCommand
from tollway.identity.root_standing import RootStanding, told
from tollway.identity.spiffe_id import parse_spiffe_id
from tollway.resources.models import Delivery
from tollway.resources.status import rfc3339
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.root import UnusableRoot
from tollway_operator.authority.root_changes import advanced, commanded, issue_trial, published, standing
from tollway_operator.authority.serving import serving_certificate
from tollway_operator.authority.state import State
from tollway_operator.authority.stored import StoredAuthority
from tollway_operator.authority.svid_files import gateway_svid_files, svid_files
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import Conflict, NotFound, Refused
from tollway_operator.cluster.kinds import EVENT, POD, POD_CERTIFICATE_REQUEST, SECRET, Kind, Object
from tollway_operator.names import GATEWAY_SVID, MANAGER, OUR_LABELS, ROOTS_FILE
from tollway_operator.reconciling.actions import (
    Action,
    AnswerRequest,
    Apply,
    Delete,
    IssueServing,
    IssueSVID,
    ReadyAuthority,
    Say,
    ShowBundle,
    WriteStatus,
)
from tollway_operator.reconciling.answering import Answering
from tollway_operator.reconciling.commands import event_of
from tollway_operator.reconciling.injector import serving_secret, trust_webhook, trusted_by
from tollway_operator.reconciling.snapshot import Trust, trust_of
from tollway_operator.watching.facts import Identity
from tollway_operator.watching.listing import readable
from tollway_operator.watching.store import Store

_TLS: Final = "kubernetes.io/tls"
_LONGEST_NOTE: Final = 1_024
_CONFLICT: Final = 409


@dataclass(slots=True)
class TrustedAuthority:
    """The authority as everybody here sees it: `trust` is what others see, and grows only with what is written."""

    stored: StoredAuthority
    trust: Trust | None = None
    root: RootStanding | None = None

    async def ready(self, now: int) -> Authority:
        authority = await self.stored.ready(now)
        self.trust = trust_of(authority)
        return authority

    async def change_root(self, action: ReadyAuthority, now: int) -> None:
        """Go on with a change of the root, as far as that goes, and know how it stands. Errors as `ready`."""
        try:
            self.root = await self._changed(action, now)
        except _SomethingElseIsPublishedError:
            await self.ready(now)

    async def _changed(self, action: ReadyAuthority, now: int) -> RootStanding:
        answered, refused = action.before.answered, action.before.refused
        try:
            authority = await self._stepped(action, action.command, now)
        except (RefusedCommand, UnusableRoot) as problem:
            if not action.command:
                raise
            authority = await self._stepped(action, "", now)
            answered, refused = action.command, str(problem)
        else:
            answered, refused = (action.command, "") if action.command else (answered, refused)
        state, observed = authority.state, action.observed or Observed()
        self.trust = trust_of(authority)
        return told(standing(state, observed, now, authority.pace), state.change.since, answered, refused)

    async def _stepped(self, action: ReadyAuthority, command: str, now: int) -> Authority:
        pace, observed = self.stored.pace, action.observed
        event = event_of(command) if command else None
        brought = await self.stored.brought() if event is Event.PREPARE else None

        def step(state: State) -> State:
            if observed is None or published(state) != action.published:
                raise _SomethingElseIsPublishedError
            if event is None:
                return advanced(state, observed, now, pace)
            return commanded(state, event, observed, now, brought, pace)

        return await self.stored.stepped(now, step)


class _SomethingElseIsPublishedError(Exception):
    """What was observed is about what was published before."""


class Actor:
    """`trusted` is told when what others see of the authority is not what it was; `issued` of each SVID that was handed
    over, and how."""

    def __init__(
        self,
        client: Client,
        store: Store,
        authority: TrustedAuthority,
        answering: Answering,
        clock: Callable[[], int],
        trusted: Callable[[], None],
        issued: Callable[[Delivery], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._store = store
        self._authority = authority
        self._answering = answering
        self._clock = clock
        self._trusted = trusted
        self._told: tuple[Trust | None, RootStanding | None] = (None, None)
        self._issued = issued

    async def act(self, action: Action) -> None:
        """Raises `ClusterError`, and what the authority raises."""
        match action:
            case ReadyAuthority():
                await self._ready_authority(action)
            case Apply(kind, content):
                self._seen(kind, await self._client.apply(kind, content))
            case Delete(kind, me):
                await self._client.delete(kind, me.name, me.namespace, me.uid)
            case IssueSVID():
                await self._issue(action)
            case IssueServing():
                await self._serve(action)
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

    async def _ready_authority(self, action: ReadyAuthority) -> None:
        await self._authority.stored.restore()
        await self._authority.change_root(action, self._clock())
        known = self._authority.trust, self._authority.root
        # Who issues may have found another authority before: not told yet is what counts, not what was known.
        if known != self._told:
            self._told = known
            self._trusted()

    async def _issue(self, action: IssueSVID) -> None:
        now = self._clock()
        authority = await self._authority.ready(now)
        trust = trust_of(authority)
        svid = authority.issue(parse_spiffe_id(action.spiffe_id), action.key_type, action.ttl_ms, now)
        shown = svid_files(svid, trust.bundle)
        if action.name == GATEWAY_SVID:
            shown = gateway_svid_files(svid, issue_trial(authority, svid.spiffe_id, now), trust.bundle)
        content = _svid_secret(action, {**shown, ROOTS_FILE: trust.roots})
        if action.replaces:
            # What users have added to it stays.
            self._seen(SECRET, await self._client.merge(SECRET, content))
        else:
            await self._create(action, content)
        self._issued(Delivery.SECRET)

    async def _create(self, action: IssueSVID, content: Object) -> None:
        try:
            self._seen(SECRET, await self._client.create(SECRET, content))
        except Conflict:
            found = await self._client.get(SECRET, action.name, action.namespace)
            if found is not None and not _is_ours(found, action):
                sentence = f"there is a Secret {action.name} that is not Tollway's: rename or remove it"
                raise Refused(_CONFLICT, sentence) from None
            if found is not None:
                # Somebody took our label off it, and so it is not watched: seen now, it gets the label back.
                self._seen(SECRET, found)
            raise

    async def _serve(self, action: IssueServing) -> None:
        made = serving_certificate(action.dns_names, self._clock())
        if action.webhook is not None:
            await self.act(trust_webhook(action.webhook, trusted_by(action, made)))
        write = self._client.replace if action.replaces else self._client.create
        self._seen(SECRET, await write(SECRET, serving_secret(action, made)))

    async def _answer(self, content: Object) -> None:
        authority = await self._authority.ready(self._clock())
        answered = await self._answering.answer(content, authority, self._clock())
        self._seen(POD_CERTIFICATE_REQUEST, answered.content)
        if answered.denial is None:
            self._issued(Delivery.POD_CERTIFICATE)
        else:
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


def _is_ours(found: Object, action: IssueSVID) -> bool:
    metadata = found["metadata"]
    owners = {owner.get("uid") for owner in metadata.get("ownerReferences") or ()}
    labelled = OUR_LABELS.items() <= (metadata.get("labels") or {}).items()
    return labelled or (action.owner is not None and action.owner.uid in owners)


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

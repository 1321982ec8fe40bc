"""Looks at an installation in a cluster, with the rights of whoever asks. What may not be seen is noted, and the other
looks go on; an API server that is away, or does not know the person, ends it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Final, TypeVar

from tollway.identity.root_standing import RootStanding, read_standing
from tollway.resources.models import ENFORCE_LABEL, ENFORCED
from tollway_cli.cluster.connection import Session, Way
from tollway_cli.cluster.instance import InstanceOfCluster
from tollway_cli.doctor import asking
from tollway_cli.doctor.in_cluster import reading
from tollway_cli.doctor.in_cluster.snapshot import (
    AuthorityFacts,
    Denied,
    KindFacts,
    LeaseFacts,
    NamespaceFacts,
    PartFacts,
    PodFacts,
    Snapshot,
    Trouble,
    WebhookFacts,
)
from tollway_cli.failures import CommandFailed
from tollway_cli.place import InCluster
from tollway_cli.views.instance import Admin
from tollway_operator.cluster import kinds
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import NotFound, Refused
from tollway_operator.cluster.kinds import Kind, Object
from tollway_operator.names import (
    BUNDLE_FILE,
    EGRESS,
    GATEWAY,
    INJECTOR,
    ISSUERS_FILE,
    LEASE,
    ROOT_CHANGE,
    STANDING_FILE,
)
from tollway_operator.watching.facts import AgentFact, Fact, ProviderFact, QuotaFact
from tollway_operator.watching.listing import readable

CRD: Final = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET: Final = Kind("apps/v1", "StatefulSet", "statefulsets")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
PARTS: Final[Mapping[str, tuple[str, tuple[Kind, ...]]]] = {
    LEASE: ("operator", (DEPLOYMENT,)),
    INJECTOR: ("injector", (DEPLOYMENT,)),
    # One with a volume, or several with a shared ledger.
    GATEWAY: ("gateway", (STATEFUL_SET, DEPLOYMENT)),
}
"""Of each part its component, as the chart labels it, and what may make its pods."""
_FORBIDDEN: Final = 403
_COMPONENT: Final = "app.kubernetes.io/name=tollway,app.kubernetes.io/component="
_CRASHING: Final = "CrashLoopBackOff"
_OURS: Final = (kinds.AGENT_IDENTITY, kinds.AI_PROVIDER, kinds.AI_QUOTA)
T = TypeVar("T")
F = TypeVar("F", bound=Fact)


def gather(session: Session, clock: Callable[[], int]) -> Snapshot:
    """Raises `Broken` where nothing can be looked at."""
    where = session.where
    found = session.run(_Looking(session.way, where).all(clock()), "look at it")
    return _with_standing(found, InstanceOfCluster(session).admin, clock)


def _with_standing(found: Snapshot, admin: Admin, clock: Callable[[], int]) -> Snapshot:
    try:
        admin.get("/status")
    except CommandFailed as problem:
        return replace(found, gateway_silent=str(problem))
    standing = asking.standing(admin, clock)
    return replace(found, standing=standing, gateway_silent="" if standing else "its answer cannot be read")


class _Looking:
    def __init__(self, way: Way, where: InCluster) -> None:
        self._way = way
        self._client: Client = way.client
        self._root = where.namespace
        self._where = where
        self._denied: list[Denied] = []

    async def all(self, now: int) -> Snapshot:
        namespaces = await self._namespaces()
        found = Snapshot(
            now,
            self._where,
            version("tollway"),
            kinds=await self._kinds(),
            parts=await self._parts(),
            lease=await self._lease(),
            webhooks=await self._webhooks(),
            authority=await self._authority(),
            namespaces=namespaces,
            agents=await self._facts(kinds.AGENT_IDENTITY, AgentFact),
            providers=await self._facts(kinds.AI_PROVIDER, ProviderFact),
            quotas=await self._facts(kinds.AI_QUOTA, QuotaFact),
            pods=await self._pods(namespaces),
            closed=await self._closed(namespaces),
            root_change=await self._root_change(),
        )
        return replace(found, denied=tuple(dict.fromkeys(self._denied)))

    # --- what may be refused ---------------------------------------------------------------------------------------

    async def _seen(self, look: Awaitable[T], right: str) -> T | None:
        try:
            return await look
        except Refused as refusal:
            if refusal.status != _FORBIDDEN:
                raise
            self._denied.append(Denied(right))
            return None

    async def _get(self, kind: Kind, name: str, namespace: str = "") -> tuple[Object, ...] | None:
        """One, or none; None where that may not be seen."""
        return await self._seen(self._one(kind, name, namespace), f"get {kind.plural}{_of(namespace)}")

    async def _one(self, kind: Kind, name: str, namespace: str) -> tuple[Object, ...]:
        found = await self._client.get(kind, name, namespace)
        return (found,) if found is not None else ()

    async def _list(self, kind: Kind, namespace: str = "", **selectors: str) -> Sequence[Object] | None:
        """A kind that is not served has no objects."""
        listing = _all(self._client.list(kind, namespace, **selectors))
        return await self._seen(listing, f"list {kind.plural}{_of(namespace)}")

    # --- what the installation is made of --------------------------------------------------------------------------

    async def _kinds(self) -> Mapping[str, KindFacts] | None:
        found: dict[str, KindFacts] = {}
        for kind in _OURS:
            name = f"{kind.plural}.{kind.group}"
            crd = await self._get(CRD, name)
            if crd is None:
                return None
            found.update((name, reading.kind_facts(each)) for each in crd)
        return found

    async def _parts(self) -> Mapping[str, PartFacts] | None:
        found: dict[str, PartFacts] = {}
        for name, (component, made_by) in PARTS.items():
            pods = await self._list(kinds.POD, self._root, labelSelector=_COMPONENT + component)
            for kind in made_by:
                workload = await self._get(kind, name, self._root)
                if pods is None or workload is None:
                    return None
                for each in workload:
                    found[name] = await self._with_logs(reading.part_facts(kind.kind, each, pods))
        return found

    async def _with_logs(self, part: PartFacts) -> PartFacts:
        return replace(part, troubles=tuple([await self._with_log(each) for each in part.troubles]))

    async def _with_log(self, trouble: Trouble) -> Trouble:
        """Of a container that crashes the last thing that it said."""
        if trouble.reason != _CRASHING:
            return trouble
        path = kinds.POD.path(self._root, trouble.pod, "log")
        answer = await self._way.read(f"{path}?container={trouble.container}&previous=true&tailLines=1")
        last_line = answer.body.decode("utf-8", "replace").strip() if answer.status == 200 else ""
        return replace(trouble, last_line=last_line[:500])

    async def _lease(self) -> LeaseFacts | None:
        found = await self._get(kinds.LEASE, LEASE, self._root)
        if found is None:
            return None
        return reading.lease_facts(found[0]) if found else LeaseFacts("", 0, 0)

    async def _webhooks(self) -> tuple[WebhookFacts, ...] | None:
        found = await self._get(kinds.MUTATING_WEBHOOK, INJECTOR)
        if found is None:
            return None
        label = f"kubernetes.io/service-name={INJECTOR}"
        slices = await self._list(ENDPOINT_SLICE, self._root, labelSelector=label)
        endpoints = None if slices is None else reading.ready_endpoints(slices)
        return tuple(WebhookFacts(reading.trusted_until(each), endpoints) for each in found)

    async def _authority(self) -> AuthorityFacts | None:
        found = await self._get(kinds.CONFIG_MAP, GATEWAY, self._root)
        if not found:
            return None
        files = found[0].get("data") or {}
        issuers = reading.ends_of(str(files.get(ISSUERS_FILE, "")).encode())
        return AuthorityFacts(reading.ends_of_bundle(str(files.get(BUNDLE_FILE, ""))), issuers)

    async def _root_change(self) -> RootStanding | None:
        found = await self._get(kinds.CONFIG_MAP, ROOT_CHANGE, self._root)
        if found is None:
            return None
        told = (each.get("data") or {} for each in found)
        return next((read_standing(str(data.get(STANDING_FILE, ""))) for data in told), RootStanding())

    # --- what it governs -------------------------------------------------------------------------------------------

    async def _namespaces(self) -> tuple[NamespaceFacts, ...] | None:
        found = await self._list(kinds.NAMESPACE, labelSelector=f"{ENFORCE_LABEL}={ENFORCED}")
        if found is None:
            return None
        others = (each for each in found if each["metadata"]["name"] not in {self._root, "kube-system"})
        return tuple(map(reading.namespace_facts, others))

    async def _facts(self, kind: Kind, of: type[F]) -> tuple[F, ...] | None:
        found = await self._list(kind)
        if found is None:
            return None
        facts = (readable(kind, each) for each in found)
        return tuple(fact for fact in facts if isinstance(fact, of) and not fact.me.being_deleted)

    async def _pods(self, namespaces: Sequence[NamespaceFacts] | None) -> tuple[PodFacts, ...] | None:
        if namespaces is None:
            return None
        found: list[PodFacts] = []
        for namespace in namespaces:
            pods = await self._list(kinds.POD, namespace.name)
            if pods is None:
                return None
            found += (fact for pod in pods if (fact := reading.pod_facts(pod)) is not None)
        return tuple(found)

    async def _closed(self, namespaces: Sequence[NamespaceFacts] | None) -> frozenset[str] | None:
        found: set[str] = set()
        for namespace in namespaces or ():
            if namespace.is_strict:
                policy = await self._get(kinds.NETWORK_POLICY, EGRESS, namespace.name)
                if policy is None:
                    return None
                found |= {namespace.name for _ in policy}
        return frozenset(found)


async def _all(found: AsyncIterator[Object]) -> Sequence[Object]:
    try:
        return [each async for each in found]
    except NotFound:
        return []


def _of(namespace: str) -> str:
    return f" in namespace {namespace}" if namespace else " (cluster-wide)"

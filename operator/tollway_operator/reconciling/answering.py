"""Answers to PodCertificateRequests: gather what the API server knows, judge, sign or deny in one PUT.

A denial is final, so absence is never taken from what is remembered: what is not known is asked for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tollway.resources.models import ENFORCE_LABEL, ENFORCED
from tollway.resources.selection import Declared, select
from tollway_operator.authority.authority import Authority
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.kinds import (
    AGENT_IDENTITY,
    NAMESPACE,
    POD,
    POD_CERTIFICATE_REQUEST,
    SERVICE_ACCOUNT,
    Object,
)
from tollway_operator.reconciling.snapshot import Installation
from tollway_operator.signing.evaluator import (
    Deny,
    Namespace,
    Pod,
    Seen,
    Settings,
    Sign,
    evaluate,
)
from tollway_operator.signing.objects import read_request
from tollway_operator.signing.request import PodCertificateRequest
from tollway_operator.signing.status import Status, denied, issued
from tollway_operator.watching.facts import AgentFact, Fact, PodFact, read
from tollway_operator.watching.listing import readable
from tollway_operator.watching.store import Store


@dataclass(frozen=True, slots=True)
class Answered:
    """The request as it is then, and the denial, for whoever looks at its pod."""

    content: Object
    request: PodCertificateRequest
    denial: Deny | None


class Answering:
    """The signer `tollway.dev/agent` at work."""

    def __init__(self, client: Client, store: Store, installation: Installation, jitter: Callable[[], float]) -> None:
        self._client = client
        self._store = store
        self._settings = Settings(
            installation.trust_domain, installation.root_namespace, installation.refuse_unselected
        )
        self._jitter = jitter

    async def answer(self, content: Object, authority: Authority, now: int) -> Answered:
        """Raises `ClusterError` and `CannotSign`."""
        request = read_request(content)
        verdict = evaluate(request, await self._gather(request), self._settings)
        status = self._status(verdict, authority, now)
        answered = await self._client.replace(POD_CERTIFICATE_REQUEST, {**content, "status": status}, "status")
        return Answered(answered, request, verdict if isinstance(verdict, Deny) else None)

    def _status(self, verdict: Sign | Deny, authority: Authority, now: int) -> Status:
        if isinstance(verdict, Deny):
            return denied(verdict, now)
        signed = authority.sign(verdict.public_key, verdict.spiffe_id, verdict.ttl_ms, now, verdict.pod_uid)
        return issued(signed, now, self._jitter())

    async def _gather(self, request: PodCertificateRequest) -> Seen:
        pod = await self._pod(request)
        account = await self._client.get(SERVICE_ACCOUNT, request.service_account, request.namespace)
        return Seen(
            pod=pod,
            service_account_uid=str(account["metadata"]["uid"]) if account is not None else None,
            namespace=await self._namespace(request.namespace),
            identities=await self._identities(request.namespace, pod),
        )

    async def _pod(self, request: PodCertificateRequest) -> Pod | None:
        known = self._store.get(POD, PodFact, request.pod_name, request.namespace)
        if known is not None and (known.pod.uid, known.pod.node) == (request.pod_uid, request.node):
            return known.pod
        found = await self._client.get(POD, request.pod_name, request.namespace)
        fact = read(POD, found) if found is not None else None
        return fact.pod if isinstance(fact, PodFact) else None

    async def _namespace(self, name: str) -> Namespace | None:
        known = self._store.get(NAMESPACE, Fact, name)
        namespace = Namespace(known.me.labels) if known is not None else None
        if namespace is not None and namespace.labels.get(ENFORCE_LABEL) == ENFORCED:
            return namespace
        found = await self._client.get(NAMESPACE, name)
        return Namespace(found["metadata"].get("labels") or {}) if found is not None else None

    async def _identities(self, namespace: str, pod: Pod | None) -> Iterable[Declared]:
        known = _declared(self._store.all(AGENT_IDENTITY, AgentFact, namespace))
        if pod is None or _settled(known, pod):
            return known
        listed: list[Any] = [content async for content in self._client.list(AGENT_IDENTITY, namespace)]
        facts = (readable(AGENT_IDENTITY, content) for content in listed)
        return _declared(fact for fact in facts if isinstance(fact, AgentFact))


def _declared(facts: Iterable[AgentFact]) -> list[Declared]:
    return [fact.declared for fact in facts if fact.declared is not None]


def _settled(known: list[Declared], pod: Pod) -> bool:
    """Whether what is remembered says yes. A no may only be late."""
    identity = select(known, pod.workload).identity
    return identity is not None and not identity.suspended

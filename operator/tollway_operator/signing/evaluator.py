"""Whether a pod gets the certificate that its kubelet asks for, and for which identity: a column of refusals.

The identity is made of what the API server knows of the pod. Nothing that the pod, its owner or the CSR says of
itself becomes part of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

from tollway.identity.rotation import BACKDATE_MS
from tollway.identity.spiffe_id import SPIFFEID, TrustDomain, agent_id, workload_id
from tollway.resources.models import ENFORCE_LABEL, ENFORCED, ROOT_NAMESPACE, AgentIdentity, SVIDSpec
from tollway.resources.selection import Declared, Workload, select, suspends_service_account
from tollway_operator.signing.request import SIGNER, BadCSR, PodCertificateRequest, UnsupportedKey, key_of

SHORTEST_S: Final = 3_600
"""The API server takes no certificate of less than an hour, the minute before its making included."""
_FINISHED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the API server has it; `phase` as in its status, `node` empty before it is scheduled."""

    namespace: str
    name: str
    uid: str
    service_account: str
    labels: Mapping[str, str]
    node: str
    phase: str = "Pending"
    being_deleted: bool = False

    @property
    def workload(self) -> Workload:
        return Workload(self.namespace, self.service_account, self.labels)


@dataclass(frozen=True, slots=True)
class Namespace:
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the API server has of all that a request speaks of; None where there is no such object.

    A denial is final, so absence must be the API server's word, not that of a cache that has not caught up.
    """

    pod: Pod | None
    service_account_uid: str | None
    namespace: Namespace | None
    identities: Iterable[Declared]


@dataclass(frozen=True, slots=True)
class Settings:
    """`refuse_unselected`: pods that no AgentIdentity selects get nothing, rather than their service account's ID."""

    trust_domain: TrustDomain
    root_namespace: str = ROOT_NAMESPACE
    refuse_unselected: bool = False


@dataclass(frozen=True, slots=True)
class Sign:
    """What to certify. `ttl_ms` counts from now; `agent` is None for a workload that no AgentIdentity selects."""

    spiffe_id: SPIFFEID
    public_key: ec.EllipticCurvePublicKey
    ttl_ms: int
    pod_uid: str
    agent: AgentIdentity | None


@dataclass(frozen=True, slots=True)
class Deny:
    """Why not: a stable word and a sentence for whoever reads the pod's events."""

    reason: str
    message: str


Verdict: TypeAlias = Sign | Deny


def evaluate(request: PodCertificateRequest, seen: Seen, settings: Settings) -> Verdict:
    """Sign, or the first refusal that applies."""
    if denial := _against_request(request, seen.namespace, settings):
        return denial
    if seen.pod is None:
        return Deny("PodNotFound", f"there is no pod {request.namespace}/{request.pod_name}")
    if denial := _against_pod(request, seen.pod) or _against_service_account(request, seen.pod, seen):
        return denial
    identities = tuple(seen.identities)
    agent = select(identities, seen.pod.workload).identity
    if denial := _against_identity(agent, identities, seen.pod, settings):
        return denial
    try:
        key = key_of(request.csr)
    except UnsupportedKey:
        return Deny("UnsupportedKeyType", "the key must be ECDSAP256 or ECDSAP384: name one of them as keyType")
    except BadCSR as bad:
        return Deny("InvalidCSR", f"the CSR is refused: {bad}")
    return _sign(agent, seen.pod, key, request.max_expiration_s, settings.trust_domain)


def _against_request(request: PodCertificateRequest, namespace: Namespace | None, settings: Settings) -> Deny | None:
    where = request.namespace
    if request.signer != SIGNER:
        return Deny("OtherSigner", f"the request is for the signer {request.signer}, and this is {SIGNER}")
    if where == settings.root_namespace:
        return Deny("RootNamespace", f"there are no agents in {where}: run them in a namespace of their own")
    if namespace is None:
        return Deny("NamespaceNotFound", f"there is no namespace {where}")
    if namespace.labels.get(ENFORCE_LABEL) != ENFORCED:
        return Deny("NamespaceNotEnforced", f"namespace {where} is not labelled {ENFORCE_LABEL}={ENFORCED}: label it")
    if request.annotations:
        # Kubernetes has a word for this, and asks signers to refuse what they do not know.
        return Deny("InvalidUnverifiedUserAnnotations", "this signer takes no userAnnotations: remove them")
    if request.max_expiration_s < SHORTEST_S:
        return Deny("ExpirationTooShort", f"maxExpirationSeconds must be at least {SHORTEST_S}")
    return None


def _against_pod(request: PodCertificateRequest, pod: Pod) -> Deny | None:
    which = f"pod {pod.namespace}/{pod.name}"
    if (pod.namespace, pod.name) != (request.namespace, request.pod_name):
        return Deny("PodMismatch", f"the request is for pod {request.namespace}/{request.pod_name}, not for {which}")
    if pod.uid != request.pod_uid:
        return Deny("PodUIDMismatch", f"{which} is another than the one asked for: that one was replaced")
    if pod.being_deleted:
        return Deny("PodBeingDeleted", f"{which} is being deleted")
    if pod.phase in _FINISHED:
        return Deny("PodFinished", f"{which} has finished ({pod.phase})")
    if pod.node != request.node:
        return Deny("NodeMismatch", f"{which} is not on node {request.node}")
    return None


def _against_service_account(request: PodCertificateRequest, pod: Pod, seen: Seen) -> Deny | None:
    account = f"service account {pod.namespace}/{pod.service_account}"
    if request.service_account != pod.service_account:
        return Deny("ServiceAccountMismatch", f"the pod runs as {account}, not as {request.service_account}")
    if seen.service_account_uid is None:
        return Deny("ServiceAccountNotFound", f"there is no {account}")
    if seen.service_account_uid != request.service_account_uid:
        return Deny("ServiceAccountUIDMismatch", f"{account} is another than the one asked for: that one was replaced")
    return None


def _against_identity(
    agent: AgentIdentity | None, identities: Iterable[Declared], pod: Pod, settings: Settings
) -> Deny | None:
    if agent is not None:
        return _suspended(agent, "this pod is its agent") if agent.suspended else None
    if suspended := suspends_service_account(identities, pod.workload):
        return _suspended(suspended, f"it names the pod's service account {pod.service_account}")
    if settings.refuse_unselected:
        return Deny(
            "NoIdentity",
            f"no AgentIdentity of namespace {pod.namespace} selects the pod: add one, or label the pod for one",
        )
    return None


def _suspended(identity: AgentIdentity, why: str) -> Deny:
    named = f"AgentIdentity {identity.meta.namespace}/{identity.meta.name}"
    return Deny("IdentitySuspended", f"{named} is suspended, and {why}: set suspended to false to let it go on")


def _sign(
    agent: AgentIdentity | None, pod: Pod, key: ec.EllipticCurvePublicKey, longest_s: int, trust_domain: TrustDomain
) -> Sign:
    svid = SVIDSpec() if agent is None else agent.svid
    # What the kubelet allows is for the whole validity, which begins a little before now.
    ttl_ms = min(svid.ttl_ms, longest_s * 1_000 - BACKDATE_MS)
    return Sign(_spiffe_id(agent, pod, trust_domain), key, ttl_ms, pod.uid, agent)


def _spiffe_id(agent: AgentIdentity | None, pod: Pod, trust_domain: TrustDomain) -> SPIFFEID:
    if agent is None:
        return workload_id(trust_domain, pod.namespace, pod.service_account)
    return agent_id(trust_domain, pod.namespace, pod.service_account, agent.meta.name)

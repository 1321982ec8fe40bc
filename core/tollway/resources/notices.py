"""What a sound set of resources means in practice and its author may not expect: said, never refused.

Two sorts: what one object cannot show (a Secret that is nowhere, an agent that no quota covers), and what the schema
accepts but this version does not act on yet. They become log lines and conditions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from tollway.ledger.units import Unit
from tollway.resources.models import (
    ROOT_NAMESPACE,
    AgentIdentity,
    AIProvider,
    AIQuota,
    Bound,
    Delivery,
    Meta,
    Mode,
    OnLedgerUnavailable,
    Per,
    ProviderType,
    ResourceSet,
)

SERVED_TYPES: Final = frozenset({ProviderType.ANTHROPIC, ProviderType.OPENAI, ProviderType.OPENAI_COMPATIBLE})
_KEYLESS_TYPES: Final = frozenset({ProviderType.VERTEX, ProviderType.BEDROCK})
"""Types whose credential is not one API key in a header."""
_COVERING_UNITS: Final = frozenset({Unit.COST, Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS})


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence on one object. `reason` is a stable word, as conditions take it."""

    kind: str
    namespace: str
    name: str
    reason: str
    message: str

    @property
    def object(self) -> str:
        """As in problems: "AIQuota team-a/research"."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def __str__(self) -> str:
        return f"{self.object}: {self.message}"


S = TypeVar("S", AgentIdentity, AIProvider, AIQuota)
_Said = Iterator[tuple[str, str]]
"""Reasons and sentences on one object."""


class _View:
    """The set by namespace, so that thousands of agents and quotas are not all compared with each other."""

    def __init__(self, resources: ResourceSet) -> None:
        self.resources = resources
        self._labels = {found.meta.name: found.meta.labels for found in resources.namespaces}
        self._spanning = [quota for quota in resources.quotas if quota.namespaces is not None]
        self._quotas: dict[str, list[AIQuota]] = {}
        for quota in resources.quotas:
            self._quotas.setdefault(quota.meta.namespace, []).append(quota)
        self._agents: dict[str, list[AgentIdentity]] = {}
        for agent in resources.agents:
            self._agents.setdefault(agent.meta.namespace, []).append(agent)

    def quotas_over(self, namespace: str) -> Iterable[AIQuota]:
        """The quotas that may be for a namespace's agents."""
        return (*self._quotas.get(namespace, ()), *self._spanning)

    def agents_under(self, quota: AIQuota) -> Iterable[AgentIdentity]:
        """The agents that a quota may be for."""
        return self._agents.get(quota.meta.namespace, ()) if quota.namespaces is None else self.resources.agents

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """A namespace's labels, with the one that Kubernetes gives every namespace."""
        return {**self._labels.get(namespace, {}), "kubernetes.io/metadata.name": namespace}


def notices(resources: ResourceSet) -> tuple[Notice, ...]:
    """Everything worth saying, by kind and in the order of the set."""
    view = _View(resources)
    return (
        *_about("AgentIdentity", resources.agents, _on_agent, view),
        *_about("AIProvider", resources.providers, _on_provider, view),
        *_about("AIQuota", resources.quotas, _on_quota, view),
    )


def _about(kind: str, subjects: Iterable[S], said: Callable[[S, _View], _Said], view: _View) -> Iterator[Notice]:
    for subject in subjects:
        meta = subject.meta
        yield from (Notice(kind, meta.namespace, meta.name, *pair) for pair in said(subject, view))


# --- identities ----------------------------------------------------------------------------------------------------

_UNCOVERED: Final = (
    "no enforced AIQuota with a limit in tokens or cost covers this agent: its calls are refused (quota.none) "
    "unless the installation allows uncovered calls"
)


def _on_agent(agent: AgentIdentity, view: _View) -> _Said:
    if agent.svid.delivery is Delivery.POD_CERTIFICATE:
        yield "DeliveryAsSecret", "svid.delivery PodCertificate needs a cluster that has it: taken as Secret here"
    if not any(_may_cover(quota, agent, view) for quota in view.quotas_over(agent.meta.namespace)):
        yield "Uncovered", _UNCOVERED


def _may_cover(quota: AIQuota, agent: AgentIdentity, view: _View) -> bool:
    """Whether some call of the agent can count on the quota; which models it names is not looked at."""
    return (
        quota.mode is Mode.ENFORCE
        and any(limit.unit in _COVERING_UNITS for limit in quota.limits)
        and _selects(quota, agent, view)
    )


def _selects(quota: AIQuota, agent: AgentIdentity, view: _View) -> bool:
    """Whether a quota is for an agent, by namespace and labels."""
    if quota.agents is not None and not quota.agents.matches(agent.meta.labels):
        return False
    if quota.namespaces is None:
        return quota.meta.namespace == agent.meta.namespace
    return quota.namespaces.matches(view.labels_of(agent.meta.namespace))


# --- providers -----------------------------------------------------------------------------------------------------


def _on_provider(provider: AIProvider, view: _View) -> _Said:
    if provider.type not in SERVED_TYPES:
        served = " and ".join(sorted(SERVED_TYPES))
        yield "TypeNotServed", f"type {provider.type} has no data path in this version, only {served} have: not served"
    if provider.namespaces is None:
        yield "OpenToAll", "spec.namespaces is absent: agents of every enforced namespace may use this provider"
    if provider.endpoint.path.endswith("/v1"):
        yield "EndpointPath", "spec.endpoint ends in /v1, and calls bring that themselves: remove it from the endpoint"
    if provider.default and _other_defaults(provider, view.resources.providers):
        yield "SeveralDefaults", f"several AIProviders of type {provider.type} are the default: leave one"
    if provider.type not in _KEYLESS_TYPES:
        yield from _on_credential(provider, view)


def _other_defaults(provider: AIProvider, providers: Iterable[AIProvider]) -> bool:
    return any(
        other.default and other.type is provider.type and other.meta.name != provider.meta.name for other in providers
    )


def _on_credential(provider: AIProvider, view: _View) -> _Said:
    reference = provider.credential
    if reference is None:
        if provider.type is not ProviderType.OPENAI_COMPATIBLE:
            yield "CredentialMissing", "spec.credential is absent: calls travel without a key, and the provider refuses"
        return
    named = [secret for secret in view.resources.secrets if secret.meta.name == reference.name]
    secret = next((secret for secret in named if secret.meta.namespace == ROOT_NAMESPACE), None)
    if secret is None:
        yield "CredentialMissing", _no_secret(reference.name, [secret.meta for secret in named])
    elif reference.key not in secret.data:
        yield "CredentialMissing", f"the Secret {ROOT_NAMESPACE}/{reference.name} has no key {reference.key}: add it"
    elif not _is_header_value(secret.data[reference.key].rstrip(b"\r\n")):
        where = f"the key {reference.key} of the Secret {ROOT_NAMESPACE}/{reference.name}"
        yield "CredentialMalformed", f"{where} is empty, or has spaces or line breaks: put the API key there alone"


def _no_secret(name: str, elsewhere: list[Meta]) -> str:
    said = f"there is no Secret {name} in {ROOT_NAMESPACE}, so it is not served"
    if elsewhere:
        return f"{said}: move the one in namespace {elsewhere[0].namespace} there"
    return f"{said}: declare it there"


def _is_header_value(value: bytes) -> bool:
    return bool(value) and all(0x21 <= byte <= 0x7E for byte in value)


# --- quotas --------------------------------------------------------------------------------------------------------


def _on_quota(quota: AIQuota, view: _View) -> _Said:
    if quota.bound is Bound.LEARNED:
        yield (
            "BoundAsProvable",
            "bound Learned is taken as Provable in this version: holds are larger than they will be",
        )
    if quota.on_ledger_unavailable is not OnLedgerUnavailable.DENY:
        yield "LedgerUnavailableAsDeny", f"onLedgerUnavailable {quota.on_ledger_unavailable} is taken as Deny for now"
    if Per.POD in quota.per:
        yield "PerPod", "per Pod counts only certificates that name their pod: all others share one counter"
    if quota.agents is not None and not any(_selects(quota, agent, view) for agent in view.agents_under(quota)):
        yield "SelectsNobody", "spec.agents selects no AgentIdentity: its limits count nothing. Check the labels"
    declared = {provider.meta.name for provider in view.resources.providers}
    for name in sorted({rule.provider for rule in quota.models if rule.provider} - declared):
        yield "ProviderUnknown", f"spec.models names the AIProvider {name}, which does not exist: check the name"

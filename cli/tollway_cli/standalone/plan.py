"""What a set of resources needs on this machine: which SVIDs now, which sidecars, who may call whom. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tollway.capture import base_urls, has_data_path, sdk_variables
from tollway.deciding.rulebook import RuleBook, service_account_of
from tollway.identity.spiffe_id import TrustDomain, agent_id, gateway_id
from tollway.pricing.table import PriceBook
from tollway.resources.models import (
    ROOT_NAMESPACE,
    AgentIdentity,
    Capture,
    KeyType,
    ResourceSet,
    SVIDSpec,
)

GATEWAY: Final = "gateway"
"""The gateway's key among the holders of SVIDs; an agent's is "namespace/name"."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The SVID that a process holds now, as far as it matters for renewing it. Times in ms."""

    spiffe_id: str
    key_type: KeyType
    not_before: int
    renew_at: int
    not_after: int

    def is_valid(self, now: int) -> bool:
        return self.not_before <= now <= self.not_after


@dataclass(frozen=True, slots=True)
class SVIDRequest:
    """An SVID to be issued now, for the process `key`."""

    key: str
    spiffe_id: str
    key_type: KeyType
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    issue: tuple[SVIDRequest, ...]
    sidecars: tuple[str, ...]
    """The agents that have a sidecar, in order."""


def key_of(agent: AgentIdentity) -> str:
    return f"{agent.meta.namespace}/{agent.meta.name}"


def spiffe_id_of(trust_domain: str, agent: AgentIdentity) -> str:
    account = service_account_of(agent)
    return str(agent_id(TrustDomain(trust_domain), agent.meta.namespace, account, agent.meta.name))


def plan(resources: ResourceSet, held: Mapping[str, Holding], trust_domain: str, now: int) -> Plan:
    """What to issue and to run. A suspended agent gets no SVID; with the one it has, its sidecar runs on: it is the
    gateway that refuses, so that the agent reads why."""
    wanted = [_gateway_request(trust_domain)]
    wanted += [_agent_request(trust_domain, agent) for agent in resources.agents if not agent.suspended]
    running = [agent for agent in resources.agents if not agent.suspended or _holds(agent, held, trust_domain)]
    return Plan(
        tuple(request for request in wanted if _is_due(request, held.get(request.key), now)),
        tuple(sorted(key_of(agent) for agent in running)),
    )


def _gateway_request(trust_domain: str) -> SVIDRequest:
    spec = SVIDSpec()
    return SVIDRequest(GATEWAY, str(gateway_id(TrustDomain(trust_domain))), spec.key_type, spec.ttl_ms)


def _agent_request(trust_domain: str, agent: AgentIdentity) -> SVIDRequest:
    return SVIDRequest(key_of(agent), spiffe_id_of(trust_domain, agent), agent.svid.key_type, agent.svid.ttl_ms)


def _is_due(request: SVIDRequest, holding: Holding | None, now: int) -> bool:
    if holding is None or (holding.spiffe_id, holding.key_type) != (request.spiffe_id, request.key_type):
        return True
    # Not valid yet: this machine's clock was set back since it was issued.
    return now >= holding.renew_at or not holding.is_valid(now)


def _holds(agent: AgentIdentity, held: Mapping[str, Holding], trust_domain: str) -> bool:
    holding = held.get(key_of(agent))
    return holding is not None and holding.spiffe_id == spiffe_id_of(trust_domain, agent)


def without_removed(before: ResourceSet, after: ResourceSet) -> ResourceSet:
    """`before` without the agents and providers that `after` no longer has: what is decided while Envoy still serves
    them, so that they are refused in the provider's own words and not by a missing route."""
    agents = {key_of(agent) for agent in after.agents}
    providers = {provider.meta.name for provider in after.providers}
    return replace(
        before,
        agents=tuple(agent for agent in before.agents if key_of(agent) in agents),
        providers=tuple(provider for provider in before.providers if provider.meta.name in providers),
    )


def credentials(resources: ResourceSet) -> Mapping[str, bytes]:
    """Provider name -> its key, for those whose Secret (in the root namespace) is there."""
    data = {secret.meta.name: secret.data for secret in resources.secrets if secret.meta.namespace == ROOT_NAMESPACE}
    found = {}
    for provider in resources.providers:
        reference = provider.credential
        if reference is not None and reference.key in data.get(reference.name, {}):
            found[provider.meta.name] = data[reference.name][reference.key]
    return found


@dataclass(frozen=True, slots=True)
class Access:
    """How an agent's programs reach its providers through its sidecar."""

    spiffe_id: str
    base_urls: Mapping[str, str]
    env: Mapping[str, str]


def access(resources: ResourceSet, agent: AgentIdentity, port: int, trust_domain: str, prices: PriceBook) -> Access:
    """URLs of every provider open to the agent's namespace, and the variables of the default one of each type.

    A provider of a type without a data path has no URL.
    """
    book = RuleBook(resources, prices)
    by_name = sorted(resources.providers, key=lambda provider: provider.meta.name)
    reachable = [
        provider for provider in by_name if has_data_path(provider) and book.is_open(provider, agent.meta.namespace)
    ]
    env = sdk_variables(reachable, port) if agent.capture is Capture.ENV else {}
    return Access(spiffe_id_of(trust_domain, agent), base_urls(reachable, port), env)

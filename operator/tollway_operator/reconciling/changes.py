"""What a change in the cluster makes worth looking at."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tollway_operator.cluster import kinds
from tollway_operator.cluster.kinds import Kind
from tollway_operator.names import AUTHORITY, INJECTOR_TLS, ROOT_CHANGE
from tollway_operator.reconciling.actions import Key, Topic
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.watching.facts import Fact, RequestFact

TRUST: Final = Key(Topic.TRUST)
GATEWAY: Final = Key(Topic.GATEWAY)
PROVIDERS: Final = Key(Topic.PROVIDERS)
QUOTAS: Final = Key(Topic.QUOTAS)
INJECTOR: Final = Key(Topic.INJECTOR)


def keys_of(kind: Kind, before: Fact | None, after: Fact | None, snapshot: Snapshot) -> Iterator[Key]:
    """The keys that a change of one object touches. At least one of `before` and `after` is there."""
    fact = after or before
    if fact is not None:
        yield from _AFFECTED[kind](fact, _is_declared_anew(before, after), snapshot)


def every_key(snapshot: Snapshot) -> Iterator[Key]:
    """Everything there is to look at."""
    yield from (TRUST, GATEWAY, PROVIDERS, QUOTAS, INJECTOR)
    for fact in snapshot.store.all(kinds.NAMESPACE, Fact):
        yield Key(Topic.SIDECAR, fact.me.name)
        yield Key(Topic.AGENTS, fact.me.name)
        yield Key(Topic.EGRESS, fact.me.name)
    for request in snapshot.store.all(kinds.POD_CERTIFICATE_REQUEST, RequestFact):
        if not request.answered:
            yield Key(Topic.REQUEST, request.me.namespace, request.me.name)


def _is_declared_anew(before: Fact | None, after: Fact | None) -> bool:
    """Whether more than an object's status changed."""
    if before is None or after is None:
        return True
    return (before.me.uid, before.me.generation, before.me.labels, before.me.being_deleted) != (
        after.me.uid,
        after.me.generation,
        after.me.labels,
        after.me.being_deleted,
    )


def _agent(fact: Fact, anew: bool, _: Snapshot) -> Iterator[Key]:
    yield Key(Topic.AGENTS, fact.me.namespace)
    if anew:
        yield QUOTAS


def _provider(_fact: Fact, anew: bool, snapshot: Snapshot) -> Iterator[Key]:
    yield PROVIDERS
    if anew:
        yield GATEWAY
        yield from (Key(Topic.SIDECAR, namespace) for namespace in snapshot.enforced_namespaces())


def _quota(_fact: Fact, _anew: bool, _snapshot: Snapshot) -> Iterator[Key]:
    yield QUOTAS


def _namespace(fact: Fact, _anew: bool, _snapshot: Snapshot) -> Iterator[Key]:
    yield Key(Topic.AGENTS, fact.me.name)
    yield Key(Topic.SIDECAR, fact.me.name)
    yield Key(Topic.EGRESS, fact.me.name)
    yield QUOTAS


def _in_namespace(fact: Fact, _anew: bool, _snapshot: Snapshot) -> Iterator[Key]:
    yield Key(Topic.AGENTS, fact.me.namespace)


def _request(fact: Fact, _anew: bool, _snapshot: Snapshot) -> Iterator[Key]:
    yield Key(Topic.REQUEST, fact.me.namespace, fact.me.name)
    yield Key(Topic.AGENTS, fact.me.namespace)


def _secret(fact: Fact, _anew: bool, snapshot: Snapshot) -> Iterator[Key]:
    if fact.me.namespace != snapshot.installation.root_namespace:
        yield Key(Topic.AGENTS, fact.me.namespace)
    elif fact.me.name == AUTHORITY:
        yield TRUST
    elif fact.me.name == INJECTOR_TLS:
        yield INJECTOR
    else:
        yield from (GATEWAY, PROVIDERS)


def _config(fact: Fact, _anew: bool, snapshot: Snapshot) -> Iterator[Key]:
    root = fact.me.namespace == snapshot.installation.root_namespace
    if fact.me.name == ROOT_CHANGE:
        yield TRUST
        return
    yield GATEWAY if root else Key(Topic.SIDECAR, fact.me.namespace)


def _bundle(_fact: Fact, _anew: bool, _snapshot: Snapshot) -> Iterator[Key]:
    yield TRUST


def _policy(fact: Fact, _anew: bool, _snapshot: Snapshot) -> Iterator[Key]:
    yield Key(Topic.EGRESS, fact.me.namespace)


def _webhook(_fact: Fact, _anew: bool, _snapshot: Snapshot) -> Iterator[Key]:
    yield INJECTOR


_AFFECTED: Final[Mapping[Kind, Callable[[Fact, bool, Snapshot], Iterator[Key]]]] = {
    kinds.AGENT_IDENTITY: _agent,
    kinds.AI_PROVIDER: _provider,
    kinds.AI_QUOTA: _quota,
    kinds.NAMESPACE: _namespace,
    kinds.POD: _in_namespace,
    kinds.POD_CERTIFICATE_REQUEST: _request,
    kinds.SECRET: _secret,
    kinds.CONFIG_MAP: _config,
    kinds.CLUSTER_TRUST_BUNDLE: _bundle,
    kinds.MUTATING_WEBHOOK: _webhook,
    kinds.NETWORK_POLICY: _policy,
}

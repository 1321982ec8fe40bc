"""Which agent a pod is: asked by whoever gives pods an identity, and by whoever puts a sidecar into them.

A pod is the agent of the oldest AgentIdentity of its namespace that selects it, by its labels and its service account.
The pod itself has no say in it: everything here comes from the API server.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tollway.resources.models import AgentIdentity


@dataclass(frozen=True, slots=True)
class Declared:
    """An AgentIdentity as the API server has it; `created` in ms since the epoch, there in whole seconds."""

    identity: AgentIdentity
    created: int
    being_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """What of a pod decides which agent it is."""

    namespace: str
    service_account: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """The identity that a pod has, and the younger ones that select it in vain: both say so in a condition."""

    identity: AgentIdentity | None
    in_vain: tuple[AgentIdentity, ...] = ()


def select(declared: Iterable[Declared], workload: Workload) -> Selection:
    """Whose agent this pod is. Of two identities of the same second the first by name wins, everywhere alike.

    A suspended identity selects like any other: whoever is suspended does not become another agent by that.
    """
    selecting = sorted((each for each in declared if _selects(each, workload)), key=_age)
    identities = tuple(each.identity for each in selecting)
    return Selection(identities[0], identities[1:]) if identities else Selection(None)


def suspends_service_account(declared: Iterable[Declared], workload: Workload) -> AgentIdentity | None:
    """A suspended identity that names this pod's service account.

    Its agent must not go on as a workload without an identity, by pods that its selector does not reach.
    """
    naming = (each.identity for each in declared if _names_account(each, workload) and each.identity.suspended)
    return next(naming, None)


def _selects(each: Declared, workload: Workload) -> bool:
    identity = each.identity
    return (
        not each.being_deleted
        and identity.meta.namespace == workload.namespace
        and identity.service_account in {None, workload.service_account}
        and identity.selector.matches(workload.labels)
    )


def _names_account(each: Declared, workload: Workload) -> bool:
    identity = each.identity
    return identity.meta.namespace == workload.namespace and identity.service_account == workload.service_account


def _age(each: Declared) -> tuple[int, str]:
    return each.created, each.identity.meta.name

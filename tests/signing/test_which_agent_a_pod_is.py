"""A pod is the agent of the oldest AgentIdentity of its namespace that selects it."""

from collections.abc import Mapping

import pytest

from tollway.resources.models import AgentIdentity, Meta, Selector
from tollway.resources.selection import Declared, Workload, select, suspends_service_account

POD = Workload("team-a", "researcher", {"app": "researcher", "team": "search"})


def declared(
    name: str = "researcher",
    namespace: str = "team-a",
    *,
    labels: Mapping[str, str] | None = None,
    account: str | None = None,
    suspended: bool = False,
    created: int = 0,
    being_deleted: bool = False,
) -> Declared:
    selector = Selector(labels or {})
    identity = AgentIdentity(Meta(name, namespace), selector, account, suspended=suspended)
    return Declared(identity, created, being_deleted)


def chosen(*identities: Declared, pod: Workload = POD) -> str | None:
    identity = select(identities, pod).identity
    return identity.meta.name if identity else None


@pytest.mark.parametrize(
    "identity",
    [
        declared(labels={"app": "researcher"}),
        declared(labels={"app": "researcher", "team": "search"}),
        declared(account="researcher"),
        declared(labels={"app": "researcher"}, account="researcher"),
        declared(labels={"app": "researcher"}, suspended=True),
    ],
    ids=["label", "all labels", "service account", "both", "suspended"],
)
def test_an_identity_selects_by_labels_and_service_account(identity: Declared) -> None:
    assert chosen(identity) == "researcher"


@pytest.mark.parametrize(
    "identity",
    [
        declared(labels={"app": "writer"}),
        declared(labels={"app": "researcher", "tier": "gold"}),
        declared(account="writer"),
        declared(labels={"app": "researcher"}, account="writer"),
        declared(labels={"app": "writer"}, account="researcher"),
        declared(namespace="team-b", labels={"app": "researcher"}),
        declared(labels={"app": "researcher"}, being_deleted=True),
    ],
    ids=["value", "missing label", "account", "account of two", "label of two", "namespace", "deleted"],
)
def test_an_identity_that_fails_in_anything_does_not_select(identity: Declared) -> None:
    assert chosen(identity) is None


def test_of_two_that_select_the_older_wins_and_the_younger_is_named() -> None:
    old = declared("old", labels={"team": "search"}, created=1_000)
    young = declared("young", labels={"app": "researcher"}, account="researcher", created=2_000)
    for order in ([old, young], [young, old]):
        selection = select(order, POD)
        assert (selection.identity, selection.in_vain) == (old.identity, (young.identity,))


def test_of_two_of_the_same_second_the_first_by_name_wins() -> None:
    assert chosen(declared("b", account="researcher"), declared("a", account="researcher")) == "a"


def test_a_suspended_identity_keeps_its_pods_from_becoming_another_agent() -> None:
    old = declared("old", account="researcher", suspended=True)
    young = declared("young", account="researcher", created=1_000)
    assert chosen(old, young) == "old"


def test_a_suspended_identity_holds_back_its_service_account_where_it_names_one() -> None:
    other_pod = Workload("team-a", "researcher", {})
    suspended = declared(labels={"app": "researcher"}, account="researcher", suspended=True)
    assert select([suspended], other_pod).identity is None
    assert suspends_service_account([suspended], other_pod) is suspended.identity


@pytest.mark.parametrize(
    "identity",
    [
        declared(labels={"app": "writer"}, account="researcher"),
        declared(labels={"app": "writer"}, suspended=True),
        declared(account="writer", suspended=True),
        declared(namespace="team-b", account="researcher", suspended=True),
    ],
    ids=["not suspended", "names none", "names another", "elsewhere"],
)
def test_no_other_identity_holds_a_service_account_back(identity: Declared) -> None:
    assert suspends_service_account([identity], POD) is None


def test_a_suspended_identity_holds_its_service_account_back_until_it_is_gone() -> None:
    going = declared(account="researcher", labels={"app": "writer"}, suspended=True, being_deleted=True)
    assert suspends_service_account([going], POD) is going.identity

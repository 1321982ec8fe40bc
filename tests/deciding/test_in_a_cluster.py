"""What a cluster says of namespaces and service accounts, and what is taken for granted on one machine."""

from dataclasses import replace

import pytest

from deciding.builders import RESEARCHER, Scene, agent, ask, quota
from tollway.deciding.checks import first_refusal
from tollway.deciding.rulebook import Caller
from tollway.resources.models import AgentIdentity, Per, ResourceSet

CLUSTER = ResourceSet(enforced=("team-a",))
MACHINE = ResourceSet()
WORKLOAD = Caller("spiffe://cluster.local/ns/team-a/sa/researcher", "team-a", "researcher", None)


def reason(resources: ResourceSet, caller: Caller, *agents: AgentIdentity) -> str | None:
    refusal = first_refusal(ask(Scene(agents=agents, resources=resources), caller=caller))
    return refusal.reason if refusal is not None else None


@pytest.mark.parametrize(
    ("enforced", "expected"),
    [(None, None), (("team-a", "team-b"), None), (("team-b",), "identity.unenforced"), ((), "identity.unenforced")],
    ids=["one machine", "it is enforced", "another one is", "none is"],
)
def test_whether_a_namespace_is_enforced(enforced: tuple[str, ...] | None, expected: str | None) -> None:
    assert reason(ResourceSet(enforced=enforced), RESEARCHER, agent()) == expected


def test_who_is_suspended_and_not_enforced_reads_of_the_suspension() -> None:
    assert reason(ResourceSet(enforced=()), RESEARCHER, agent(suspended=True)) == "identity.suspended"


@pytest.mark.parametrize(
    ("resources", "account", "expected"),
    [
        (MACHINE, None, "identity.suspended"),
        (CLUSTER, None, None),
        (CLUSTER, "researcher", "identity.suspended"),
        (CLUSTER, "another", None),
    ],
    ids=["of its name, on one machine", "any, in a cluster", "named", "another named"],
)
def test_a_workload_is_suspended_with_an_identity_that_has_its_service_account(
    resources: ResourceSet, account: str | None, expected: str | None
) -> None:
    assert reason(resources, WORKLOAD, agent(suspended=True, service_account=account)) == expected


def test_in_a_cluster_an_agent_without_a_service_account_is_suspended_whatever_its_pods_have() -> None:
    elsewhere = replace(RESEARCHER, service_account="batch")
    assert reason(CLUSTER, elsewhere, agent()) is None
    assert reason(CLUSTER, elsewhere, agent(suspended=True)) == "identity.suspended"


def test_an_identity_that_is_of_another_service_account_by_now_is_not_the_callers() -> None:
    assert reason(CLUSTER, RESEARCHER, agent(service_account="another")) == "identity.unknown"


def test_a_counter_by_service_account_is_not_declared_before_pods_say_which_they_have() -> None:
    def declared(resources: ResourceSet, *per: Per) -> int:
        scene = Scene(agents=(agent(),), quotas=(quota(per=per),), resources=resources)
        return len(scene.book().declared_counters())

    assert (declared(MACHINE, Per.SERVICE_ACCOUNT), declared(CLUSTER, Per.SERVICE_ACCOUNT)) == (1, 0)
    assert (declared(MACHINE, Per.AGENT), declared(CLUSTER, Per.AGENT)) == (1, 1)


def test_an_agents_own_counter_is_the_same_whatever_service_account_it_calls_with() -> None:
    book = Scene(quotas=(quota(per=(Per.AGENT,)),), resources=CLUSTER).book()
    elsewhere = replace(RESEARCHER, service_account="batch")
    counters = {book.covers(caller, "openai", "m")[0].counter for caller in (RESEARCHER, elsewhere)}
    assert counters == set(book.declared_counters())

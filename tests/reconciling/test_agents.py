"""What an AgentIdentity lacks, and what its status says: from a cluster as values to actions."""

from typing import Any

import pytest

from reconciling.builders import HOUR, NOW, OTHER, TEAM, World, actions, conditions, only
from tollway.identity.rotation import renew_at
from tollway_operator.cluster import kinds
from tollway_operator.names import ROOTS_FILE
from tollway_operator.reconciling.actions import AUTHORITY_PLACE, Delete, IssueSVID, Place, Say, ShowBundle, WriteStatus
from tollway_operator.reconciling.agents import plan_agents
from tollway_operator.watching.facts import SecretFact

SECRET = {"delivery": "Secret"}
ID = f"spiffe://cluster.local/ns/{TEAM}/sa/researcher/agent/researcher"

Json = Any


def issued(world: World, now: int = NOW, **changed: Any) -> list[IssueSVID]:
    return only(plan_agents(world.snapshot(**changed), TEAM, now), IssueSVID)


def status(world: World, now: int = NOW, **changed: Any) -> Json:
    """The status that is written; empty where none is."""
    written = only(plan_agents(world.snapshot(**changed), TEAM, now), WriteStatus)
    return written[0].status if written else {}


# --- when a certificate is issued ----------------------------------------------------------------------------------


def test_an_identity_without_a_certificate_gets_one() -> None:
    world = World()
    me = world.agent(svid=SECRET)
    [issue] = issued(world)
    assert (issue.name, issue.namespace, issue.spiffe_id) == ("tollway-svid-researcher", TEAM, ID)
    assert (issue.replaces, issue.owner, issue.ttl_ms) == ("", me, HOUR)


def test_status_waits_for_what_comes_of_it() -> None:
    world = World()
    world.agent(svid=SECRET)
    assert not only(plan_agents(world.snapshot(), TEAM, NOW), WriteStatus)


def test_one_that_holds_is_left_alone_until_its_renewal_and_looked_at_then() -> None:
    world = World()
    world.agent(svid=SECRET)
    world.svid(at=NOW)
    held = world.store.get(kinds.SECRET, SecretFact, "tollway-svid-researcher", TEAM)
    assert held is not None
    assert held.svid is not None
    due = renew_at(held.svid.validity.not_before, held.svid.validity.not_after, held.svid.spread)
    assert NOW + 0.28 * HOUR < due < NOW + 0.41 * HOUR
    assert plan_agents(world.snapshot(), TEAM, NOW).again_at == due
    assert not issued(world, due - 1)
    [again] = issued(world, due)
    assert again.replaces == held.me.resource_version


@pytest.mark.parametrize(
    "held",
    [
        {"spiffe_id": f"spiffe://cluster.local/ns/{TEAM}/sa/other/agent/researcher"},
        {"owner": "uid-of-an-earlier-one"},
        {"authority": OTHER},
        {"tls.crt": b"no certificate"},
        {"tls.key": b""},
    ],
    ids=["another identity", "another owner", "an authority that nobody knows", "no certificate", "no key"],
)
def test_one_that_is_not_what_is_wanted_is_replaced_under_its_version(held: Json) -> None:
    world = World()
    world.agent(svid=SECRET)
    me = world.svid(at=NOW, **held)
    [issue] = issued(world)
    assert issue.replaces == me.resource_version


def test_one_of_another_key_type_is_replaced() -> None:
    world = World()
    world.agent(svid={**SECRET, "keyType": "ECDSAP384"})
    world.svid(at=NOW)
    assert issued(world)


def test_a_changed_bundle_is_shown_without_a_new_certificate() -> None:
    world = World()
    world.agent(svid=SECRET)
    me = world.svid(at=NOW, **{"bundle.json": b"{}"})
    plan = plan_agents(world.snapshot(), TEAM, NOW)
    [show] = only(plan, ShowBundle)
    assert (show.me, set(show.files)) == (me, {"bundle.json"})
    assert not only(plan, IssueSVID)


def test_nothing_is_issued_before_there_is_an_authority() -> None:
    world = World()
    world.agent(svid=SECRET)
    assert not actions(plan_agents(world.snapshot(trust=None), TEAM, NOW))


def test_where_delivery_is_by_pod_certificate_a_secret_of_ours_is_removed() -> None:
    world = World()
    world.agent(svid={"delivery": "PodCertificate"})
    me = world.svid(at=NOW)
    [delete] = only(plan_agents(world.snapshot(), TEAM, NOW), Delete)
    assert delete.me == me


@pytest.mark.parametrize(
    ("delivery", "served", "listed", "resolved"),
    [
        ("Auto", True, True, "PodCertificate"),
        ("Auto", False, True, "Secret"),
        ("Auto", False, False, "Secret"),
        ("PodCertificate", False, True, "PodCertificate"),
        ("Secret", True, False, "Secret"),
    ],
)
def test_auto_takes_the_first_that_the_cluster_can_do(delivery: str, served: bool, listed: bool, resolved: str) -> None:
    world = World(secrets=listed)
    world.agent(svid={"delivery": delivery})
    if resolved == "Secret" and listed:
        assert issued(world, pod_certificates=served)
    else:
        assert status(world, pod_certificates=served).get("svid", {}).get("delivery") == resolved


# --- why none is issued --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "spec", "reason", "says"),
    [
        (World(enforced=False), {}, "NamespaceNotEnforced", "label it"),
        (World(), {"suspended": True}, "Suspended", "set suspended to false"),
        (World(secrets=False), {}, "NamespaceNotListed", f"add {TEAM} to secretNamespaces"),
        (World(), {"serviceAccountName": None}, "NoPods", "set serviceAccountName"),
    ],
    ids=["not enforced", "suspended", "not listed", "service account unknown"],
)
def test_what_bars_an_identity_is_said_with_the_way_out(world: World, spec: Json, reason: str, says: str) -> None:
    world.agent(svid=SECRET, **spec)
    assert not issued(world)
    found = status(world)
    assert conditions(found)["Issued"] == ("False", reason)
    assert conditions(found)["Ready"] == ("False", reason)
    assert says in next(each["message"] for each in found["conditions"] if each["type"] == "Issued")


def test_a_suspended_identity_keeps_what_it_has_and_does_not_get_it_renewed() -> None:
    world = World()
    world.agent(svid=SECRET, suspended=True)
    world.svid(at=NOW)
    later = NOW + HOUR // 2
    assert not issued(world, later)
    assert not only(plan_agents(world.snapshot(), TEAM, later), Delete)


def test_pods_of_several_service_accounts_cannot_share_a_secret() -> None:
    world = World()
    world.agent(svid=SECRET, serviceAccountName=None)
    world.pod("pod-1", "one")
    assert [issue.spiffe_id for issue in issued(world)] == [ID.replace("sa/researcher", "sa/one")]
    world.pod("pod-2", "two")
    assert conditions(status(world))["Issued"] == ("False", "SeveralServiceAccounts")


def test_what_the_server_has_against_a_secret_is_said_on_the_identity() -> None:
    world = World()
    world.agent(svid=SECRET)
    failures = {Place("Secret", TEAM, "tollway-svid-researcher"): "the API server refused it (403): no"}
    found = status(world, failures=failures)
    assert conditions(found)["Issued"] == ("False", "IssueFailed")
    assert issued(world, failures=failures), "and it is tried again"


def test_R09_a_certificate_that_could_not_be_renewed_is_said_before_it_ends() -> None:
    world = World()
    world.agent(svid=SECRET)
    world.svid(at=NOW)
    failures = {Place("Secret", TEAM, "tollway-svid-researcher"): "refused"}
    at = {
        moment: conditions(status(world, NOW + moment, failures=failures))["Issued"]
        for moment in (2_000_000, 2_700_000, HOUR + 1)
    }
    assert list(at.values()) == [("True", "RenewalFailing"), ("True", "RenewalOverdue"), ("False", "IssueFailed")]


def test_an_authority_that_cannot_work_is_said_on_the_identities() -> None:
    world = World()
    world.agent(svid=SECRET)
    found = status(world, trust=None, failures={AUTHORITY_PLACE: "the root has expired: bring a new one"})
    assert conditions(found)["Issued"] == ("False", "AuthorityFailed")
    assert "bring a new one" in found["conditions"][1]["message"]


def test_an_identity_that_cannot_be_read_says_what_is_wrong() -> None:
    world = World()
    world.agent(svid={"ttl": "5h"})
    found = status(world)
    assert conditions(found)["Accepted"] == ("False", "Invalid")
    assert "svid.ttl" in found["conditions"][0]["message"]


# --- pods ----------------------------------------------------------------------------------------------------------


def test_pods_that_run_are_counted_and_those_that_are_ready() -> None:
    world = World()
    world.agent()
    world.pod("pod-1")
    world.pod("pod-2", ready=False)
    world.pod("pod-3", phase="Succeeded")
    world.pod("pod-4", app="writer")
    world.pod("pod-5", account="writer")
    assert status(world)["pods"] == {"matched": 2, "ready": 1}


def test_a_pod_of_two_identities_is_the_older_ones_and_both_say_so() -> None:
    world = World()
    world.agent("old")
    world.agent("young", created="2026-11-02T00:00:00Z")
    world.pod()
    written = only(plan_agents(world.snapshot(), TEAM, NOW), WriteStatus)
    found = {each.me.name: each.status for each in written}
    assert [found[name]["pods"]["matched"] for name in ("old", "young")] == [1, 0]
    for name, other in (("old", "young"), ("young", "old")):
        accepted = found[name]["conditions"][0]
        assert (accepted["status"], accepted["reason"]) == ("True", "Overlaps")
        assert other in accepted["message"]


# --- what is written -----------------------------------------------------------------------------------------------


def test_what_status_says_already_is_not_written_again_and_a_transition_keeps_its_moment() -> None:
    world = World()
    world.agent(svid=SECRET)
    world.svid(at=NOW)
    first = status(world)
    assert conditions(first)["Ready"] == ("True", "NoPods")
    world.agent(svid=SECRET, status=first)
    assert not actions(plan_agents(world.snapshot(), TEAM, NOW + 60_000))
    world.pod()
    second = status(world, NOW + 60_000)
    moments = [{each["type"]: each["lastTransitionTime"] for each in found["conditions"]} for found in (first, second)]
    assert moments[0] == moments[1]
    assert conditions(second)["Ready"] == ("True", "Ready")


def test_an_event_is_said_when_a_certificate_was_issued_and_when_it_cannot_be() -> None:
    world = World()
    world.agent(svid=SECRET)
    world.svid(at=NOW)
    [event] = only(plan_agents(world.snapshot(), TEAM, NOW), Say)
    assert (event.type, event.reason) == ("Normal", "Issued")
    world.agent(svid=SECRET, suspended=True, status=status(world))
    [event] = only(plan_agents(world.snapshot(), TEAM, NOW), Say)
    assert (event.type, event.reason) == ("Warning", "Suspended")


def test_an_identity_that_waits_for_its_first_pod_is_no_event() -> None:
    world = World()
    world.agent()
    plan = plan_agents(world.snapshot(), TEAM, NOW)
    assert conditions(only(plan, WriteStatus)[0].status)["Issued"] == ("Unknown", "NoPods")
    assert not only(plan, Say)


def test_the_bundle_beside_a_certificate_that_is_not_renewed_is_kept_right() -> None:
    world = World()
    world.agent(svid=SECRET, suspended=True)
    me = world.svid(NOW, **{ROOTS_FILE: b"of before"})
    [show] = only(plan_agents(world.snapshot(), TEAM, NOW), ShowBundle)
    assert (show.me, list(show.files)) == (me, [ROOTS_FILE])


def test_that_calls_could_go_around_the_gateway_is_said_until_egress_is_strict() -> None:
    world = World()
    world.agent(svid=SECRET)
    world.svid(NOW)
    world.pod()

    def said() -> str:
        [ready] = [each for each in status(world)["conditions"] if each["type"] == "Ready"]
        assert ready["status"] == "True"
        return str(ready["message"])

    assert "label the namespace tollway.dev/egress=strict" in said()
    world.put(kinds.NAMESPACE, TEAM, "", labels={"tollway.dev/enforce": "enabled", "tollway.dev/egress": "strict"})
    assert "egress" not in said()

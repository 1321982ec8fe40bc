"""A change of the root as a table: every state and every event, the ages, and what a person is told."""

from dataclasses import replace
from itertools import product

import pytest

from rotating.root_change_world import A_GATEWAY, AN_AGENT, FOREVER, HOUR, MINUTE, NOW
from tollway.identity.root_change import (
    COMMANDS,
    DRAIN_MS,
    MOVES,
    NO_CHANGE,
    REFUSALS,
    RULES,
    SILENCE_MS,
    Change,
    Event,
    Observed,
    Phase,
    Proof,
    RefusedCommand,
    Root,
    Sidecar,
    Situation,
    after,
    commanded,
    next_event,
    signer_of,
    standing,
)
from tollway.identity.rotation import MAX_LEAF_TTL_MS, PUBLISH_MS, Validity
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, workload_id

DAY = 24 * HOUR
NEW = Proof("both roots", "all signing CAs")
FOLLOWED = Observed({"gw-0": NEW, "gw-1": NEW}, {"team-a/one": Sidecar(NEW.bundle)}, {"ConfigMap team-a": NEW.bundle})
SITUATION = Situation(FOREVER, True, NEW, FOLLOWED, NOW)
NOBODY = Observed({}, {}, {})

# One line for each phase: P prepare, A activate, B abort | gateways trust, doubt, sidecars trust, all followed |
# root old, very old, ends | leaves expired.   "." nothing changes, "!" refused, else the first letter of what follows.
GRID = """
              P A B   t d s f   o v e   x
    None      P ! !   . . . .   P . .   .
    Prepared  . ! N   T . . .   . . D   .
    Trusted   . A N   . P . .   . A D   .
    Active    ! . K   . . D .   . . D   .
    Draining  ! . K   . . . .   . . .   R
    Removed   P ! !   . . . N   P . .   .
    RollingBack ! ! . . . . .   . . .   N
"""
LETTERS = {
    "N": Phase.NONE,
    "P": Phase.PREPARED,
    "T": Phase.TRUSTED,
    "A": Phase.ACTIVE,
    "D": Phase.DRAINING,
    "R": Phase.REMOVED,
    "K": Phase.ROLLING_BACK,
}
CELLS = {
    (Phase(row.split()[0]), event): cell
    for row in GRID.strip().splitlines()[1:]
    for event, cell in zip(Event, row.split()[1:], strict=True)
}


def test_the_grid_has_every_phase_and_every_event():
    assert set(CELLS) == set(product(Phase, Event))


@pytest.mark.parametrize(("phase", "event"), CELLS, ids=lambda each: each.name)
def test_R11_every_event_in_every_phase_leads_where_the_grid_says(phase, event):
    before, cell = Change(phase, NOW), CELLS[phase, event]
    if cell == "!":
        with pytest.raises(RefusedCommand):
            after(before, event, NOW + 5)
    elif cell == ".":
        assert after(before, event, NOW + 5) is before
    else:
        expected = LETTERS[cell]
        assert after(before, event, NOW + 5) == (Change(expected, NOW + 5) if expected is not Phase.NONE else NO_CHANGE)


def test_only_commands_are_refused_and_nothing_both_moves_and_is_refused():
    assert {event for _, event in REFUSALS} <= COMMANDS
    assert not set(REFUSALS) & set(MOVES)


def test_R11_nobody_signs_with_a_root_that_is_not_in_the_bundle():
    assert set(RULES) == set(Phase)
    for rule in RULES.values():
        assert {rule.agents, rule.gateway} <= set(rule.bundle)


def test_R11_a_root_signs_only_after_a_phase_in_which_it_was_shown_and_goes_only_after_one_in_which_it_did_not_sign():
    for (before, event), phase in MOVES.items():
        if event is Event.ROOT_ENDS or phase is Phase.REMOVED:
            continue  # the first waits for the minute itself; in the second the roots change names
        signs_now, signed = signers(phase), signers(before)
        assert signs_now <= set(RULES[before].bundle)
        assert not signed - set(RULES[phase].bundle)
    assert signers(Phase.DRAINING) == {Root.NEXT}


def signers(phase):
    return {RULES[phase].agents, RULES[phase].gateway}


def test_agents_move_a_phase_before_the_gateway():
    order = (Phase.PREPARED, Phase.TRUSTED, Phase.ACTIVE, Phase.DRAINING)
    assert [RULES[phase].agents for phase in order] == [Root.CURRENT, Root.CURRENT, Root.NEXT, Root.NEXT]
    assert [RULES[phase].gateway for phase in order] == [Root.CURRENT, Root.CURRENT, Root.CURRENT, Root.NEXT]


def test_the_gateway_is_known_by_its_id_and_everybody_else_is_an_agent():
    active = Change(Phase.ACTIVE, NOW)
    assert signer_of(active, A_GATEWAY) is Root.CURRENT
    assert signer_of(active, AN_AGENT) is Root.NEXT
    assert signer_of(active, workload_id(DEFAULT_TRUST_DOMAIN, "team-a", "tollway-operator")) is Root.NEXT


# --- what is observed ------------------------------------------------------------------------------------------------

OLD = Proof("the current root", "its signing CAs")


@pytest.mark.parametrize(
    "observed",
    {
        "a gateway is silent": replace(FOLLOWED, gateways={"gw-0": NEW, "gw-1": None}),
        "a gateway has another bundle": replace(FOLLOWED, gateways={"gw-0": NEW, "gw-1": replace(NEW, bundle="old")}),
        "a gateway lacks a signing CA": replace(FOLLOWED, gateways={"gw-0": NEW, "gw-1": replace(NEW, issuers="old")}),
        "there is no gateway": replace(FOLLOWED, gateways={}),
        "pods that start would read the old bundle": replace(FOLLOWED, sources={"ConfigMap team-a": OLD.bundle}),
    }.items(),
    ids=lambda case: case[0],
)
def test_R10_the_new_root_is_not_trusted_while(observed):
    situation = replace(SITUATION, observed=observed[1])
    assert next_event(Change(Phase.PREPARED, NOW), situation) is None
    assert next_event(Change(Phase.TRUSTED, NOW), situation) is Event.GATEWAYS_DOUBT
    with pytest.raises(RefusedCommand, match="not every gateway"):
        commanded(Change(Phase.PREPARED, NOW), Event.ACTIVATE, situation)


def test_R10_sidecars_do_not_hold_up_agents_and_do_hold_up_the_gateway():
    situation = replace(SITUATION, observed=replace(FOLLOWED, sidecars={"team-a/one": Sidecar(None)}))
    assert next_event(Change(Phase.PREPARED, NOW), situation) is Event.GATEWAYS_TRUST
    assert next_event(Change(Phase.ACTIVE, NOW), situation) is None
    assert next_event(Change(Phase.ACTIVE, NOW), SITUATION) is Event.SIDECARS_TRUST


def test_a_pod_that_started_after_everybody_reads_the_new_root_is_not_waited_for_before_it_spoke():
    def event(sidecar):
        return next_event(active, replace(SITUATION, observed=replace(FOLLOWED, sidecars={"team-a/new": sidecar})))

    active = Change(Phase.ACTIVE, NOW)
    assert event(Sidecar(None, NOW + PUBLISH_MS)) is Event.SIDECARS_TRUST
    assert event(Sidecar(None, NOW + PUBLISH_MS - 1)) is None
    assert event(Sidecar("old", NOW + PUBLISH_MS)) is None


def test_a_cluster_without_agents_does_not_wait_for_them():
    situation = replace(SITUATION, observed=replace(FOLLOWED, sidecars={}))
    assert next_event(Change(Phase.ACTIVE, NOW), situation) is Event.SIDECARS_TRUST


def test_without_anything_that_was_observed_nothing_moves_towards_the_new_root():
    situation = replace(SITUATION, observed=NOBODY, now=NOW + DAY)
    assert next_event(Change(Phase.PREPARED, NOW), situation) is None


def test_trust_of_a_moment_is_not_activated():
    with pytest.raises(RefusedCommand, match="try again in 60 s"):
        commanded(Change(Phase.TRUSTED, NOW), Event.ACTIVATE, replace(SITUATION, now=NOW + PUBLISH_MS - 1))
    later = NOW + PUBLISH_MS
    activated = commanded(Change(Phase.TRUSTED, NOW), Event.ACTIVATE, replace(SITUATION, now=later))
    assert activated == Change(Phase.ACTIVE, later)


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.ROLLING_BACK])
def test_R10_a_root_stays_until_the_longest_certificate_under_it_has_expired(phase):
    change = Change(phase, NOW)
    assert DRAIN_MS > MAX_LEAF_TTL_MS
    assert next_event(change, replace(SITUATION, now=NOW + DRAIN_MS - 1)) is None
    assert next_event(change, replace(SITUATION, now=NOW + DRAIN_MS)) is Event.LEAVES_EXPIRED


def test_a_clock_that_was_set_back_only_prolongs_the_wait():
    assert next_event(Change(Phase.DRAINING, NOW), replace(SITUATION, now=NOW - DAY)) is None


# --- ages ------------------------------------------------------------------------------------------------------------

LIFE = Validity(NOW, NOW + 120 * DAY)
AGES = {
    "before 5/6 of its life nothing happens": (Phase.NONE, LIFE.at(5, 6) - 1, None),
    "at 5/6 another is prepared": (Phase.NONE, LIFE.at(5, 6), Event.ROOT_IS_OLD),
    "also where the last change is not proved to be over": (Phase.REMOVED, LIFE.at(5, 6), Event.ROOT_IS_OLD),
    "before 11/12 a trusted root waits for a person": (Phase.TRUSTED, LIFE.at(11, 12) - 1, None),
    "at 11/12 it is activated": (Phase.TRUSTED, LIFE.at(11, 12), Event.ROOT_IS_VERY_OLD),
    "one that is only prepared is not": (Phase.PREPARED, LIFE.at(11, 12), None),
    "silent pods are waited for": (Phase.ACTIVE, LIFE.not_after - MAX_LEAF_TTL_MS - 1, None),
    "until the end stops everybody else": (Phase.ACTIVE, LIFE.not_after - MAX_LEAF_TTL_MS, Event.ROOT_ENDS),
    "also where a gateway is silent": (Phase.PREPARED, LIFE.not_after - MAX_LEAF_TTL_MS, Event.ROOT_ENDS),
}
SILENT = Observed({"gw-0": NEW, "gw-1": None}, {"team-a/one": Sidecar(None)}, {})
TRUSTING = replace(SILENT, gateways={"gw-0": NEW})


@pytest.mark.parametrize(("phase", "now", "event"), AGES.values(), ids=AGES)
def test_a_root_is_changed_by_age(phase, now, event):
    observed = TRUSTING if phase is Phase.TRUSTED else SILENT
    assert next_event(Change(phase, NOW), Situation(LIFE, True, NEW, observed, now)) is event


def test_a_root_that_a_user_brought_is_never_replaced_unasked():
    assert next_event(NO_CHANGE, Situation(LIFE, False, NEW, FOLLOWED, LIFE.not_after)) is None


def test_R11_a_root_that_was_published_just_now_does_not_sign_even_if_the_other_ends():
    prepared = Change(Phase.PREPARED, LIFE.not_after)
    situation = Situation(LIFE, True, NEW, SILENT, LIFE.not_after + PUBLISH_MS - 1)
    assert next_event(prepared, situation) is None
    assert next_event(prepared, replace(situation, now=LIFE.not_after + PUBLISH_MS)) is Event.ROOT_ENDS


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DRAINING])
def test_R11_there_is_no_way_back_to_a_root_that_is_about_to_end(phase):
    late = Situation(LIFE, True, NEW, FOLLOWED, LIFE.not_after - 23 * HOUR)
    with pytest.raises(RefusedCommand, match="about to end"):
        commanded(Change(phase, NOW), Event.ABORT, late)
    early = replace(late, now=LIFE.not_after - 25 * HOUR)
    assert commanded(Change(phase, NOW), Event.ABORT, early).phase is Phase.ROLLING_BACK


def test_what_is_no_command_cannot_be_commanded():
    with pytest.raises(ValueError, match="not a command"):
        commanded(NO_CHANGE, Event.GATEWAYS_TRUST, SITUATION)


# --- what is told ----------------------------------------------------------------------------------------------------

PARTLY = Observed(
    {"gw-0": NEW, "gw-1": None},
    {"team-a/one": Sidecar(NEW.bundle), "team-a/two": Sidecar("old"), "team-b/three": Sidecar(None)},
    {"ConfigMap team-b": "old"},
)


@pytest.mark.parametrize(
    ("phase", "waiting"),
    [
        (Phase.NONE, ()),
        (Phase.PREPARED, ("gateway gw-1", "ConfigMap team-b")),
        (Phase.ACTIVE, ("sidecar team-a/two", "sidecar team-b/three", "ConfigMap team-b")),
        (Phase.DRAINING, ()),
        (Phase.REMOVED, ("gateway gw-1", "sidecar team-a/two", "sidecar team-b/three", "ConfigMap team-b")),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_who_is_waited_for_is_named(phase, waiting):
    told = standing(Change(phase, NOW), replace(SITUATION, observed=PARTLY, now=NOW + MINUTE))
    assert told.waiting_for == waiting
    assert all(name in told.message for name in waiting)
    assert not told.is_late


def test_a_pod_that_stays_silent_is_late_after_ten_minutes():
    situation = replace(SITUATION, observed=PARTLY, now=NOW + SILENCE_MS)
    assert standing(Change(Phase.ACTIVE, NOW), situation).is_late
    assert not standing(Change(Phase.DRAINING, NOW), situation).is_late


def test_of_very_many_silent_pods_ten_are_named_and_the_others_counted():
    observed = replace(FOLLOWED, sidecars={f"team-a/pod-{number:04}": Sidecar(None) for number in range(1000)})
    told = standing(Change(Phase.ACTIVE, NOW), replace(SITUATION, observed=observed))
    assert "sidecar team-a/pod-0009 and 990 more" in told.message
    assert len(told.waiting_for) == 1000


def test_a_refused_activation_names_who_has_not_proved():
    with pytest.raises(RefusedCommand, match=r"not every gateway .*: gateway gw-1, ConfigMap team-b"):
        commanded(Change(Phase.PREPARED, NOW), Event.ACTIVATE, replace(SITUATION, observed=PARTLY))


def test_a_change_that_no_gateway_can_prove_says_so():
    told = standing(Change(Phase.PREPARED, NOW), replace(SITUATION, observed=NOBODY))
    assert "No gateway is running" in told.message

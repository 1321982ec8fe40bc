"""While the root changes nobody is shown a certificate that he does not trust; and each wait is needed for that."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotating.root_change_world import BrokenHandshake, World
from tollway.identity import root_change
from tollway.identity.root_change import MOVES, Event, Phase

STEPS = 400


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64))
def test_R10_R11_whatever_happens_no_certificate_is_shown_to_who_does_not_trust_it(seed):
    World(Random(seed)).run(STEPS)


def test_R11_the_simulation_goes_through_every_move_that_is_not_of_age():
    taken = set()
    for seed in range(60):
        world = World(Random(seed))
        world.run(STEPS)
        taken |= world.moves
    by_age = {Event.ROOT_IS_OLD, Event.ROOT_IS_VERY_OLD, Event.ROOT_ENDS}
    expected = {(before, after) for (before, event), after in MOVES.items() if event not in by_age}
    assert expected <= taken


def always(_change, _situation):
    return True


def never(_change, _situation):
    return False


WITHOUT = {
    "the wait for the gateways": {Event.GATEWAYS_TRUST: always, Event.GATEWAYS_DOUBT: never},
    "the wait for the sidecars": {Event.SIDECARS_TRUST: always},
    "the wait for the last certificate": {Event.LEAVES_EXPIRED: always},
}


@pytest.mark.parametrize("changed", WITHOUT.values(), ids=WITHOUT)
def test_R10_without_each_wait_the_same_simulation_breaks_handshakes(monkeypatch, changed):
    mutant = tuple((event, changed.get(event, predicate)) for event, predicate in root_change._HAPPENS)
    monkeypatch.setattr(root_change, "_HAPPENS", mutant)
    assert breaks()


def test_R10_without_the_minute_after_trust_a_pod_that_starts_is_overlooked(monkeypatch):
    monkeypatch.setattr(root_change, "_has_settled", always)
    assert breaks()


def test_R11_a_rollback_that_forgot_the_new_root_at_once_would_break_handshakes(monkeypatch):
    monkeypatch.setattr(root_change, "MOVES", {**MOVES, (Phase.ACTIVE, Event.ABORT): Phase.NONE})
    assert breaks()


def test_R10_agents_that_did_not_wait_for_active_would_break_handshakes(monkeypatch):
    early = replace(root_change.RULES[Phase.PREPARED], agents=root_change.Root.NEXT)
    monkeypatch.setattr(root_change, "RULES", {**root_change.RULES, Phase.PREPARED: early})
    assert breaks()


def breaks():
    """Whether one of many runs breaks; the first few hundred are enough."""
    for seed in range(400):
        try:
            World(Random(seed)).run(STEPS)
        except BrokenHandshake:
            return True
    return False

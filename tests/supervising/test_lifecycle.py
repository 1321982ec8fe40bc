"""The life of one process, swept: every state, every event."""

from itertools import product

import pytest

from tollway_cli.standalone.lifecycle import TRANSITIONS, Action, BackOff, Event, State, step

EVERY = list(product(State, Event))


@pytest.mark.parametrize(("state", "event"), EVERY, ids=lambda value: value.name.lower())
def test_what_the_table_does_not_name_changes_nothing(state: State, event: Event) -> None:
    if (state, event) not in TRANSITIONS:
        assert step(state, event) == (state, Action.NONE)
    else:
        assert step(state, event) == TRANSITIONS[state, event]


@pytest.mark.parametrize("event", list(Event), ids=lambda value: value.name.lower())
def test_a_stopped_process_stays_stopped(event: Event) -> None:
    assert step(State.STOPPED, event) == (State.STOPPED, Action.NONE)


@pytest.mark.parametrize("state", list(State), ids=lambda value: value.name.lower())
def test_from_every_state_a_stop_leads_to_the_end(state: State) -> None:
    state, _ = step(state, Event.STOP)
    for event in (Event.GRACE_OVER, Event.EXITED):
        state, _ = step(state, event)
    assert state is State.STOPPED


def test_a_process_that_was_told_to_stop_is_never_started_again() -> None:
    reachable, seen = {State.STOPPING, State.STOPPED}, set()
    while reachable - seen:
        state = (reachable - seen).pop()
        seen.add(state)
        for event in Event:
            following, action = step(state, event)
            assert action is not Action.SPAWN
            reachable.add(following)


def test_a_process_that_ends_by_itself_is_started_again_after_its_back_off() -> None:
    state, action = step(State.RUNNING, Event.EXITED)
    assert action is Action.BACK_OFF
    assert step(state, Event.DUE) == (State.RUNNING, Action.SPAWN)


def test_one_that_outlives_its_grace_is_killed() -> None:
    state, action = step(State.RUNNING, Event.STOP)
    assert action is Action.TERMINATE
    assert step(state, Event.GRACE_OVER)[1] is Action.KILL


def test_the_back_off_doubles_up_to_its_most() -> None:
    back_off = BackOff(first=0.5, most=3.0)
    assert [back_off.delay(failures) for failures in (1, 2, 3, 4, 5, 2000)] == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_after_a_good_run_the_back_off_starts_again() -> None:
    back_off = BackOff(well_after=10.0)
    assert back_off.failures(before=7, ran_for=9.9) == 8
    assert back_off.failures(before=7, ran_for=10.0) == 1

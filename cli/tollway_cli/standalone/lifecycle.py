"""The life of one supervised process, as a table: every state, every event, what to do.

Pure: `supervisor` feeds it events and carries out the actions.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class State(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    """It ended by itself and is started again when its back-off is over."""
    STOPPING = "stopping"
    STOPPED = "stopped"


class Event(StrEnum):
    START = "start"
    EXITED = "exited"
    DUE = "due"
    """The back-off is over."""
    STOP = "stop"
    GRACE_OVER = "grace over"


class Action(StrEnum):
    NONE = "none"
    SPAWN = "spawn"
    BACK_OFF = "back off"
    TERMINATE = "terminate"
    KILL = "kill"


TRANSITIONS: Final[dict[tuple[State, Event], tuple[State, Action]]] = {
    (State.IDLE, Event.START): (State.RUNNING, Action.SPAWN),
    (State.IDLE, Event.STOP): (State.STOPPED, Action.NONE),
    (State.RUNNING, Event.EXITED): (State.WAITING, Action.BACK_OFF),
    (State.RUNNING, Event.STOP): (State.STOPPING, Action.TERMINATE),
    (State.WAITING, Event.DUE): (State.RUNNING, Action.SPAWN),
    (State.WAITING, Event.STOP): (State.STOPPED, Action.NONE),
    (State.STOPPING, Event.EXITED): (State.STOPPED, Action.NONE),
    (State.STOPPING, Event.GRACE_OVER): (State.STOPPING, Action.KILL),
}


def step(state: State, event: Event) -> tuple[State, Action]:
    """What `event` makes of `state`. An event that comes too late (a timer, a second stop) changes nothing."""
    return TRANSITIONS.get((state, event), (state, Action.NONE))


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before a process that ended by itself is started again. Seconds.

    `most` is what a call may be refused for after the fault that ended it is gone, next to the start itself.
    """

    first: float = 0.2
    most: float = 2.0
    well_after: float = 5.0
    """A run of at least this long counts as well: the next end starts from `first` again."""

    def failures(self, before: int, ran_for: float) -> int:
        """How many short runs in a row there are now, after one of `ran_for` seconds."""
        return 1 if ran_for >= self.well_after else before + 1

    def delay(self, failures: int) -> float:
        return min(self.most, self.first * 2.0 ** min(failures - 1, 30))

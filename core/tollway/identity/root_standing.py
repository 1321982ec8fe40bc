"""How a change of the root stands, as people and programs read it, on one machine and in a cluster: stable."""

import msgspec

from tollway.identity.root_change import Phase, Standing


class RootStanding(msgspec.Struct, frozen=True):
    """Times in ms since the epoch. `answered`: the id of the last command of a person, `refused`: what was against it,
    if anything. `late`: somebody has been waited for too long."""

    phase: str = Phase.NONE
    since: int = 0
    message: str = ""
    waiting_for: tuple[str, ...] = ()
    late: bool = False
    answered: str = ""
    refused: str = ""


def told(found: Standing, since: int, answered: str, refused: str) -> RootStanding:
    return RootStanding(found.phase, since, found.message, found.waiting_for, found.is_late, answered, refused)


def read_standing(content: str | bytes) -> RootStanding | None:
    """What somebody told; None for what is nothing of the kind."""
    try:
        return msgspec.json.decode(content, type=RootStanding)
    except msgspec.DecodeError:
        return None

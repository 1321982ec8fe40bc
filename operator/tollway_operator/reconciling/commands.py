"""A person's command about the root, as an annotation says it: one word, and anything after a blank that tells it from
the same word written before."""

from tollway.identity.root_change import COMMANDS, Event, RefusedCommand
from tollway.identity.root_standing import RootStanding


def unanswered(command: str, root: RootStanding) -> str:
    """The command, unless it was answered already; empty for none."""
    return command if command.split() and command != root.answered else ""


def event_of(command: str) -> Event:
    """Raises `RefusedCommand` for a word that is none."""
    word = command.split()[0]
    if word not in COMMANDS:
        raise RefusedCommand(f"{word[:40]!r} is no command: it must be one of {', '.join(sorted(COMMANDS))}")
    return Event(word)

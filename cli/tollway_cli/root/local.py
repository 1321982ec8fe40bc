"""On this machine: orders and how it stands are files in the state directory, which a running `tollway up` follows."""

import secrets
import time
from pathlib import Path
from typing import Final

from tollway.identity.root_standing import RootStanding
from tollway_cli.failures import AnswerIsNo, Broken
from tollway_cli.standalone.root_changing import Order, give, read_stands
from tollway_cli.views.instance import find

_PATIENCE_S: Final = 15.0
_POLL_S: Final = 0.05


def status(state: Path) -> RootStanding:
    """Raises `Broken` where no instance is running."""
    find(state)
    found = read_stands(state)
    if found is None:
        raise Broken(f"the instance with the state {state} has not said yet how it stands: try again in a moment")
    return found


def command(state: Path, action: str) -> RootStanding:
    """Give a command, and wait until it is answered. Raises `AnswerIsNo` with the refusal, and `Broken`."""
    find(state)
    order = Order(secrets.token_hex(8), action)
    try:
        give(state, order)
    except OSError as error:
        raise Broken(f"the command cannot be given in {state}: {error.strerror}") from error
    answer = _answer(state, order)
    if answer.refused:
        raise AnswerIsNo(answer.refused)
    return answer


def _answer(state: Path, order: Order) -> RootStanding:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found = read_stands(state)
        if found is not None and found.answered == order.id:
            return found
        time.sleep(_POLL_S)
    raise Broken("the instance does not answer: see what `tollway up` says, and `tollway doctor`")

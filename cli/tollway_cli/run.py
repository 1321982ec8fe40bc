"""`tollway run`: a program with an agent's base URLs, as the webhook would give them to its pod."""

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tollway_cli.failures import Broken, WrongUsage
from tollway_cli.views.instance import Ready, ReadyAgent


def agent_of(ready: Ready, name: str) -> ReadyAgent:
    """Raises `WrongUsage` that lists the agents there are."""
    if name in ready.agents:
        return ready.agents[name]
    known = ", ".join(sorted(ready.agents)) or "none: declare an AgentIdentity"
    raise WrongUsage(f"there is no agent {name} in the running instance. Its agents: {known}")


def environment(given: Mapping[str, str], agent: ReadyAgent) -> dict[str, str]:
    """The agent's variables win: a base URL or a key of the caller's own would lead around the gateway."""
    return {**given, **agent.env}


def run(agent: ReadyAgent, command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Become `command`: its exit code, its signals and its terminal are its own. Raises `WrongUsage`, `Broken`."""
    program = shutil.which(command[0], path=environ.get("PATH"))
    if program is None:
        raise WrongUsage(f"there is no program {command[0]}: is it spelled right, and on the PATH?")
    try:
        os.execve(program, list(command), environment(environ, agent))  # noqa: S606 - what the caller asked for
    except OSError as error:
        raise Broken(f"{program} cannot be started: {error.strerror}") from error

"""The command `tollway`. Here, and nowhere else in this package, the environment and the clock are read: every command
gets them as click's object.
"""

import os
import random
import sys
import time
from importlib.metadata import version
from typing import Final

import click

from tollway_cli.commands import looking, mending, running
from tollway_cli.failures import CommandFailed
from tollway_cli.surroundings import Surroundings

_COMMANDS: Final = (
    running.up,
    running.run,
    running.demo,
    looking.limits,
    looking.ledger,
    looking.explain,
    looking.top,
    looking.prices,
    looking.render,
    mending.doctor,
    mending.root,
)
EXIT_CODES: Final = """\b
Exit codes:
  0  fine
  1  the answer is no: an unknown call, a refused request, counters that do not add up, unusable resources
  2  wrong usage
  3  something is broken, or no instance is running
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("tollway"), prog_name="tollway")
def tollway() -> None:
    """Attested identities for AI agents, and no model call without one or beyond its budget.

    On one machine: `tollway up` serves the agents, providers and quotas of a directory, `tollway run` starts a program
    as one of the agents, and `limits`, `ledger` and `explain` say what was spent and why a call was refused.
    `tollway demo` shows all of it without a key and without a network.

    In a cluster the same commands look through your kubeconfig: with --cluster, or where no instance runs on this
    machine. `tollway doctor` says what is wrong, here and there.
    """


for _command in _COMMANDS:
    tollway.add_command(_command)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def up_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _surroundings() -> Surroundings:
    return Surroundings(os.environ, now_ms, up_ms, random.random)


def main() -> None:
    """The entry point of the command; never returns."""
    try:
        code = tollway.main(prog_name="tollway", standalone_mode=False, obj=_surroundings())
    except CommandFailed as failure:
        click.echo(f"tollway: {failure}", err=True)
        code = failure.exit_code
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        # Whoever read our answer has seen enough. Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()

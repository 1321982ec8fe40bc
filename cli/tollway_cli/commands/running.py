"""Commands that run something: an instance on this machine, a program as one of its agents, the demo."""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from tollway_cli.commands.options import STATE
from tollway_cli.failures import WrongUsage
from tollway_cli.standalone.state import default_state
from tollway_cli.standalone.workers import MOST as MOST_WORKERS
from tollway_cli.surroundings import Surroundings


@click.command(short_help="Serve the resources of a directory.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Where the resources are: all its *.yaml, *.yml and *.json files, not recursive.  [default: this directory]",
)
@STATE
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME/KEY=env:VAR",
    help="Take this key of a Secret (in the root namespace) from a variable instead of a file. Repeatable; a provider "
    "whose variable is not set is not served, the others are.",
)
@click.option(
    "--upstream-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Authorities (PEM) that may vouch for providers, beside this machine's own ($SSL_CERT_FILE or the system's).",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write this file when everything serves, and remove it at the end. STATE/ready.json is always written.",
)
@click.option(
    "--uncovered",
    type=click.Choice(["allow", "deny"]),
    default="deny",
    show_default=True,
    help="What happens to calls that no enforced limit in tokens or cost covers.",
)
@click.option("--store", metavar="URL", help="Where the ledger is: sqlite:///PATH.  [default: in the state directory]")
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=1,
    show_default=True,
    help="How many processes decide, on one ledger. One is the least work per call; more are for machines that have "
    "cores to spare.",
)
@click.pass_obj
def up(
    here: Surroundings,
    config: Path,
    state: Path,
    secrets: Sequence[str],
    upstream_ca: Path | None,
    ready_file: Path | None,
    uncovered: str,
    store: str | None,
    workers: int,
) -> None:
    """Serve the resources of a directory on this machine.

    Starts the gateway Envoy, the process that decides (or several: --workers), and one sidecar Envoy per AgentIdentity,
    each with an SVID of its own, and keeps them running. Everything listens on loopback or on sockets of yours alone.

    Changes of the files are in force within a second. A file that cannot be used changes nothing: what was in force
    stays in force, and the trouble is said on stderr. SIGHUP reads the files again; SIGINT and SIGTERM stop.

    \b
    Example:
      tollway up --config ./resources --secret openai-key/api-key=env:OPENAI_API_KEY
    """
    from tollway_cli.standalone.given_secrets import read_options

    given, absent = read_options(secrets, here.environ)
    ledger = _ledger_of(store)
    from tollway_cli.standalone.up import UpOptions
    from tollway_cli.standalone.up import up as serve

    os.umask(0o077)
    options = UpOptions(
        config=config.absolute(),
        state=state,
        ready_file=ready_file.absolute() if ready_file is not None else None,
        ledger=ledger,
        uncovered=uncovered,
        secrets=given,
        absent=absent,
        environ=dict(here.environ),
        upstream_ca=_checked_authorities(upstream_ca),
        workers=workers,
        booted_at=here.now_ms() - here.up_ms(),
        names_state=state != default_state(here.environ),
    )
    serve(options, here.now_ms, here.random)


def _checked_authorities(file: Path | None) -> Path | None:
    import ssl

    if file is None:
        return None
    try:
        ssl.create_default_context(cafile=file)
    except (ssl.SSLError, OSError) as error:
        raise WrongUsage(f"--upstream-ca {file}: is no file of certificates in PEM ({error})") from None
    return file.absolute()


def _ledger_of(store: str | None) -> Path | None:
    if store is None:
        return None
    path = store.removeprefix("sqlite://")
    if path == store:
        raise WrongUsage(f"--store {store.partition(':')[0]}:…: only sqlite:///PATH for now; other stores come later")
    if not path.startswith("/") or path == "/":
        raise WrongUsage("--store: write an absolute path, as in sqlite:///var/lib/tollway/ledger.sqlite")
    return Path(path)


@click.command(
    short_help="Run a program as an agent.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--agent", required=True, metavar="NS/NAME", help="The AgentIdentity that the program is.")
@STATE
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@click.pass_obj
def run(here: Surroundings, agent: str, state: Path, command: Sequence[str]) -> None:
    """Run a program as an agent of the running instance.

    Sets the variables that point the official SDKs at the agent's sidecar (OPENAI_BASE_URL, …), and a placeholder
    where an SDK wants a key before it starts. They replace variables of these names that you have set: with a base URL
    or a key of your own the calls would go around the gateway. The program's exit code is passed on.

    \b
    Example:
      tollway run --agent team-a/researcher -- python agent.py
    """
    from tollway_cli import run as injection
    from tollway_cli.views.instance import find

    injection.run(injection.agent_of(find(state), agent), command, here.environ)


@click.command(short_help="See budgets being spent and kept, without a key.")
@click.option("--json", "as_json", is_flag=True, help="Write what was seen as JSON, and nothing else.")
@click.pass_obj
def demo(here: Surroundings, as_json: bool) -> None:
    """See budgets being spent and kept: no key and no network needed, about half a minute.

    Starts an instance in a temporary directory with two built-in providers that speak the real wire formats, and two
    agents on the official SDKs of OpenAI and Anthropic: each under a limit of its own, both under a shared budget,
    spending until no further call fits. Ends with the sums by agent, by provider and by limit: what the ledger says,
    what the SDKs saw and what the providers served. Exit code 0 only if they agree and no limit was passed.

    \b
    --json is a stable interface; money is in integer nano-USD:
      adds_up, verified, seconds, budget (the shared one's amount)
      ledger, sdk, provider   the sums over all: calls, input_tokens, output_tokens, cost
      agents                  agent, provider, model, ledger, sdk, refusal, ended_by
      providers               provider, ledger, log
      limits                  quota, limit, unit, agents, amount, used, held, sum_of_calls
      agent, model, refusal   those of the first of agents
    """
    from tollway_cli.demo.run import run_demo

    os.umask(0o077)
    run_demo(as_json, dict(here.environ), here.now_ms)

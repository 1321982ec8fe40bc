"""The command `tollway`: names, options and help. Each command imports what it needs when it runs, so that looking at a
running instance starts fast. Here, and nowhere else in this package, the environment and the clock are read.
"""

import contextlib
import functools
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec

import click

from tollway_cli.failures import Broken, CommandFailed, WrongUsage
from tollway_cli.place import InCluster, Place, Said, place
from tollway_cli.standalone.workers import MOST as MOST_WORKERS

if TYPE_CHECKING:
    from tollway.identity.root_standing import RootStanding
    from tollway_cli.views.instance import Instance
    from tollway_cli.views.output import Form

P = ParamSpec("P")

EXIT_CODES: Final = """\b
Exit codes:
  0  fine
  1  the answer is no: an unknown call, a refused request, counters that do not add up, unusable resources
  2  wrong usage
  3  something is broken, or no instance is running
"""
_SPAN: Final = re.compile(r"(\d{1,9})(s|m|h|d)", re.ASCII)
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def default_state() -> Path:
    from tollway_cli.standalone import state

    return state.default_state(os.environ)


def _chosen_state(_: click.Context, __: click.Parameter, value: Path | None) -> Path:
    return (value or default_state()).absolute()


STATE: Final = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    callback=_chosen_state,
    help="The state directory of the instance.  [default: $XDG_STATE_HOME/tollway or ~/.local/state/tollway]",
)


_ABOUT: Final = (
    click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The instance of this machine with this state directory.  [default: the usual one, if an instance runs "
        "there; else the cluster of the current kubeconfig context]",
    ),
    click.option("--cluster", is_flag=True, help="The instance in the cluster of the current kubeconfig context."),
    click.option("--context", metavar="NAME", help="In a cluster: another kubeconfig context."),
    click.option(
        "--namespace", metavar="NAME", help="In a cluster: where Tollway is installed.  [default: tollway-system]"
    ),
)


def about(function: Callable[..., None]) -> Callable[..., None]:
    """Options that say which instance a command looks at, on this machine or in a cluster: its argument `said`."""

    @functools.wraps(function)
    def told(
        *args: object, state: Path | None, cluster: bool, context: str | None, namespace: str | None, **others: object
    ) -> None:
        function(*args, said=Said(state, cluster, context, namespace), **others)

    for option in reversed(_ABOUT):
        told = option(told)
    return told


def output(function: Callable[P, None]) -> Callable[P, None]:
    option = click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How the answer is written; json is a stable interface: money in integer nano-USD, times in milliseconds.",
    )
    return option(function)


def _form(name: str) -> "Form":
    from tollway_cli.views.output import Form

    return Form(name)


@contextlib.contextmanager
def _looking(said: Said) -> "Iterator[Place]":
    """Where to look. What fails where nobody said to look says so."""
    where = place(said, os.environ)
    try:
        yield where
    except Broken as failure:
        if isinstance(where, InCluster) and where.assumed:
            here = "No instance runs on this machine, so the cluster of your kubeconfig was looked at"
            raise Broken(f"{failure}. {here}; --state DIR names an instance here") from failure
        raise


@contextlib.contextmanager
def _instance(said: Said) -> "Iterator[Instance]":
    """The running instance. Raises `Broken` where there is none."""
    with _looking(said) as where:
        if isinstance(where, InCluster):
            from tollway_cli.cluster.connection import Session
            from tollway_cli.cluster.instance import InstanceOfCluster

            with Session(where) as session:
                yield InstanceOfCluster(session)
            return
        from tollway_cli.views.instance import InstanceHere, find

        yield InstanceHere(find(where.state))


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


@tollway.command(short_help="Serve the resources of a directory.")
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
def up(
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

    given, absent = read_options(secrets, os.environ)
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
        environ=dict(os.environ),
        upstream_ca=_checked_authorities(upstream_ca),
        workers=workers,
        booted_at=now_ms() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        names_state=state != default_state(),
    )
    serve(options, now_ms, random.random)


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


@tollway.command(
    short_help="Run a program as an agent.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--agent", required=True, metavar="NS/NAME", help="The AgentIdentity that the program is.")
@STATE
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
def run(agent: str, state: Path, command: Sequence[str]) -> None:
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

    injection.run(injection.agent_of(find(state), agent), command, os.environ)


@tollway.command(short_help="See budgets being spent and kept, without a key.")
@click.option("--json", "as_json", is_flag=True, help="Write what was seen as JSON, and nothing else.")
def demo(as_json: bool) -> None:
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
    run_demo(as_json, dict(os.environ), now_ms)


@tollway.command(short_help="Every counter: limit, used, held, resets at.")
@about
@output
def limits(said: Said, form: str) -> None:
    """Every counter: its limit, what is used and held, what is left, when it resets."""
    from tollway_cli.views.limits import show_limits

    with _instance(said) as instance:
        show_limits(instance.admin, _form(form))


@tollway.group(short_help="Calls and what they cost; verify recomputes.", invoke_without_command=True)
@click.option("--agent", metavar="NS/NAME", help="Calls of this agent only; a SPIFFE ID also does.")
@click.option("--since", metavar="WHEN", help="Calls since: 90s, 15m, 2h, 7d ago, or an ISO 8601 time.")
@about
@output
@click.pass_context
def ledger(context: click.Context, agent: str | None, since: str | None, said: Said, form: str) -> None:
    """Calls and what they cost. `tollway ledger verify` recomputes every counter from the journal."""
    if context.invoked_subcommand is not None:
        context.obj = (said, form)
        return
    from tollway_cli.views.ledger import show_ledger, spiffe_id_of

    moment = None if since is None else parse_since(since, now_ms())
    with _instance(said) as instance:
        show_ledger(instance.admin, _form(form), spiffe_id_of(instance, agent), moment)


def parse_since(text: str, now: int) -> int:
    """Milliseconds since the epoch of "15m" before `now`, or of an ISO 8601 time (local without a zone)."""
    from datetime import datetime

    if match := _SPAN.fullmatch(text):
        return now - int(match[1]) * _UNITS_MS[match[2]]
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise WrongUsage(f"--since {text!r}: write 90s, 15m, 2h or 7d, or a time such as 2026-11-01T08:00") from None


@ledger.command()
@about
@click.option("-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), help="As `tollway ledger`.")
@click.pass_context
def verify(context: click.Context, said: Said, form: str | None) -> None:
    """Recompute every counter from the journal; exit code 1 if one differs."""
    from tollway_cli.views.ledger import show_verification

    said_above, form_above = context.obj
    with _instance(said or said_above) as instance:
        show_verification(instance.admin, _form(form or form_above))


@tollway.command(short_help="What was decided about a call, and why.")
@click.argument("call_id", required=False, metavar="CALL-ID")
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="REQUEST.JSON",
    help="Explain a request that is not sent: a body as the SDK sends it, or an object of agent, provider, path, body.",
)
@click.option("--agent", metavar="NS/NAME", help="With -f: whose request. Not needed where there is one agent.")
@click.option("--provider", metavar="NAME", help="With -f: to which AIProvider. Not needed where there is one.")
@click.option("--path", metavar="PATH", help="With -f: to which path.  [default: as most calls of the provider]")
@about
@output
def explain(
    call_id: str | None,
    file: Path | None,
    agent: str | None,
    provider: str | None,
    path: str | None,
    said: Said,
    form: str,
) -> None:
    """Say what was decided about a call and why: each check and what it said, and what became of its hold.

    CALL-ID is in the answer's header x-tollway-call, in a refusal's message, and in `tollway ledger`.
    """
    if (call_id is None) == (file is None):
        raise WrongUsage("explain a call by its id, or a request with -f FILE")
    from tollway_cli.views.explain import explain_call, explain_request, question_of

    with _instance(said) as instance:
        if file is not None:
            explain_request(instance.admin, _form(form), question_of(file, instance, agent, provider, path))
        elif call_id is not None:
            explain_call(instance.admin, _form(form), call_id)


@tollway.command(short_help="Live spend by agent and model.")
@click.option("--once", is_flag=True, help="Look once and end. So do -o json and -o yaml.")
@click.option(
    "--window",
    metavar="TIME",
    default="1m",
    show_default=True,
    help="Over what time calls are counted: 30s, 5m, 2h, up to 1d.",
)
@click.option("--every", metavar="TIME", default="1s", show_default=True, help="How often to look.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(["cost", "calls", "open", "refused", "tokens", "agent", "model"]),
    default="cost",
    show_default=True,
    help="By what the rows are sorted; on a terminal the key s changes it.",
)
@about
@output
def top(once: bool, window: str, every: str, order: str, said: Said, form: str) -> None:
    """Live spend by agent and model: calls a second, in flight and refused, what they cost and hold, and the limit
    that each agent is nearest to. q or Ctrl-C ends it; in a pipe it writes plain lines.
    """
    from tollway_cli.views.top import View, show_top, watch_top

    view = View(_time_span("--window", window), order, _time_span("--every", every) / 1000)
    with _instance(said) as instance:
        if once or form != "table":
            show_top(instance.admin, _form(form), view)
        else:
            watch_top(instance.admin, view)


def _time_span(option: str, text: str) -> int:
    """Milliseconds of "30s". Raises `WrongUsage`."""
    match = _SPAN.fullmatch(text)
    length = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not 0 < length <= _UNITS_MS["d"]:
        raise WrongUsage(f"{option} {text!r}: write 30s, 5m or 2h, at most 1d")
    return length


@tollway.command(short_help="What is wrong with this installation, and the command that mends it.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The directory of resources.  [default: the one that the last `tollway up` took]",
)
@click.option("--offline", is_flag=True, help="On this machine: do not try the providers' endpoints.")
@about
@output
def doctor(config: Path | None, offline: bool, said: Said, form: str) -> None:
    """What is wrong with this installation, and for each thing the command that mends it.

    On this machine: looks at the state directory, programs, processes, sockets, resources (the files, and what is in
    force), certificates, providers (their endpoints are tried up to the TLS handshake; nothing is sent), limits and the
    ledger.

    In a cluster: looks at the kinds, operator, injector, gateway and webhook, what status says of each resource,
    certificates, pods without their sidecar, egress, and what the gateway says of itself. Reads no Secret. What you may
    not see is said, and with which right you would.

    Changes nothing. Exit code 0: all is well (there may be hints), 1: something is wrong, 3: it cannot look.
    """
    from tollway_cli.doctor.findings import is_well

    with _looking(said) as where:
        if isinstance(where, InCluster):
            if config is not None or offline:
                raise WrongUsage("--config and --offline are for this machine: leave them out, or name its --state")
            from tollway_cli.doctor.in_cluster.examination import examine as examine_cluster

            checked = examine_cluster(where, now_ms, _form(form))
        else:
            from tollway_cli.doctor.examination import examine
            from tollway_cli.doctor.gathering import Subject

            there = config.absolute() if config is not None else None
            subject = Subject(where.state, where.option, there, offline, dict(os.environ))
            checked = examine(subject, now_ms, _form(form))
    if not is_well(checked):
        sys.exit(1)


@tollway.command(short_help="Change the root of the trust domain, while every call goes on.")
@click.argument("action", type=click.Choice(["status", "prepare", "activate", "abort"]), default="status")
@about
@output
def root(action: str, said: Said, form: str) -> None:
    """Change the root of the trust domain, while every call goes on.

    \b
    status    how it stands, and who is waited for  [default]
    prepare   make the next root, and show it to everybody beside the current one
    activate  agents get certificates under it, then the gateway, then the old root goes
    abort     stay with the current root

    Nothing is signed under a root before everybody who would check it has proved to trust it. Near its end a root that
    Tollway made is changed by itself.

    Exit code 1: the command is refused, and the message says why.
    """
    from tollway_cli.root.screen import show_root

    with _looking(said) as where:
        show_root(_root(action, where), _form(form))


def _root(action: str, where: Place) -> "RootStanding":
    from tollway_cli.root import cluster, local

    if isinstance(where, InCluster):
        return cluster.status(where) if action == "status" else cluster.command(where, action)
    return local.status(where.state) if action == "status" else local.command(where.state, action)


@tollway.command(short_help="The Envoy configuration that resources give.")
@click.option(
    "-f",
    "--file",
    "config",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    metavar="DIR",
    help="The directory of resources, as `tollway up --config` takes it.",
)
@STATE
@output
def render(config: Path, state: Path, form: str) -> None:
    """The Envoy configuration that these resources give. Nothing is started; credentials are placeholders.

    Files that change under a running Envoy are in `xds`. Written as YAML unless -o json.
    """
    from tollway_cli.views.render import show_rendered

    show_rendered(config, state, _form(form))


@tollway.command(short_help="The price in force, its source and date.")
@click.argument("model", required=False)
@output
def prices(model: str | None, form: str) -> None:
    """The prices in force, their source and date: of all models, or of MODEL. Needs no running instance.

    An AIProvider's own prices (spec.prices) come before these. A model without a price is refused, never free.
    """
    from tollway_cli.views.prices import show_prices

    show_prices(model, _form(form), now_ms())


def main() -> None:
    """The entry point of the command; never returns."""
    try:
        code = tollway.main(prog_name="tollway", standalone_mode=False)
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

"""Commands that look: at what an instance counted and decided, at prices, and at what resources give."""

from pathlib import Path
from typing import Final

import click

from tollway_cli.commands.options import STATE, about, form_named, moment_since, output, time_span
from tollway_cli.commands.reaching import instance_said
from tollway_cli.failures import WrongUsage
from tollway_cli.place import Said
from tollway_cli.surroundings import Surroundings

_ABOVE: Final = "tollway_cli.ledger"
"""What was said to `tollway ledger` itself, for its subcommands: a key of click's `meta`."""


@click.command(short_help="Every counter: limit, used, held, resets at.")
@about
@output
@click.pass_obj
def limits(here: Surroundings, said: Said, form: str) -> None:
    """Every counter: its limit, what is used and held, what is left, when it resets."""
    from tollway_cli.views.limits import show_limits

    with instance_said(here, said) as instance:
        show_limits(instance.admin, form_named(form))


@click.group(short_help="Calls and what they cost; verify recomputes.", invoke_without_command=True)
@click.option("--agent", metavar="NS/NAME", help="Calls of this agent only; a SPIFFE ID also does.")
@click.option("--since", metavar="WHEN", help="Calls since: 90s, 15m, 2h, 7d ago, or an ISO 8601 time.")
@about
@output
@click.pass_context
@click.pass_obj
def ledger(
    here: Surroundings, context: click.Context, agent: str | None, since: str | None, said: Said, form: str
) -> None:
    """Calls and what they cost. `tollway ledger verify` recomputes every counter from the journal."""
    if context.invoked_subcommand is not None:
        context.meta[_ABOVE] = (said, form)
        return
    from tollway_cli.views.ledger import show_ledger, spiffe_id_of

    moment = None if since is None else moment_since(since, here.now_ms())
    with instance_said(here, said) as instance:
        show_ledger(instance.admin, form_named(form), spiffe_id_of(instance, agent), moment)


@ledger.command()
@about
@click.option("-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), help="As `tollway ledger`.")
@click.pass_context
@click.pass_obj
def verify(here: Surroundings, context: click.Context, said: Said, form: str | None) -> None:
    """Recompute every counter from the journal; exit code 1 if one differs."""
    from tollway_cli.views.ledger import show_verification

    said_above, form_above = context.meta[_ABOVE]
    with instance_said(here, said or said_above) as instance:
        show_verification(instance.admin, form_named(form or form_above))


@click.command(short_help="What was decided about a call, and why.")
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
@click.pass_obj
def explain(
    here: Surroundings,
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

    with instance_said(here, said) as instance:
        if file is not None:
            explain_request(instance.admin, form_named(form), question_of(file, instance, agent, provider, path))
        elif call_id is not None:
            explain_call(instance.admin, form_named(form), call_id)


@click.command(short_help="Live spend by agent and model.")
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
@click.pass_obj
def top(here: Surroundings, once: bool, window: str, every: str, order: str, said: Said, form: str) -> None:
    """Live spend by agent and model: calls a second, in flight and refused, what they cost and hold, and the limit
    that each agent is nearest to. q or Ctrl-C ends it; in a pipe it writes plain lines.
    """
    from tollway_cli.views.top import View, show_top, watch_top

    view = View(time_span("--window", window), order, time_span("--every", every) / 1000)
    with instance_said(here, said) as instance:
        if once or form != "table":
            show_top(instance.admin, form_named(form), view)
        else:
            watch_top(instance.admin, view)


@click.command(short_help="The price in force, its source and date.")
@click.argument("model", required=False)
@output
@click.pass_obj
def prices(here: Surroundings, model: str | None, form: str) -> None:
    """The prices in force, their source and date: of all models, or of MODEL. Needs no running instance.

    An AIProvider's own prices (spec.prices) come before these. A model without a price is refused, never free.
    """
    from tollway_cli.views.prices import show_prices

    show_prices(model, form_named(form), here.now_ms())


@click.command(short_help="The Envoy configuration that resources give.")
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

    show_rendered(config, state, form_named(form))

"""Commands that say what is wrong with an installation, and that change the root of its trust domain."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tollway_cli.commands.options import about, form_named, output
from tollway_cli.commands.reaching import place_said
from tollway_cli.failures import WrongUsage
from tollway_cli.place import InCluster, Place, Said
from tollway_cli.surroundings import Surroundings

if TYPE_CHECKING:
    from tollway.identity.root_standing import RootStanding


@click.command(short_help="What is wrong with this installation, and the command that mends it.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The directory of resources.  [default: the one that the last `tollway up` took]",
)
@click.option("--offline", is_flag=True, help="On this machine: do not try the providers' endpoints.")
@about
@output
@click.pass_obj
def doctor(here: Surroundings, config: Path | None, offline: bool, said: Said, form: str) -> None:
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

    with place_said(here, said) as where:
        if isinstance(where, InCluster):
            if config is not None or offline:
                raise WrongUsage("--config and --offline are for this machine: leave them out, or name its --state")
            from tollway_cli.doctor.in_cluster.examination import examine as examine_cluster

            checked = examine_cluster(where, here.now_ms, form_named(form))
        else:
            from tollway_cli.doctor.examination import examine
            from tollway_cli.doctor.gathering import Subject

            there = config.absolute() if config is not None else None
            subject = Subject(where.state, where.option, there, offline, dict(here.environ))
            checked = examine(subject, here.now_ms, form_named(form))
    if not is_well(checked):
        sys.exit(1)


@click.command(short_help="Change the root of the trust domain, while every call goes on.")
@click.argument("action", type=click.Choice(["status", "prepare", "activate", "abort"]), default="status")
@about
@output
@click.pass_obj
def root(here: Surroundings, action: str, said: Said, form: str) -> None:
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

    with place_said(here, said) as where:
        show_root(_root(action, where), form_named(form))


def _root(action: str, where: Place) -> "RootStanding":
    from tollway_cli.root import cluster, local

    if isinstance(where, InCluster):
        return cluster.status(where) if action == "status" else cluster.command(where, action)
    return local.status(where.state) if action == "status" else local.command(where.state, action)

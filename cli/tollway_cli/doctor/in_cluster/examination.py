"""Looks at an installation in a cluster, and shows what is wrong with it."""

from collections.abc import Callable, Sequence

from tollway_cli.cluster.connection import Session
from tollway_cli.doctor.findings import Checked
from tollway_cli.doctor.in_cluster.checks import diagnose
from tollway_cli.doctor.in_cluster.gathering import gather
from tollway_cli.doctor.screen import show_diagnosis
from tollway_cli.place import InCluster
from tollway_cli.views.output import Form


def examine(where: InCluster, clock: Callable[[], int], form: Form) -> Sequence[Checked]:
    """Raises `Broken` where nothing can be looked at."""
    with Session(where) as session:
        found = diagnose(gather(session, clock))
        whose = f"Namespace {where.namespace} of the cluster in context {session.way.context}"
    show_diagnosis(found, form, whose)
    return found

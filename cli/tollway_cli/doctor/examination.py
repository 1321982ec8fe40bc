"""Looks at the installation of this machine, and shows what is wrong with it."""

from collections.abc import Callable, Sequence

from tollway_cli.doctor.checks import diagnose
from tollway_cli.doctor.findings import Checked
from tollway_cli.doctor.gathering import Subject, gather
from tollway_cli.doctor.screen import show_diagnosis
from tollway_cli.views.output import Form


def examine(subject: Subject, clock: Callable[[], int], form: Form) -> Sequence[Checked]:
    """Raises `Broken` where nothing can be looked at."""
    found = diagnose(gather(subject, clock))
    show_diagnosis(found, form)
    return found

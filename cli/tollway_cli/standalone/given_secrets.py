"""`--secret NAME/KEY=env:VAR`: values that are given in the environment instead of a file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tollway.resources.models import ROOT_NAMESPACE, Meta, ResourceSet, Secret
from tollway_cli.failures import WrongUsage

_OPTION = re.compile(
    r"(?P<name>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)/(?P<key>[A-Za-z0-9._-]{1,253})=env:(?P<variable>\w+)"
)


@dataclass(frozen=True, slots=True)
class GivenSecret:
    """One key of a Secret in the root namespace. `repr` never shows the value."""

    name: str
    key: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Absent:
    """A key whose variable has no value."""

    name: str
    key: str
    variable: str

    def __str__(self) -> str:
        return f"--secret {self.name}/{self.key}: the variable {self.variable} is not set"


def read_options(
    texts: Iterable[str], environ: Mapping[str, str]
) -> tuple[tuple[GivenSecret, ...], tuple[Absent, ...]]:
    """The keys that are given, and those that are not: one provider's missing key must not stop the others.

    Raises `WrongUsage` where an option cannot be read, and where no variable has a value at all.
    """
    read = [read_option(text, environ) for text in texts]
    given = tuple(one for one in read if isinstance(one, GivenSecret))
    absent = tuple(one for one in read if isinstance(one, Absent))
    if absent and not given:
        raise WrongUsage("; ".join(map(str, absent)))
    return given, absent


def read_option(text: str, environ: Mapping[str, str]) -> GivenSecret | Absent:
    """Raises `WrongUsage`; never repeats the text after `=`: somebody may have put the secret itself there."""
    match = _OPTION.fullmatch(text)
    if match is None:
        raise WrongUsage(f"--secret {text.partition('=')[0]}=…: write it as NAME/KEY=env:VARIABLE")
    value = environ.get(match["variable"])
    if not value:
        return Absent(match["name"], match["key"], match["variable"])
    return GivenSecret(match["name"], match["key"], value.encode())


def with_secrets(resources: ResourceSet, given: Iterable[GivenSecret]) -> ResourceSet:
    """`resources` with these values; they win over what the files say."""
    secrets = {(secret.meta.namespace, secret.meta.name): secret for secret in resources.secrets}
    for one in given:
        at = (ROOT_NAMESPACE, one.name)
        present = secrets.get(at) or Secret(Meta(one.name, ROOT_NAMESPACE), {})
        secrets[at] = replace(present, data={**present.data, one.key: one.value})
    return replace(resources, secrets=tuple(secrets[at] for at in sorted(secrets)))

"""`tollway render`: the Envoy configuration that a directory of resources gives. Nothing runs, nothing is written."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.models import ResourceSet
from tollway.resources.parse import parse_files
from tollway_cli.failures import AnswerIsNo
from tollway_cli.standalone import envoys
from tollway_cli.standalone.config_files import read_directory
from tollway_cli.standalone.plan import key_of
from tollway_cli.standalone.ports import FIRST_AGENT, FIRST_OWN
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.views.output import Form, show
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files

_PLACEHOLDER: Final = b"PLACEHOLDER"
"""Stands for every credential: what is printed may be shown to anybody."""


def show_rendered(directory: Path, state: Path, form: Form) -> None:
    """One document per file, by its path below the state directory. Raises `AnswerIsNo` for unsound resources."""
    files, unreadable = read_directory(directory)
    parsed = parse_files(files)
    if problems := (*unreadable, *parsed.problems):
        for problem in problems:
            sys.stderr.write(f"{problem}\n")
        raise AnswerIsNo(f"{directory} cannot be used: mend the files")
    found = {path: json.loads(content) for path, content in rendered(parsed.resources, state).items()}
    show(found, Form.YAML if form is Form.TABLE else form, list)


def rendered(resources: ResourceSet, state: Path) -> Mapping[str, bytes]:
    """Path below the state directory -> content, with the ports that a first `tollway up` would take."""
    at, trust_domain = StateDirectory.planned(state), str(DEFAULT_TRUST_DOMAIN)
    gateway = envoys.gateway_settings(at, trust_domain, FIRST_OWN, envoys.upstream_ca_file({}))
    keys = {provider.meta.name: _PLACEHOLDER for provider in resources.providers if provider.credential is not None}
    found = {"gateway/bootstrap.json": gateway_bootstrap(gateway)}
    found |= _below("gateway", gateway_files(gateway, resources.providers, keys))
    for number, agent in enumerate(resources.agents):
        where = str(at.agent(key_of(agent)).relative_to(state))
        settings = envoys.sidecar_settings(at, trust_domain, key_of(agent), FIRST_AGENT + number, FIRST_OWN)
        found[f"{where}/bootstrap.json"] = sidecar_bootstrap(settings)
        found |= _below(where, sidecar_files(settings, resources.providers))
    return found


def _below(directory: str, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return {f"{directory}/xds/{name}": content for name, content in files.items()}

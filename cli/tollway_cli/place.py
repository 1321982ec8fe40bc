"""Where the instance is that a command looks at: on this machine, or in a cluster. One rule for all commands.

What somebody says comes first. Else it is the instance of the default state directory, if one runs; else the cluster of
the kubeconfig's current context, if there is a kubeconfig; else this machine, where nothing runs.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tollway.resources.models import ROOT_NAMESPACE
from tollway_cli.failures import Broken, WrongUsage
from tollway_cli.standalone.state import default_state


@dataclass(frozen=True, slots=True)
class OnMachine:
    """`option` names the state directory to other commands: nothing for the default one."""

    state: Path
    option: str = ""


@dataclass(frozen=True, slots=True)
class InCluster:
    """`kubeconfig` is a file, or several with colons between them; an empty `context` is the current one. `namespace`
    is the root namespace. `assumed`: nobody said so."""

    kubeconfig: str
    context: str = ""
    namespace: str = ROOT_NAMESPACE
    assumed: bool = False

    @property
    def option(self) -> str:
        """What names it to another command of ours."""
        context = f" --context {shlex.quote(self.context)}" if self.context else ""
        namespace = f" --namespace {shlex.quote(self.namespace)}" if self.namespace != ROOT_NAMESPACE else ""
        return f" --cluster{context}{namespace}"

    @property
    def kubectl(self) -> str:
        """How a command of kubectl on this cluster begins."""
        return f"kubectl --context {shlex.quote(self.context)}" if self.context else "kubectl"


Place: TypeAlias = OnMachine | InCluster


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said of it; nothing at all is false."""

    state: Path | None = None
    cluster: bool = False
    context: str | None = None
    namespace: str | None = None

    def __bool__(self) -> bool:
        return self.state is not None or self.means_cluster

    @property
    def means_cluster(self) -> bool:
        return self.cluster or self.context is not None or self.namespace is not None


def place(said: Said, environ: Mapping[str, str]) -> Place:
    """Raises `WrongUsage` for two places at once, and `Broken` where nothing leads to the cluster that is asked for."""
    if said.state is not None and said.means_cluster:
        raise WrongUsage("--state is of this machine, and --cluster, --context and --namespace are not: name one place")
    if said.means_cluster:
        return _cluster(said, environ)
    usual = default_state(environ).absolute()
    if said.state is not None:
        return on_machine(said.state, environ)
    if (usual / "ready.json").exists() or not _there(kubeconfig(environ)):
        return OnMachine(usual)
    return _cluster(said, environ)


def on_machine(state: Path, environ: Mapping[str, str]) -> OnMachine:
    chosen = state.absolute()
    option = f" --state {shlex.quote(str(chosen))}" if chosen != default_state(environ).absolute() else ""
    return OnMachine(chosen, option)


def kubeconfig(environ: Mapping[str, str]) -> str:
    return environ.get("KUBECONFIG") or str(Path(environ.get("HOME") or "/") / ".kube" / "config")


def _cluster(said: Said, environ: Mapping[str, str]) -> InCluster:
    found = kubeconfig(environ)
    if not _there(found):
        raise Broken(
            f"there is no kubeconfig at {found}: name yours in KUBECONFIG, or get one from whoever runs the cluster"
        )
    return InCluster(found, said.context or "", said.namespace or ROOT_NAMESPACE, assumed=not said)


def _there(files: str) -> bool:
    """KUBECONFIG may name several, of which some may be missing, as kubectl has it."""
    return any(name and Path(name).exists() for name in files.split(os.pathsep))

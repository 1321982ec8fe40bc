"""Which instance a command looks at, where nothing is said, and where something is."""

from pathlib import Path

import pytest

from tollway_cli.failures import Broken, WrongUsage
from tollway_cli.place import InCluster, OnMachine, Place, Said, place


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), **more}


def state(home: Path) -> Path:
    return home / ".local" / "state" / "tollway"


def running(home: Path) -> None:
    state(home).mkdir(parents=True)
    (state(home) / "ready.json").write_text("{}")


def kubeconfig(home: Path) -> str:
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text("{}")
    return str(home / ".kube" / "config")


def test_with_neither_it_is_this_machine_where_nothing_runs(home: Path) -> None:
    assert place(Said(), environ(home)) == OnMachine(state(home))


def test_a_kubeconfig_leads_to_the_cluster_of_its_current_context(home: Path) -> None:
    config = kubeconfig(home)
    assert place(Said(), environ(home)) == InCluster(config, "", "tollway-system", assumed=True)


def test_an_instance_that_runs_here_comes_before_the_kubeconfig(home: Path) -> None:
    kubeconfig(home)
    running(home)
    assert place(Said(), environ(home)) == OnMachine(state(home))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(cluster=True), ("", "tollway-system")),
        (Said(context="other"), ("other", "tollway-system")),
        (Said(namespace="ai"), ("", "ai")),
    ],
    ids=["cluster", "context", "namespace"],
)
def test_whoever_names_a_cluster_gets_it_though_an_instance_runs_here(
    home: Path, said: Said, expected: tuple[str, str]
) -> None:
    config = kubeconfig(home)
    running(home)
    assert place(said, environ(home)) == InCluster(config, *expected)


def test_a_state_directory_that_is_named_is_looked_at_whatever_else_there_is(home: Path) -> None:
    kubeconfig(home)
    assert place(Said(state=home / "mine"), environ(home)) == OnMachine(home / "mine", f" --state {home / 'mine'}")


def test_kubeconfig_may_name_several_files_of_which_some_are_missing(home: Path) -> None:
    files = f"{home / 'missing'}:{kubeconfig(home)}"
    assert place(Said(), environ(home, KUBECONFIG=files)) == InCluster(files, assumed=True)


def test_a_cluster_without_a_kubeconfig_says_where_one_was_looked_for(home: Path) -> None:
    with pytest.raises(Broken, match=r"no kubeconfig at .*\.kube/config: name yours in KUBECONFIG"):
        place(Said(cluster=True), environ(home))


def test_two_places_at_once_are_refused(home: Path) -> None:
    with pytest.raises(WrongUsage, match="name one place"):
        place(Said(state=home, cluster=True), environ(home))


@pytest.mark.parametrize(
    ("where", "option", "kubectl"),
    [
        (InCluster("c"), " --cluster", "kubectl"),
        (InCluster("c", "prod", "ai"), " --cluster --context prod --namespace ai", "kubectl --context prod"),
    ],
    ids=["usual", "named"],
)
def test_commands_that_mend_name_the_same_place(where: Place, option: str, kubectl: str) -> None:
    assert isinstance(where, InCluster)
    assert (where.option, where.kubectl) == (option, kubectl)

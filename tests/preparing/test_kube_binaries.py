"""Where the tests get Kubernetes from: what is there is taken, what is missing is said, and may be required."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("kube-apiserver", "etcd", "kubectl", "helm")
CACHED = {
    "kube-apiserver": "kubernetes-v1.37.1/kube-apiserver",
    "etcd": "etcd-v3.7.3/etcd",
    "kubectl": "kubernetes-v1.37.1/kubectl",
    "helm": "helm-v4.3.1/helm",
}


def put(path: Path, version: str = "v1.37.4") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho Kubernetes {version}\n")
    path.chmod(0o755)
    return path


def run(home: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """On a machine that has neither Go nor setup-envtest."""
    base = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(home / "cache"), "HOME": str(home)}
    return subprocess.run(command, env={**base, **environment}, capture_output=True, text=True, cwd=ROOT, timeout=60)


def tool(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(home, sys.executable, "tools/kube_binaries.py", *arguments, **environment)


def test_binaries_of_kubebuilder_assets_come_before_those_of_the_cache(tmp_path: Path) -> None:
    assets = {name: put(tmp_path / "assets" / name) for name in ("kube-apiserver", "etcd")}
    cached = {name: put(tmp_path / "cache" / "tollway" / "kube" / CACHED[name]) for name in NAMES}
    done = tool(tmp_path, "--find", KUBEBUILDER_ASSETS=str(tmp_path / "assets"))
    expected = {**cached, **assets}
    assert json.loads(done.stdout) == {name: str(path) for name, path in expected.items()}


def test_an_api_server_that_is_too_old_is_not_taken(tmp_path: Path) -> None:
    for name in NAMES:
        put(tmp_path / "assets" / name, version="v1.36.2")
    done = tool(tmp_path, "--find", KUBEBUILDER_ASSETS=str(tmp_path / "assets"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is older than Kubernetes 1.37" in done.stderr


@pytest.mark.parametrize("arguments", [["--find"], []], ids=["looking", "getting"])
def test_where_there_is_none_the_tool_says_what_would_help(tmp_path: Path, arguments: list[str]) -> None:
    done = tool(tmp_path, *arguments)
    assert done.returncode == 1
    assert "no Kubernetes for the tests: kube-apiserver: " in done.stderr
    assert "install Go 1.26 and run `make kube`, or point KUBEBUILDER_ASSETS" in done.stderr


@pytest.mark.parametrize(
    ("cluster", "outcome", "code"), [("", "1 skipped", 0), ("required", "1 error", 1)], ids=["usually", "required"]
)
def test_without_kubernetes_tests_are_skipped_loudly_and_fail_where_it_is_required(
    tmp_path: Path, cluster: str, outcome: str, code: int
) -> None:
    test = "tests/resources/test_in_the_cluster.py::test_what_has_no_status_yet_is_listed_too"
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = run(tmp_path, *pytest_, TOLLWAY_CLUSTER=cluster, PYTHONDONTWRITEBYTECODE="1")
    assert outcome in done.stdout
    assert "no Kubernetes for the tests" in done.stdout
    assert done.returncode == code

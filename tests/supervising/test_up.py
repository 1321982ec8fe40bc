"""`tollway up` as somebody runs it: real Envoys, the real data plane, the demo provider behind them."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installations import KEY, Installation, agent, budget, children_of, provider, quota, running, secret, wait_until

IN_FORCE_S = 1.0


def resources(*more: dict[str, Any], suspended: bool = False) -> list[dict[str, Any]]:
    return [agent("researcher", suspended=suspended), quota("research", budget("5.00")), secret(), *more]


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    with running([*resources(), provider()]) as (installation, served):
        installation.endpoint = served.endpoint  # type: ignore[attr-defined]
        yield installation


def declare(installation: Installation, *more: dict[str, Any], suspended: bool = False) -> None:
    """The resources of this module, and `more`."""
    endpoint = installation.endpoint  # type: ignore[attr-defined]
    documents = [*resources(suspended=suspended), provider(endpoint=endpoint), *more]
    installation.write("resources.yaml", documents)


def call(base_url: str) -> tuple[int, dict[str, Any]]:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 20}
    request = urllib.request.Request(
        f"{base_url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def is_reached(base_url: str) -> bool:
    try:
        call(base_url)
    except OSError:
        return False
    return True


def said(installation: Installation) -> str:
    return installation.output.read_text()


def up(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tollway_cli", "up", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_ready_file_says_where_everything_is(installed: Installation) -> None:
    ready = installed.ready
    assert json.loads((installed.state / "ready.json").read_text()) == ready
    assert ready.keys() == {"gateway", "admin", "agents"}
    assert ready["gateway"].startswith("https://127.0.0.1:")
    assert Path(ready["admin"].removeprefix("unix://")).is_socket()
    (one,) = ready["agents"].values()
    assert one["spiffe_id"] == "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
    assert one["base_urls"].keys() == {"openai"}
    assert one["env"]["OPENAI_BASE_URL"] == one["base_urls"]["openai"]
    assert one["base_urls"]["openai"].endswith("/openai/v1")


def test_a_call_through_the_sidecar_is_answered(installed: Installation) -> None:
    status, answer = call(installed.base_url("team-a/researcher"))
    assert (status, answer["object"]) == (200, "chat.completion")


def test_a_second_instance_on_the_same_state_says_who_holds_it_and_is_3(installed: Installation) -> None:
    second = up("--config", installed.config, "--state", installed.state)
    assert second.returncode == 3
    assert f"process {installed.pid}" in second.stderr
    assert call(installed.base_url("team-a/researcher"))[0] == 200


def test_a_suspension_is_in_force_within_a_second_and_so_is_its_end(installed: Installation) -> None:
    url = installed.base_url("team-a/researcher")
    declare(installed, suspended=True)
    wait_until(lambda: call(url)[0] != 200, IN_FORCE_S)
    declare(installed)
    wait_until(lambda: call(url)[0] == 200, IN_FORCE_S)


def test_a_new_provider_serves_within_a_second_and_a_removed_one_refuses(installed: Installation) -> None:
    url = installed.base_url("team-a/researcher").replace("/openai/", "/second/")
    declare(installed, provider("second", endpoint=installed.endpoint))  # type: ignore[attr-defined]
    wait_until(lambda: call(url)[0] == 200, IN_FORCE_S)
    wait_until(lambda: "second" in installed.ready["agents"]["team-a/researcher"]["base_urls"], IN_FORCE_S)
    declare(installed)
    wait_until(lambda: call(url)[0] != 200, IN_FORCE_S)
    assert "error" in call(url)[1]
    wait_until(lambda: "second" not in installed.ready["agents"]["team-a/researcher"]["base_urls"], IN_FORCE_S)


def test_a_new_agent_gets_a_sidecar_and_a_removed_one_loses_it_with_its_key(installed: Installation) -> None:
    declare(installed, agent("writer"))
    wait_until(lambda: "team-a/writer" in installed.ready["agents"], 3)
    url, directory = installed.base_url("team-a/writer"), installed.state / "agents" / "team-a_writer"
    assert call(url)[0] == 200
    assert (directory / "identity" / "tls.key").exists()
    declare(installed)
    wait_until(lambda: not is_reached(url) and not directory.exists(), 3)
    wait_until(lambda: "team-a/writer" not in installed.ready["agents"], 1)


def test_a_bad_file_changes_nothing_and_is_named_once_and_again_when_it_is_mended(installed: Installation) -> None:
    bad = quota("research", {"name": "budget", "cost": "a lot", "window": "Lifetime"})
    before = len(said(installed))
    installed.write("bad.yaml", [bad])
    wait_until(lambda: "bad.yaml: AIQuota team-a/research: spec.limits[0].cost" in said(installed)[before:], 2)
    assert call(installed.base_url("team-a/researcher"))[0] == 200
    (installed.config / "bad.yaml").unlink()
    wait_until(lambda: "in order again" in said(installed)[before:], 2)
    assert said(installed)[before:].count("a lot") <= 1


def test_a_change_that_the_gateway_cannot_run_is_taken_back_as_a_whole(installed: Installation) -> None:
    before = len(said(installed))
    installed.write("second.yaml", [secret("bad-key", value="a key with spaces"), _with_key("second", "bad-key")])
    wait_until(lambda: "the configuration of before stays in force" in said(installed)[before:], 3)
    assert "a key with spaces" not in said(installed)
    assert call(installed.base_url("team-a/researcher"))[0] == 200
    assert "second" not in installed.ready["agents"]["team-a/researcher"]["base_urls"]
    (installed.config / "second.yaml").unlink()


def _with_key(name: str, secret_name: str) -> dict[str, Any]:
    credential = {"secretRef": {"name": secret_name, "key": "api-key"}}
    return provider(name, endpoint="http://127.0.0.1:9", credential=credential)


def test_a_hangup_reads_the_files_again_and_an_unchanged_configuration_is_no_change(installed: Installation) -> None:
    before = said(installed).count("in force")
    os.kill(installed.pid, signal.SIGHUP)
    assert call(installed.base_url("team-a/researcher"))[0] == 200
    assert said(installed).count("in force") == before


def test_an_envoy_that_dies_is_started_again(installed: Installation) -> None:
    envoys = [pid for pid in children_of(installed.pid) if b"bootstrap.json" in command_line(pid)]
    for pid in envoys:
        os.kill(pid, signal.SIGKILL)
    url = installed.base_url("team-a/researcher")
    wait_until(lambda: is_reached(url) and call(url)[0] == 200, 10, lambda: said(installed))
    assert "gateway was killed by SIGKILL" in said(installed)


def test_the_provider_s_key_is_nowhere_but_in_the_gateway_s_file(installed: Installation) -> None:
    holding = {
        path.relative_to(installed.folder).parts[:2]
        for path in installed.folder.rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    }
    assert holding == {("config", "resources.yaml"), ("state", "gateway")}
    assert KEY.encode() not in (installed.state / "gateway" / "envoy.log").read_bytes()
    assert KEY.encode() not in (installed.state / "gateway" / "access.log").read_bytes()
    for pid in children_of(installed.pid):
        assert KEY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_stop_is_clean_and_a_restart_gives_the_same_urls() -> None:
    with running([*resources(), provider()]) as (installation, _):
        processes = children_of(installation.pid)
        assert len(processes) == 3
        assert installation.stop(signal.SIGINT) == 0
        assert not any(map(is_running, processes))
        assert not installation.ready_file.exists()
        assert not (installation.state / "ready.json").exists()
        assert list((installation.state / "run").iterdir()) == []
        installation.start()
        # In between, another installation on this machine may take the port.
        assert any(restarts_with_the_same_url(installation) for _ in range(3))

        processes = children_of(installation.pid)
        installation.stop(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, processes)), 2)
        installation.ready_file.unlink()
        installation.start()
        assert call(installation.base_url("team-a/researcher"))[0] == 200


def restarts_with_the_same_url(installation: Installation) -> bool:
    before = installation.base_url("team-a/researcher")
    installation.stop()
    installation.start()
    return installation.base_url("team-a/researcher") == before


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_is_started_on_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: tollway.dev/v1alpha1\nkind: AIQuota\nmetadata: {name: q, namespace: team-a}\n"
    )
    refused = up("--config", tmp_path, "--state", tmp_path / "state")
    assert refused.returncode == 1
    assert "a.yaml: AIQuota team-a/q" in refused.stderr
    assert "mend" in refused.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--store", "redis://localhost"], "later"),
        (["--store", "sqlite://relative.db"], "absolute path"),
        (["--workers", "65"], "is not in the range 1<=x<=64"),
        (["--secret", "openai-key/api-key=env:NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is not set"),
        (["--config", "/no/such/directory"], "does not exist"),
        (["--upstream-ca", __file__], "is no file of certificates"),
    ],
    ids=[
        "another store",
        "a relative path",
        "too many workers",
        "an absent variable",
        "no directory",
        "no certificate",
    ],
)
def test_wrong_usage_is_2(tmp_path: Path, arguments: list[str], hint: str) -> None:
    refused = up("--state", tmp_path, *arguments)
    assert refused.returncode == 2
    assert hint in refused.stderr

"""`tollway doctor` on a real installation: well at first, then ill in one way after the other."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from installations import Installation, agent, budget, children_of, provider, quota, running, secret, wait_until
from tollway_cli.demo.settings import Behaviour, ProviderSettings

DOCUMENTS = [secret(), agent("researcher"), quota("research", budget("0.01"), only="researcher")]
SCOPE = {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    settings = ProviderSettings(behaviour=Behaviour(output_tokens=50))
    with running([*DOCUMENTS, provider(namespaces=SCOPE)], settings=settings) as (installation, served):
        installation.endpoint = served.endpoint  # type: ignore[attr-defined]
        yield installation


def doctor(installation: Installation, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and each check's result and findings by its name."""
    return ran("--state", installation.state, *arguments)


def ran(*arguments: object) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "tollway_cli", "doctor", "-o", "json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0)
    return done.returncode, {each["name"]: each for each in answer["checks"]}


def wrong(checks: dict[str, Any]) -> set[str]:
    return {name for name, each in checks.items() if each["result"] == "wrong"}


def finding(checks: dict[str, Any], name: str) -> dict[str, str]:
    (found,) = checks[name]["findings"]
    return found


def call(installation: Installation) -> None:
    with openai.OpenAI(
        base_url=installation.base_url("team-a/researcher"), api_key="placeholder", max_retries=0
    ) as client:
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hello"}], max_completion_tokens=100
        )


def test_a_fresh_installation_is_well_and_everything_can_be_seen(installed: Installation) -> None:
    code, checks = doctor(installed)
    assert (code, wrong(checks)) == (0, set()), checks
    assert not [name for name, each in checks.items() if each["result"] == "unknown"]


def test_a_table_names_every_check_and_says_that_all_is_well(installed: Installation) -> None:
    said = installed.tollway("doctor")
    assert said.splitlines()[-1] == "All is well."
    assert "✓ certificate authority" in said


def test_a_file_that_cannot_be_used_is_named_and_an_agent_that_nothing_covers(installed: Installation) -> None:
    installed.write("more.yaml", [agent("loose"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {}}])
    code, checks = doctor(installed)
    assert (code, wrong(checks)) == (1, {"configuration files"})
    assert "more.yaml" in finding(checks, "configuration files")["message"]

    installed.write("more.yaml", [agent("loose", suspended=True), quota("idle", budget("1.00"), only="nobody")])
    wait_until(lambda: "loose" in (installed.state / "extauthz" / "rules.json").read_text(), 3)
    code, checks = doctor(installed)
    assert (code, wrong(checks)) == (1, {"agents covered", "quotas"})
    assert checks["agents suspended"]["result"] == "hint"
    (installed.config / "more.yaml").unlink()


def test_a_provider_that_cannot_be_reached_is_found_unless_nobody_shall_try(installed: Installation) -> None:
    lost = provider("lost", endpoint="http://127.0.0.1:9", models=[{"name": "gpt-of-tomorrow"}], namespaces=SCOPE)
    keyless = provider("keyless", endpoint="https://host.invalid", namespaces=SCOPE)
    keyless["spec"]["credential"]["secretRef"]["name"] = "no-such-secret"
    installed.write("more.yaml", [lost, keyless])
    wait_until(lambda: "keyless" in (installed.state / "extauthz" / "rules.json").read_text(), 3)
    code, checks = doctor(installed)
    assert (code, wrong(checks)) == (1, {"provider endpoints", "provider credentials", "prices"})
    unnamed, refused = sorted(each["message"] for each in checks["provider endpoints"]["findings"])[::-1]
    assert "has no address (host.invalid:443" in unnamed
    assert "Connection refused" in refused
    assert "--secret no-such-secret/api-key=env:VARIABLE" in finding(checks, "provider credentials")["mend"]
    _, checks = doctor(installed, "--offline")
    assert checks["provider endpoints"]["result"] == "unknown"
    (installed.config / "more.yaml").unlink()
    wait_until(lambda: "keyless" not in (installed.state / "extauthz" / "rules.json").read_text(), 3)


def test_a_spent_budget_is_found(installed: Installation) -> None:
    calls = (call(installed) for _ in range(100))
    with pytest.raises(openai.RateLimitError):
        list(calls)
    installed.settled_calls(1)
    code, checks = doctor(installed)
    assert (code, wrong(checks)) == (1, {"refusals"})
    assert finding(checks, "refusals")["object"] == "team-a/researcher"
    assert "quota.cost.spent" in finding(checks, "refusals")["message"]


def test_a_stuck_data_plane_and_open_doors_are_found(installed: Installation) -> None:
    (extauthz,) = [
        pid for pid in children_of(installed.pid) if b"tollway_extauthz" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    installed.state.chmod(0o755)
    os.kill(extauthz, signal.SIGKILL)
    try:
        wait_until(lambda: not Path(f"/proc/{extauthz}").exists(), 5)
        code, checks = doctor(installed)
    finally:
        installed.state.chmod(0o700)
    assert code == 1
    assert finding(checks, "state directory")["mend"] == f"chmod 700 {installed.state}"
    assert "was killed by SIGKILL" in finding(checks, "processes")["message"]


def test_what_was_killed_leaves_a_trace_and_what_never_ran_does_not(installed: Installation, tmp_path: Path) -> None:
    installed.stop(signal.SIGKILL)
    code, checks = doctor(installed)
    assert (code, wrong(checks)) == (1, {"instance running"})
    found = finding(checks, "instance running")
    assert "left its ready file behind" in found["message"]
    assert found["mend"] == f"tollway up --config {installed.config} --state {installed.state}"
    code, checks = ran("--state", tmp_path / "none", "--config", installed.config, "--offline")
    assert (code, wrong(checks)) == (1, {"instance running"})


def test_a_state_that_cannot_be_looked_into_is_3(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "tollway_cli", "doctor", "--state", str(tmp_path / "file" / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot be looked into" in done.stderr

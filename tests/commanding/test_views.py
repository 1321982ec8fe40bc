"""Tables for people, JSON for scripts, exit codes for both."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

DAILY = {
    "key": "team-a/research/daily",
    "namespace": "team-a",
    "quota": "research",
    "limit": "daily",
    "unit": "cost",
    "window": "Day",
    "window_ms": None,
    "time_zone": "Europe/Berlin",
    "per": {"Agent": "researcher"},
    "amount": 25_000_000_000,
    "used": 1_234_567_891,
    "held": 500_000_000,
    "remaining": 23_265_432_109,
    "resets_at": 1_764_284_400_000,
}
RPM = DAILY | {
    "limit": "rpm",
    "unit": "requests",
    "window": "Rolling",
    "window_ms": 60_000,
    "amount": 60_000,
    "used": 1500,
}
AGENT = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
CALL = {
    "id": "7c9e",
    "at": 1_764_200_000_000,
    "agent": AGENT,
    "namespace": "team-a",
    "provider": "openai",
    "model": "gpt-4o",
    "operation": "chat.completions",
    "stream": True,
    "outcome": "settled",
    "reason": "",
    "source": "provider",
    "size": 300,
    "input_tokens": 1200,
    "output_tokens": 300,
    "cost": 6_000_000,
}
EXPLANATION = {
    **CALL,
    "outcome": "refused",
    "reason": "quota.cost.spent",
    "message": "The daily budget is spent.",
    "facts": {"agent": AGENT, "model": "gpt-4o", "pod": ""},
    "checks": [{"name": "identity", "said": "passed"}, {"name": "limits", "said": "daily is spent"}],
    "rows": [{"at": 1_764_200_000_000, "kind": "refuse", "size": 0, "amounts": None, "entries": []}],
}


def test_limits_show_exact_money_and_what_is_left(tollway, instance) -> None:
    instance.answers["GET /limits"] = (200, {"counters": [DAILY, RPM]})
    ran = tollway("limits", "--state", instance.state)
    header, daily, rpm = ran.out.splitlines()
    assert ran.code == 0
    assert " ".join(header.split()) == "QUOTA LIMIT PER UNIT WINDOW AMOUNT USED HELD LEFT RESETS AT"
    assert daily.split()[-5:-1] == ["$25.00", "$1.234567891", "$0.50", "$23.265432109"]
    assert "Day Europe/Berlin" in daily
    assert "60,000" in rpm
    assert "1m" in rpm


def test_json_is_the_instance_s_own_answer(tollway, instance) -> None:
    answer = {"counters": [DAILY | {"a_field_of_a_newer_version": 1}]}
    instance.answers["GET /limits"] = (200, answer)
    assert tollway("limits", "--state", instance.state, "-o", "json").json == answer
    assert yaml.safe_load(tollway("limits", "--state", instance.state, "-o", "yaml").out) == answer


def test_the_ledger_shows_calls_and_their_sum(tollway, instance) -> None:
    instance.answers["GET /ledger"] = (200, {"calls": [CALL], "totals": {"cost": 6_000_000}})
    ran = tollway("ledger", "--state", instance.state)
    _, line, total = ran.out.splitlines()
    assert "team-a/researcher" in line
    assert "$0.006" in line
    assert "provider" in line
    assert total == "1 call, $0.006 in all"


def test_the_ledger_is_asked_for_an_agent_by_its_spiffe_id_and_a_time_in_milliseconds(tollway, instance) -> None:
    instance.answers["GET /ledger"] = (200, {"calls": [], "totals": {}})
    tollway("ledger", "--state", instance.state, "--agent", "team-a/researcher", "--since", "2026-11-01T00:00:00+00:00")
    ((asked, _),) = instance.asked
    assert asked == f"GET /ledger?agent={AGENT.replace('/', '%2F').replace(':', '%3A')}&since=1793491200000"


def test_a_time_ago_is_taken_from_now(tollway, instance) -> None:
    instance.answers["GET /ledger"] = (200, {"calls": [], "totals": {}})
    tollway("ledger", "--state", instance.state, "--since", "15m")
    since = int(instance.asked[0][0].partition("since=")[2])
    assert abs(time.time() * 1000 - 15 * 60_000 - since) < 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ledger", "--since", "yesterday"], "write 90s, 15m"),
        (["ledger", "--agent", "team-b/nobody"], "its agents: team-a/researcher"),
        (["explain"], "explain a call by its id"),
        (["explain", "../ledger"], "is no call id"),
        (["explain", "-f", "/no/such/file"], "cannot be read"),
        (["limits", "-o", "xml"], "xml"),
        (["nonsense"], "No such command"),
        (["run", "--agent", "team-a/nobody", "--", "true"], "Its agents: team-a/researcher"),
        (["run", "--agent", "team-a/researcher", "--", "no-such-program-here"], "no program no-such-program-here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_2_and_says_what_would_be_right(tollway, instance, arguments, said) -> None:
    at = [] if arguments == ["nonsense"] else ["--state", instance.state]
    ran = tollway(arguments[0], *at, *arguments[1:])
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.parametrize(
    "arguments",
    [["limits"], ["ledger"], ["ledger", "verify"], ["explain", "7c9e"], ["run", "--agent", "a/b", "--", "true"]],
    ids=" ".join,
)
def test_without_an_instance_it_is_3_and_says_how_to_start_one(tollway, tmp_path, arguments) -> None:
    ran = tollway(
        arguments[0],
        *(["verify"] if "verify" in arguments else []),
        "--state",
        tmp_path,
        *[argument for argument in arguments[1:] if argument != "verify"],
    )
    assert (ran.code, ran.out) == (3, "")
    assert "tollway up --config DIR" in ran.err


def test_an_instance_that_died_is_3(tollway, instance) -> None:
    (instance.state / "admin.sock").unlink()
    ran = tollway("limits", "--state", instance.state)
    assert ran.code == 3
    assert "is `tollway up` still running?" in ran.err


def test_verify_is_0_when_every_counter_adds_up(tollway, instance) -> None:
    instance.answers["GET /ledger/verify"] = (200, {"ok": True, "mismatches": []})
    ran = tollway("ledger", "verify", "--state", instance.state)
    assert (ran.code, ran.out) == (0, "Every counter was recomputed from the journal: all add up.\n")


def test_verify_takes_its_options_before_or_after_its_name(tollway, instance) -> None:
    instance.answers["GET /ledger/verify"] = (200, {"ok": True, "mismatches": []})
    before = tollway("ledger", "--state", instance.state, "-o", "json", "verify")
    assert before.json == tollway("ledger", "verify", "--state", instance.state, "-o", "json").json


def test_verify_is_1_when_a_counter_differs_and_still_shows_which(tollway, instance) -> None:
    instance.answers["GET /ledger/verify"] = (200, {"ok": False, "mismatches": [{"bucket": 0}]})
    ran = tollway("ledger", "verify", "--state", instance.state, "-o", "json")
    assert (ran.code, ran.json) == (1, {"ok": False, "mismatches": [{"bucket": 0}]})
    assert "1 buckets of counters differ" in ran.err


def test_explain_shows_the_reason_each_check_and_the_journal(tollway, instance) -> None:
    instance.answers["GET /explain/7c9e"] = (200, EXPLANATION)
    ran = tollway("explain", "7c9e", "--state", instance.state)
    assert ran.code == 0
    for said in (
        "7c9e: refused (quota.cost.spent)",
        "The daily budget is spent.",
        "daily is spent",
        "refuse",
        "team-a/res",
    ):
        assert said in ran.out


def test_an_unknown_call_is_1(tollway, instance) -> None:
    instance.answers["GET /explain/0000"] = (404, "no call of this id is in the journal")
    ran = tollway("explain", "0000", "--state", instance.state)
    assert (ran.code, ran.err) == (1, "tollway: no call of this id is in the journal\n")


def test_a_request_that_would_be_refused_is_1(tollway, instance, tmp_path) -> None:
    instance.answers["POST /explain"] = (200, EXPLANATION)
    body = '{"model":  "gpt-4o", "model": "gpt-5"}'
    (tmp_path / "request.json").write_text(body)
    ran = tollway("explain", "-f", tmp_path / "request.json", "--state", instance.state)
    assert ran.code == 1
    assert instance.asked == [
        (
            "POST /explain",
            {"agent": "team-a/researcher", "provider": "openai", "path": "", "body": body},
        )
    ]


def test_a_whole_question_may_stand_in_the_file_and_options_win(tollway, instance, tmp_path) -> None:
    instance.answers["POST /explain"] = (200, EXPLANATION | {"outcome": "allowed"})
    (tmp_path / "q.json").write_text(json.dumps({"agent": "x/y", "path": "/v1/embeddings", "body": {"model": "m"}}))
    ran = tollway("explain", "-f", tmp_path / "q.json", "--agent", "team-a/researcher", "--state", instance.state)
    asked = {"agent": "team-a/researcher", "provider": "openai", "path": "/v1/embeddings", "body": '{"model": "m"}'}
    assert (ran.code, instance.asked[0][1]) == (0, asked)


def test_run_gives_a_program_the_agent_s_variables_and_passes_its_exit_code_on(instance) -> None:
    script = (
        "import os; print(os.environ['OPENAI_BASE_URL'], os.environ['OPENAI_API_KEY'], os.environ['KEPT']); exit(7)"
    )
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "tollway_cli", "run", "--state", instance.state),
            *("--agent", "team-a/researcher", "--", sys.executable, "-c", script),
        ],
        env={**os.environ, "OPENAI_API_KEY": "sk-of-my-own", "KEPT": "kept"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (7, "http://127.0.0.1:15001/openai/v1 tollway kept\n")


def test_looking_at_an_instance_imports_nothing_heavy(instance) -> None:
    instance.answers["GET /limits"] = (200, {"counters": []})
    script = (
        "import sys\n"
        "from tollway_cli.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'envoy_data_plane', 'cryptography', 'aiohttp', 'openai'} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "limits", "--state", instance.state], capture_output=True, text=True, check=False
    )
    assert ran.stdout == "No call was counted yet.\n[]\n"


def test_a_price_is_exact_and_says_where_it_is_from(tollway) -> None:
    ran = tollway("prices", "gpt-4o", "-o", "json")
    found = next(model for model in ran.json["models"] if model["provider_type"] == "OpenAI")
    standard = next(price for price in found["prices"] if price["tier"] == "")
    assert (standard["input"], standard["output"]) == ("2.50", "10.00")
    assert found["source"]
    assert ran.json["date"]


def test_a_model_without_a_price_is_1(tollway) -> None:
    ran = tollway("prices", "no-such-model")
    assert ran.code == 1
    assert "spec.prices" in ran.err


def test_version_is_told(tollway: Callable[..., object]) -> None:
    assert tollway("--version").out.startswith("tollway, version ")  # type: ignore[attr-defined]


def test_the_answer_goes_to_a_pipe_uncut(tollway, instance) -> None:
    long = CALL | {"model": "m" * 300}
    instance.answers["GET /ledger"] = (200, {"calls": [long], "totals": {}})
    assert "m" * 300 in tollway("ledger", "--state", instance.state).out


@pytest.mark.parametrize(
    "command", ["up", "run", "demo", "limits", "ledger", "explain", "top", "render", "prices", "doctor"]
)
def test_every_command_explains_itself(tollway, command) -> None:
    ran = tollway(command, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: tollway {command}")


def test_a_ready_file_that_is_none_is_3(tollway, tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text("{")
    ran = tollway("limits", "--state", tmp_path)
    assert ran.code == 3
    assert "is not a ready file" in ran.err

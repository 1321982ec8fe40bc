"""What an instance says of itself in its state directory, for those who look when it no longer answers."""

import json
import os
import signal
from pathlib import Path

from msgspec.structs import replace

from installations import agent, budget, children_of, provider, quota, running, secret, wait_until
from tollway_cli.standalone.self_report import FILE_NAME, Reporter, SelfReport, read_report

REPORT = SelfReport("1.0", 1, 0, "/config", "/ledger", "deny", "/envoy", "/ca.pem", given_secrets=("a/b",))


def test_it_is_written_when_it_changes_and_only_then(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path)
    reporter.tell(REPORT)
    first = (tmp_path / FILE_NAME).stat()
    reporter.tell(REPORT)
    assert (tmp_path / FILE_NAME).stat() == first
    reporter.tell(replace(REPORT, problems=("a.yaml: no",)))
    assert read_report(tmp_path) == replace(REPORT, problems=("a.yaml: no",))


def test_what_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    assert read_report(tmp_path) is None
    (tmp_path / FILE_NAME).write_text("{")
    assert read_report(tmp_path) is None


def test_a_running_instance_tells_its_processes_its_problems_and_its_crashes() -> None:
    with running([secret(), provider(), agent("a"), quota("q", budget("1.00"))]) as (installation, _):

        def told() -> SelfReport:
            found = read_report(installation.state)
            assert found is not None
            return found

        assert told().config == str(installation.config)
        wait_until(lambda: [each.pid is not None for each in told().processes] == [True] * 3, 5)
        assert {each.pid for each in told().processes} <= set(children_of(installation.pid))
        installation.write("bad.yaml", [{"kind": "Nonsense"}])
        wait_until(lambda: any("bad.yaml" in problem for problem in told().problems), 3)
        (installation.config / "bad.yaml").unlink()
        wait_until(lambda: told().problems == (), 3)
        os.kill(next(each.pid for each in told().processes if each.pid and each.name == "team-a/a"), signal.SIGKILL)
        wait_until(lambda: "killed by SIGKILL" in json.dumps([each.ended for each in told().processes]), 3)
        installation.stop()
        assert told().pid == installation.pid

"""Several `tollway up` on one state directory, or on one ledger: exactly one serves, the others say who does."""

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ending.acting_provider import ActingProvider
from ending.stage import Stage, documents
from installations import Installation, wait_until
from surviving.faults import is_in_order, recovers

TOGETHER = 3


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Nothing runs yet."""
    with ActingProvider() as acting, tempfile.TemporaryDirectory(prefix="tollway-") as folder:
        yield Stage(Installation(Path(folder), documents(acting)), acting)


@contextlib.contextmanager
def started(installation: Installation, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tollway_cli", "up", "--config", installation.config, "--state"]
    command += [installation.state, "--ready-file", installation.ready_file]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_of_several_that_start_together_one_serves_and_the_others_say_which(stage: Stage) -> None:
    installation = stage.installation
    outputs = [installation.folder / f"{number}.log" for number in range(TOGETHER)]
    with contextlib.ExitStack() as stack:
        several = [stack.enter_context(started(installation, output)) for output in outputs]
        wait_until(lambda: sum(each.poll() is None for each in several) == 1, 60)
        (serving,) = [each for each in several if each.poll() is None]
        wait_until(installation.ready_file.exists, 60)
        for each, output in zip(several, outputs, strict=True):
            if each is not serving:
                assert each.returncode == 3
                # Who has just taken it may not have written down yet who it is.
                said = rf"in use by a running `tollway up` \(process ({serving.pid}|unknown)\)"
                assert re.search(said, output.read_text()), output.read_text()
        installation._process = serving
        shares_no_ledger(installation, serving.pid)
        assert recovers(stage, time.monotonic(), within=20)
        assert is_in_order(stage)


def shares_no_ledger(installation: Installation, holder: int) -> None:
    """One of another state would end the holds of this one."""
    ledger = installation.state / "ledger.sqlite"
    command = [sys.executable, "-m", "tollway_cli", "up", "--config", installation.config]
    command += ["--state", installation.folder / "other", "--store", f"sqlite://{ledger}"]
    other = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert other.returncode == 3
    assert f"the ledger {ledger} is in use by a running `tollway up` (process {holder})" in other.stderr
    assert "--store" in other.stderr

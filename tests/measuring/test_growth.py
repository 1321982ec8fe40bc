"""`make bench-growth` in small: it fills sound ledgers, measures every axis, and says by its exit what came out."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_axis_is_measured_on_ledgers_that_add_up(tmp_path: Path) -> None:
    output = tmp_path / "growth.json"
    small = ("--agents", "20", "--calls", "2000", "--quotas", "30", "--rounds", "3", "--round", "20")
    command = [sys.executable, "-m", "bench.growth", *small, "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    growths = json.loads(output.read_text())["growths"]
    assert [each["axis"]["grows"] for each in growths] == ["agents", "calls", "quotas", "quotas"]
    assert all(each["ratio"] > 0 and each["little_us"] > 10 for each in growths)
    assert done.returncode == int(any(each["ratio"] > 1.2 for each in growths)), done.stderr
    assert ("above 1.2" in done.stdout) == bool(done.returncode)

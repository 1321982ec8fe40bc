"""Pin all dependencies, with hashes and without any index address, for every Python and machine we support.

`--upgrade` moves to the newest versions, `--check` only tells whether the committed pins still satisfy pyproject.toml.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "requirements" / "run.txt"
DEV = ROOT / "requirements" / "dev.txt"
FUZZ = ROOT / "requirements" / "fuzz.txt"
OPERATOR = ROOT / "requirements" / "operator.txt"
EXTAUTHZ = ROOT / "requirements" / "extauthz.txt"
PINS = {RUN: ("cli",), DEV: ("dev",), FUZZ: ("fuzz",), OPERATOR: ("operator",), EXTAUTHZ: ("extauthz",)}
AS_IN = {FUZZ: DEV, OPERATOR: RUN, EXTAUTHZ: RUN}
"""What both have is in the same version: fuzz is installed beside dev, and images run what was tested."""


def compile_pins(pins: Path, output: Path, *, upgrade: bool) -> None:
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version=3.11", "--generate-hashes"]
    command += [
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-header",
        "--no-annotate",
        f"--output-file={output}",
    ]
    command += [f"--extra={extra}" for extra in PINS[pins]]
    if pins in AS_IN:
        command += [f"--constraint={AS_IN[pins]}"]
    command += ["--no-emit-package=tollway", "pyproject.toml", *(["--upgrade"] if upgrade else [])]
    subprocess.run([Path(sys.executable).with_name("uv"), *command[1:]], cwd=ROOT, check=True)


def check() -> int:
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        for pins in PINS:
            fresh = Path(folder) / pins.name
            shutil.copy(pins, fresh)
            compile_pins(pins, fresh, upgrade=False)
            if fresh.read_bytes() != pins.read_bytes():
                stale.append(pins)
    for pins in stale:
        print(
            f"{pins.relative_to(ROOT)} does not fit pyproject.toml: run `make generate-requirements`", file=sys.stderr
        )
    return 1 if stale else 0


def main() -> int:
    if "--check" in sys.argv[1:]:
        return check()
    for pins in PINS:
        compile_pins(pins, pins, upgrade="--upgrade" in sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())

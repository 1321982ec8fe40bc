"""What our programs are made of: pinned by hash, nothing that runs by itself, and no code out of data."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINS = sorted((ROOT / "requirements").glob("*.txt"))
SOURCES = ("core", "operator", "extauthz", "cli")
UNWANTED = {"litellm", "python-jose", "jinja2", "pickle5", "dill", "cloudpickle", "xds-protos"}


def requirements(pins: Path) -> Iterator[tuple[str, str]]:
    """Each requirement and what belongs to it, on one line."""
    joined = re.sub(r" *\\\n\s*", " ", pins.read_text())
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        yield re.split(r"[=<>!~ ;@\[]", line, maxsplit=1)[0].lower(), line


@pytest.mark.parametrize("pins", PINS, ids=lambda path: path.name)
def test_every_requirement_is_one_version_with_hashes_and_no_address(pins: Path) -> None:
    found = list(requirements(pins))
    assert found
    for name, line in found:
        assert re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.]+( ;[^#]*?)?( --hash=sha256:[0-9a-f]{64})+$", line), (
            name
        )
        assert "://" not in line


def test_these_pins_are_what_make_installs() -> None:
    assert {path.name for path in PINS} >= {"dev.txt", "run.txt"}
    makefile = re.sub(r"\\\n", " ", (ROOT / "Makefile").read_text())
    installs = [line for line in makefile.splitlines() if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


@pytest.mark.parametrize("pins", PINS, ids=lambda path: path.name)
def test_nothing_is_required_that_has_no_business_here(pins: Path) -> None:
    assert not UNWANTED & {name for name, _ in requirements(pins)}


def test_nothing_that_runs_reads_tokens_and_what_the_tests_read_them_with_is_mended() -> None:
    assert "pyjwt" not in {name for name, _ in requirements(ROOT / "requirements" / "run.txt")}
    pinned = [line for name, line in requirements(ROOT / "requirements" / "dev.txt") if name == "pyjwt"]
    for line in pinned:
        assert tuple(map(int, re.findall(r"\d+", line)[:2])) >= (2, 15)


def test_nothing_of_what_is_required_to_run_runs_when_python_starts() -> None:
    pinned = {name for name, _ in requirements(ROOT / "requirements" / "run.txt")}
    installed = [each for each in importlib.metadata.distributions() if each.name.lower().replace("_", "-") in pinned]
    assert len(installed) > 20
    starting = {f"{each.name}: {file}" for each in installed for file in each.files or () if runs_at_start(str(file))}
    assert starting == set()


def runs_at_start(file: str) -> bool:
    """Whether Python runs it unasked: lines of `.pth` files, and two modules by name."""
    return "/" not in file and (file.endswith(".pth") or file in {"sitecustomize.py", "usercustomize.py"})


def test_our_own_distribution_brings_at_most_the_paths_of_its_sources() -> None:
    ours = importlib.metadata.distribution("tollway")
    paths = [file for file in ours.files or () if str(file).endswith(".pth")]
    lines = [line for file in paths for line in Path(str(file.locate())).read_text().splitlines() if line]
    assert not [line for line in lines if line.startswith(("import ", "import\t"))]
    assert {Path(line).name for line in lines} <= set(SOURCES)


def test_the_wheel_has_our_four_packages_and_nothing_else() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert set(built) == {"wheel"}
    assert {path.split("/")[0] for path in built["wheel"]["packages"]} == set(SOURCES)


OUT_OF_DATA = ("S102", "S301", "S302", "S307", "S313", "S314", "S315", "S506", "S602", "S604", "S605", "S609", "S701")
UNVERIFIED = ("S501", "S323", "S113", "S502", "S503", "S504", "S310", "S324", "S108", "S306")


@pytest.mark.parametrize("rules", [OUT_OF_DATA, UNVERIFIED], ids=["code out of data", "nothing is left unverified"])
def test_no_source_has_it_and_none_may_say_that_it_is_meant(rules: tuple[str, ...]) -> None:
    command = [Path(sys.executable).with_name("ruff"), "check", "--isolated", "--ignore-noqa", "--no-cache"]
    command += [f"--select={','.join(rules)}", "--output-format=concise", *SOURCES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_these_rules_are_part_of_every_lint() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not set(lint["ignore"]) & {*OUT_OF_DATA, *UNVERIFIED}


CALLED_AS_CODE = {"eval", "exec", "compile", "__import__"}
READERS = {"jwt", "jose", "pickle", "marshal", "shelve", "dill", "jinja2", "mako", "ctypes.util"}


def test_no_source_calls_a_text_as_code_and_none_imports_what_does() -> None:
    for path in (file for folder in SOURCES for file in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        names = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not names & CALLED_AS_CODE, path
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & READERS, path


def test_the_only_code_that_an_envoy_runs_are_two_files_of_ours() -> None:
    found = sorted((ROOT / "operator").rglob("*.lua"))
    assert [path.name for path in found] == ["events.lua", "road.lua"]
    code = "".join(path.read_text() for path in found)
    assert not re.findall(r"\b(os|io|loadstring|load|dofile|require|debug|package|httpCall)\b[.(:]", code)

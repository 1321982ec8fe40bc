"""What the documentation names is there: pages and sections, files, make targets, commands and their options, values of
the chart, reasons of refusals.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
import yaml

from tollway.deciding import reasons
from tollway.ledger.port import Shortness
from tollway.providers.reading import Reason
from tollway_cli.__main__ import tollway
from tollway_extauthz.peer import PeerReason
from tollway_operator.envoy.local_replies import GATEWAY_FAILURES, SIDECAR_FAILURES

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for pattern in ("*.md", "docs/**/*.md", "tests/**/README.md")
    for path in sorted(ROOT.glob(pattern))
}
EXAMPLES = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob("examples/**/*.yaml"))}
FOLDERS = "core|operator|extauthz|cli|charts|crds|docs|examples|tests|tools|bench|fuzz|images|requirements"
FILES = {path.name for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.*")}
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VALUES = yaml.safe_load((ROOT / "charts" / "tollway" / "values.yaml").read_text())

each_page = pytest.mark.parametrize("page", PAGES)
each_text = pytest.mark.parametrize("text", [*PAGES.values(), *EXAMPLES.values()], ids=[*PAGES, *EXAMPLES])


def spans(text: str) -> list[str]:
    """What stands between backticks."""
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def code(text: str) -> Iterator[str]:
    """Lines of code: fenced or indented ones, and indented ones of a comment."""
    fenced = False
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith(("    ", "#   ")):
            yield line.lstrip("# ").partition("  #")[0]


def commands(text: str, program: str) -> list[str]:
    """What is typed after `program`."""
    return [each.removeprefix(f"{program} ") for each in [*code(text), *spans(text)] if each.startswith(f"{program} ")]


def anchors(page: Path) -> set[str]:
    """As the forge makes them of titles."""
    titles = re.findall(r"^#+ (.+)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_link_leads_to_a_page_and_a_section_that_are_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in target:
            continue
        name, _, section = target.partition("#")
        found = (ROOT / page).parent / name if name else ROOT / page
        assert found.exists(), target
        assert not section or section in anchors(found), target


@each_page
def test_every_file_and_folder_is_there(page: str) -> None:
    named = {word for span in spans(PAGES[page]) for word in re.findall(r"[\w./*-]+", span)}
    for path in (name for name in named if re.match(rf"({FOLDERS})/", name)):
        assert any(ROOT.glob(path.rstrip("./"))), path
    for module in (name for name in named if re.fullmatch(r"\w+\.py", name)):
        assert module in FILES, module


@each_text
def test_every_make_target_is_there(text: str) -> None:
    named = {target for line in commands(text, "make") for target in line.split()[0].split("|")}
    assert {name.strip(".,;") for name in named if not name.endswith("-*")} - {"generate-x"} <= TARGETS


@each_text
def test_every_command_takes_what_is_said_of_it(text: str) -> None:
    for line in commands(text, "tollway"):
        for problem in problems(line):
            pytest.fail(f"tollway {line}: {problem}")


def problems(line: str) -> Iterator[str]:
    """`line` is as it stands after `tollway`: with [--what may be left out], this|or|that, NAMES and …"""
    words = re.split(r"[\s\[\]]+", line.partition(" -- ")[0].strip("[]"))
    command: click.Command = tollway
    while words and isinstance(command, click.Group) and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    if command is tollway and words and re.match(r"[a-z]", words[0]):
        yield f"there is no command {words[0]}"
    known = {option for each in command.params for option in each.opts} | {"--help", "--version"}
    yield from (f"there is no option {word}" for word in words if re.match("--?[a-z]", word) and word not in known)
    for choice in (each.type for each in command.params if isinstance(each, click.Argument)):
        if isinstance(choice, click.Choice) and words and re.match("[a-z]", words[0]):
            yield from (f"it does not {word}" for word in words[0].split("|") if word not in choice.choices)


def test_every_value_of_the_chart_is_there() -> None:
    page = PAGES["docs/install.md"]
    rows = re.findall(r"^\| (`.+?`) \|", page.partition("## Values")[2], re.MULTILINE)
    named = [name for row in rows for name in spans(row)] + re.findall(r"--set '?([\w.]+)=", page)
    assert len(named) > 10
    assert [name for name in named if not is_value(name.split("."), VALUES)] == []


def is_value(path: list[str], values: object) -> bool:
    """`*`: one of them has it."""
    if not path or not isinstance(values, Mapping):
        return not path
    below = values.values() if path[0] == "*" else [values[path[0]]] if path[0] in values else []
    return any(is_value(path[1:], value) for value in below)


def test_every_reason_of_a_refusal_is_told_and_no_other() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", PAGES["docs/limits.md"].partition("## Refusals")[2], re.MULTILINE)
    told = {name for row in rows for name in spans(row)}
    local = {failure.reason for failure in [*GATEWAY_FAILURES, *SIDECAR_FAILURES]}
    quota = {f"quota.<unit>.{shortness}" for shortness in Shortness}
    assert told == {*reasons.KINDS, *PeerReason, *Reason, *local, *quota}

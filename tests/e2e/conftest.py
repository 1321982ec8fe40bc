"""Stories are told on the cluster that KUBECONFIG names, and only where that is asked for: `make e2e`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.installation import Installation, install, load_images, prepare
from e2e.report import table, written

_HERE = Path(__file__).parent
_STORIES = frozenset(path.parent for path in _HERE.glob("*/README.md"))
_LAST = _HERE / "uninstalling"
_TOLD = pytest.StashKey[Installation]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("TOLLWAY_E2E"):
        reason = "changes a whole cluster: `make e2e` runs it on the one that KUBECONFIG names"
        for item in items:
            if item.path.is_relative_to(_HERE):
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: item.path.parent == _LAST)


@pytest.fixture(scope="session")
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Installed once, for all stories."""
    load_images(os.environ)
    prepare()
    done = install()
    request.config.stash[_TOLD] = done
    yield done
    told = {item.path.parent for item in request.session.items}
    if not request.session.testsfailed and told >= _STORIES:
        written(done)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if done := config.stash.get(_TOLD, None):
        terminalreporter.section("what was measured")
        terminalreporter.write_line(table(done))

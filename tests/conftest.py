"""What every folder of tests may use."""

import pytest

from clusters import cluster as cluster
from clusters import kube_binaries as kube_binaries


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files; read the difference first")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))

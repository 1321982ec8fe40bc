"""What the tests of the chart share."""

from collections.abc import Mapping

import pytest

from charting.charts import Helm


@pytest.fixture(scope="session")
def helm(kube_binaries: Mapping[str, str]) -> Helm:
    return Helm(kube_binaries)

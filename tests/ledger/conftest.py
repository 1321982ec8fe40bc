"""Every store passes the same tests: a test that takes `ledger` runs against each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.stores.sqlite import SQLiteLedger


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryLedger | SQLiteLedger]:
    store = MemoryLedger() if request.param == "memory" else SQLiteLedger(tmp_path / "ledger.db")
    yield store
    assert store.verify() == []
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger's file may be made."""
    return tmp_path / "ledger.db"

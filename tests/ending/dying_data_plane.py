"""The data plane on a ledger that kills its process, as SIGKILL does, at the moment a test has chosen.

A file named after the moment, beside the ledger, arms it: once.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tollway.ledger.port import CallFacts, Demand, Granted, Settlement, Short, Sizes, Source
from tollway.ledger.units import Amounts
from tollway_extauthz.__main__ import main
from tollway_extauthz.settings import Settings
from tollway_extauthz.stores.sqlite import SQLiteLedger


class DyingLedger(SQLiteLedger):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._granted = self._settled = False
        self._armed_by = path.parent

    @contextmanager
    def batch(self) -> Iterator[None]:
        self._granted = self._settled = False
        with super().batch():
            yield
        # Only now it has happened; nobody has been told yet.
        if self._granted:
            self._die("after-grant")
        if self._settled:
            self._die("after-settlement")

    def reserve(
        self, hold_id: str, facts: CallFacts, demands: Sequence[Demand], sizes: Sizes, now: int, deadline: int
    ) -> Granted | Short:
        self._die("before-grant")
        outcome = super().reserve(hold_id, facts, demands, sizes, now, deadline)
        self._granted = isinstance(outcome, Granted)
        return outcome

    def settle(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> Settlement:
        self._die("before-settlement")
        self._settled = True
        return super().settle(hold_id, amounts, source, now)

    def _die(self, moment: str) -> None:
        armed = self._armed_by / moment
        if armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def open_ledger(settings: Settings) -> SQLiteLedger:
    return DyingLedger(Path(settings.ledger))


if __name__ == "__main__":
    sys.exit(main(open_ledger))

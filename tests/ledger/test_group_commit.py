"""Many threads, few transactions: what is wanted while one is under way goes into the next, all of it."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tollway.ledger.port import LedgerUnavailable
from tollway_extauthz.stores.sqlite.commits import GroupCommit
from tollway_extauthz.stores.sqlite.schema import connect


class Transactions:
    """A real database of one table, and a count of what happened to it."""

    def __init__(self, path: Path) -> None:
        sqlite3.connect(path).close()
        self.connection = connect(path)
        self.connection.execute("CREATE TABLE numbers (number)")
        self.begun = 0
        self.undone = 0
        self.commits = GroupCommit(self.connection, self._begin, self._undo)

    def insert(self, number: int, fails: BaseException | None = None) -> int:
        def operation() -> int:
            self.connection.execute("INSERT INTO numbers VALUES (?)", (number,))
            if fails is not None:
                raise fails
            return number

        return self.commits.run(operation)

    def numbers(self) -> list[int]:
        return [number for (number,) in self.connection.execute("SELECT number FROM numbers ORDER BY number")]

    def while_one_is_under_way(self, *works: Callable[[], object]) -> list[object]:
        """What `works` came to, each in a thread of its own, all queued during one transaction."""
        entered, leave, came = threading.Event(), threading.Event(), [None] * len(works)

        def block() -> None:
            entered.set()
            leave.wait()

        def run(n: int) -> None:
            try:
                came[n] = works[n]()
            except BaseException as error:  # noqa: BLE001 - compared by the test
                came[n] = error

        threads = [threading.Thread(target=self.commits.run, args=(block,))]
        threads += [threading.Thread(target=run, args=(n,)) for n in range(len(works))]
        threads[0].start()
        entered.wait()
        for n, thread in enumerate(threads[1:]):
            thread.start()
            while len(self.commits._queue) <= n:
                time.sleep(0.001)
        leave.set()
        for thread in threads:
            thread.join()
        return came

    def _begin(self) -> None:
        self.begun += 1

    def _undo(self) -> None:
        self.undone += 1


@pytest.fixture
def transactions(path: Path) -> Iterator[Transactions]:
    made = Transactions(path)
    with closing(made.connection):
        yield made


def test_all_that_is_queued_during_a_transaction_is_the_next_one(transactions: Transactions) -> None:
    works = [lambda n=n: transactions.insert(n) for n in range(7)]
    assert transactions.while_one_is_under_way(*works) == list(range(7))
    assert transactions.numbers() == list(range(7))
    assert transactions.begun == 2


def test_one_that_fails_is_undone_alone(transactions: Transactions) -> None:
    error = ValueError("no")
    came = transactions.while_one_is_under_way(
        lambda: transactions.insert(1), lambda: transactions.insert(2, error), lambda: transactions.insert(3)
    )
    assert came == [1, error, 3]
    assert transactions.numbers() == [1, 3]
    assert transactions.undone == 2  # once together, once alone


class Failing:
    """The same connection, on which each of `statements` fails once; the one that begins when it has begun."""

    def __init__(self, connection: sqlite3.Connection, *statements: str) -> None:
        self._connection = connection
        self._failing = list(statements)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, query: str) -> object:
        if query in self._failing:
            self._failing.remove(query)
            if query == "BEGIN IMMEDIATE":
                self._connection.execute(query)
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(query)


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(["BEGIN IMMEDIATE"], id="as it begins"),
        pytest.param(["COMMIT"], id="as it is committed"),
        pytest.param(["COMMIT", "ROLLBACK"], id="as it is committed, and as that is undone"),
    ],
)
def test_whatever_fails_of_a_transaction_nothing_of_it_stays_and_the_next_one_is_whole(
    transactions: Transactions, failing: list[str]
) -> None:
    transactions.commits._connection = Failing(transactions.connection, *failing)  # type: ignore[assignment]
    with pytest.raises(LedgerUnavailable, match="disk I/O error"):
        transactions.insert(1)
    assert transactions.undone >= 1
    assert transactions.insert(2) == 2
    assert transactions.numbers() == [2]
    assert not transactions.connection.in_transaction


def test_an_interrupted_leader_leaves_nobody_asleep_and_nothing_half_done(transactions: Transactions) -> None:
    came = transactions.while_one_is_under_way(
        lambda: transactions.insert(1, KeyboardInterrupt()), lambda: transactions.insert(2)
    )
    assert [type(each) for each in came] == [KeyboardInterrupt, LedgerUnavailable]
    assert transactions.numbers() == []
    assert transactions.insert(3) == 3
    assert transactions.numbers() == [3]

"""Random interleavings of all that a ledger does, from a seed: `python tests/ledger/interleavings.py` runs many.

Each is some forty operations of a few calls on a few limits, between clock steps, changes of the limits, restarts and
crashes; in many of them two processes take turns, or operations come in batches that are kept or lost together. A seed
that fails is pinned in `test_interleavings`.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ledger.conversation import CALLERS, LIMITS, SOON, Conversation
from tollway.ledger.port import CallFacts, Demand, Sizes, Source
from tollway.ledger.units import Amounts
from tollway_extauthz.stores.sqlite import SQLiteLedger

AMOUNTS = (0, 1, 3, 20, 50, 50, 200, 200, 1000)
STEPS = (-5_000, 2_000, 10_000, SOON, 4 * SOON, 86_400_000)
OPERATIONS = 40
_CHANGING = [name for name, (_, shapes) in LIMITS.items() if len(shapes) > 1]


class Interleaving:
    """One conversation, all of whose choices are made by `dice`."""

    def __init__(self, talk: Conversation, dice: random.Random, company: random.Random | None = None) -> None:
        self._talk = talk
        self._company = company
        self._dice = dice
        # Few limits, that many calls meet; or all of them, each now and then.
        self._names = dice.sample(list(LIMITS), dice.choice((1, 2, 2, 3, len(LIMITS) - 1)))
        # A limit that changes its shape keeps its amount: the model does not tell when each counter learns of another.
        self._amounts = {name: dice.choice(AMOUNTS[2:]) for name in _CHANGING}
        self._often: dict[Callable[[], None], int] = {
            self._reserve: 30,
            self._settle: 20,
            self._extend: 10,
            self._pass: 10,
            self._change: 6,
            self._lower: 5,
            self._renew: 3,
            self._expire: 5,
            self._repeat: 2,
            self._cut_off: 3,
            talk.the_next_commit_fails: 2,
            talk.the_process_restarts: 1,
            talk.another_process_opens_the_file: 1,
            talk.the_process_before_goes_on: 2,
            talk.the_process_dies: 1,
            talk.check_counters: 6,
        }

    def run(self) -> None:
        operations, weights = list(self._often), list(self._often.values())
        turns, batches = (0.0, 0.0) if self._company is None else self._habits(self._company)
        for operation in self._dice.choices(operations, weights, k=OPERATIONS):
            if self._company is not None and self._company.random() < turns:
                self._talk.the_process_before_goes_on()
            if self._company is not None and self._company.random() < batches:
                self._batch(self._company)
            operation()
        self._talk.check()

    def _habits(self, company: random.Random) -> tuple[float, float]:
        """How often the other process goes on, if there is one, and how often several operations are one batch."""
        if company.random() < 0.2:
            self._talk.little_is_remembered()
        if company.random() < 0.5:
            self._talk.another_process_opens_the_file()
            return company.choice((0.1, 0.5)), 0.1
        return 0.0, 0.2

    def _batch(self, company: random.Random) -> None:
        several = [self._reserve, self._settle, self._extend, self._lower, self._renew, self._expire, self._repeat]
        often = [30, 20, 5, 3, 3, 3, 3]
        chosen = company.choices([*several, self._pass, self._change], [*often, 5, 2], k=company.randint(1, 8))
        end = company.choice(("kept", "kept", "left", "full"))
        self._talk.a_batch(lambda: [operation() for operation in chosen] and None, end)
        self._talk.check_counters()

    def _pass(self) -> None:
        self._talk.time_passes(self._dice.choice((self._dice.randint(-50, 300), self._dice.choice(STEPS))))

    def _change(self) -> None:
        self._talk.a_limit_is_counted_another_way(self._dice.choice(self._names), self._dice.randrange(4))

    def _cut_off(self) -> None:
        self._talk.the_next_transaction_is_cut_off(self._dice.randint(1, 400))

    def _reserve(self) -> None:
        sizes = sorted((self._dice.randint(0, 40), self._dice.randint(0, 40)))
        of = self._dice.choice(CALLERS)
        self._talk.a_call_reserves(of, self._demands(of), Sizes(*sizes), self._dice.choice((0, 50, 5_000, 10**9)))

    def _repeat(self) -> None:
        of = self._dice.choice(CALLERS)
        self._talk.a_call_id_comes_again(self._which(), of, self._demands(of))

    def _extend(self) -> None:
        self._talk.a_call_extends(self._which(), self._dice.randint(-5, 30), self._dice.randint(0, 30))

    def _lower(self) -> None:
        self._talk.a_call_is_lowered(self._which(), self._dice.randint(-1, 40))

    def _renew(self) -> None:
        self._talk.a_call_is_renewed(self._which(), self._dice.randint(0, 10_000))

    def _settle(self) -> None:
        amounts = (self._dice.randint(0, most) for most in (1, 10, 60, 30))
        self._talk.a_call_is_settled_or_corrected(self._which(), Amounts(*amounts), self._dice.choice(list(Source)))

    def _expire(self) -> None:
        ago = self._dice.choice((None, None, 0, 100, 5_000))
        self._talk.holds_expire(0 if ago is None else self._talk.time - ago)

    def _demands(self, of: CallFacts) -> list[Demand]:
        names = self._dice.sample(self._names, self._dice.randint(1, len(self._names)))
        amounts = {name: self._amounts.get(name) or self._dice.choice(AMOUNTS) for name in names}
        rigid = {name for name in names if self._dice.random() < 0.25}
        return self._talk.demands(amounts, of, rigid, {name for name in names if self._dice.random() < 0.25})

    def _which(self) -> int:
        """Mostly one of the latest calls that were granted, else any, or one that never was."""
        recent = self._talk.granted[-6:]
        return self._dice.choice(recent) if recent and self._dice.random() < 0.9 else self._dice.randint(0, 30)


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder to make ledgers in, in memory where that is possible; `new.db` there is an empty one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None, prefix="interleavings-") as folder:
        SQLiteLedger(Path(folder) / "new.db").close()
        yield Path(folder)


def run(seed: int, folder: Path, *, alone: bool = False) -> None:
    """Run the interleaving of `seed`; raises what it finds. `alone`: one process, and no batches."""
    within = folder / f"{seed}"
    within.mkdir()
    talk = Conversation(within, folder / "new.db")
    try:
        Interleaving(talk, random.Random(seed), None if alone else random.Random(f"company of {seed}")).run()
    finally:
        talk.close()
        shutil.rmtree(within)


def _failures(seeds: range) -> list[tuple[int, str]]:
    found = []
    with workshop() as folder:
        for seed in seeds:
            try:
                run(seed, folder)
            except Exception:  # noqa: BLE001 - whatever it is, it is reported with its seed
                found.append((seed, traceback.format_exc(limit=-3)))
    return found


def _say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    end, began, done, failed = options.first + options.runs, time.monotonic(), 0, 0
    parts = [range(first, min(first + 500, end)) for first in range(options.first, end, 500)]
    with multiprocessing.Pool(options.jobs) as pool:
        for part, failures in zip(parts, pool.imap(_failures, parts), strict=True):
            done, failed = done + len(part), failed + len(failures)
            for seed, said in failures[:3]:
                _say(f"seed {seed} fails:\n{said}")
            if done % 10_000 < len(part):
                _say(f"{done} interleavings, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

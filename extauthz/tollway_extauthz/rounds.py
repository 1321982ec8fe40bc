"""The work of the data plane, in rounds: whatever came since the last one is done in one transaction of the ledger.

Everything that writes the ledger happens here, in one thread. In a round those who waited for room try again, if calls
have ended since; then the new calls are decided. Nobody is answered before the transaction is complete: if
it fails, nothing of the round has happened, and its calls are refused as undecided.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from tollway.deciding import reasons
from tollway.deciding.admission import Admission
from tollway.deciding.checks import refusal_before_body
from tollway.deciding.question import Question
from tollway.ledger.port import Granted, Ledger, LedgerUnavailable, LimitRecounting, Short
from tollway.providers.json_scan import Body
from tollway.providers.port import Refusal
from tollway.settling.call_end import CallEnd
from tollway_extauthz import answers
from tollway_extauthz.authorizer import Authorizer
from tollway_extauthz.body_reader import BIG, BodyReader, ReaderGone
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.questions import asked_in, question_of
from tollway_extauthz.rules import Rules
from tollway_extauthz.settler import Settler
from tollway_extauthz.waiting_room import WaitingRoom, may_end_soon
from tollway_extauthz.wire.envoy_subset_pb2 import AttributeContext

_log = logging.getLogger(__name__)
CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_CALL_ID: Final = re.compile(r"[!-~]{1,128}")
_LOOK_AGAIN_S: Final = 0.01
"""While calls wait: how often it is looked what other processes gave back, and whose time is up."""


class Asking(Protocol):
    """Who is to be answered."""

    @property
    def is_wanted(self) -> bool: ...

    def answer(self, message: bytes) -> None: ...


Obstacle = Short | LimitRecounting
"""Why a call cannot go now, but may soon."""


@dataclass(slots=True, eq=False)
class _Case:
    """One call on its way to an answer. `began` is of the timer, in seconds."""

    asking: Asking
    provider: str
    family: str
    question: Question
    began: float
    checked: Refusal | Admission | None = None
    obstacle: Obstacle | None = None
    answer: bytes = b""
    reason: str = ""


class Rounds:
    """`flush` sends what was answered. Needs a running loop."""

    def __init__(
        self,
        rules: Callable[[], Rules | None],
        ledger: Ledger,
        authorizer: Authorizer,
        settler: Settler,
        metrics: Metrics,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        timer: Callable[[], float],
        flush: Callable[[], None],
        *,
        uncovered_allowed: bool,
    ) -> None:
        self._rules = rules
        self._ledger = ledger
        self._authorizer = authorizer
        self._settler = settler
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock
        self._timer = timer
        self._flush = flush
        self._uncovered_allowed = uncovered_allowed
        self._arrived: list[_Case] = []
        self._decided: list[_Case] = []
        self._waiting: WaitingRoom[_Case] = WaitingRoom()
        self._bodies = BodyReader()
        self._reading: set[asyncio.Task[None]] = set()
        self._is_asked = False
        self._is_due = False
        self._looking: asyncio.TimerHandle | None = None
        self._given_back = False
        self._changes = 0

    # -- what comes in

    def ask(self, asking: Asking, message: bytes | bytearray) -> None:
        """Envoy asks about a call: a `CheckRequest`. Whatever it is, it is answered, and never granted by mistake.

        It is decided by `decide`, with all others that are asked before that.
        """
        try:
            case = self._case(asking, *asked_in(message))
            is_big = case is not None and self._is_to_be_read_apart(case.question)
        except Exception:  # noqa: BLE001 - an exception must never mean a grant
            _log.exception("a question cannot be understood; the call is refused")
            case = None
        if case is None:
            self._metrics.checked("", reasons.INTERNAL, 0.0)
            asking.answer(answers.undecided("", ""))
        elif is_big:
            task = asyncio.get_running_loop().create_task(self._read_body(case))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
            return
        else:
            self._arrived.append(case)
        self._is_asked = True

    def decide(self) -> None:
        """A round for what was asked: now, and not when the loop comes round again."""
        if self._is_asked:
            self._is_asked = False
            self._run()

    def take_lines(self, ends: Sequence[CallEnd], note: Callable[[], None]) -> None:
        """What the access-log file tells, and, by `note`, how far it was read: both at once, or neither.

        Raises `LedgerUnavailable`, and then it has to be told again.
        """

        def take() -> None:
            self._take(ends)
            note()

        self._apart(take)
        self._metrics.lines_taken(len(ends))

    def expire(self, granted_before: int = 0) -> None:
        """Charge every hold that is past its deadline, or older than the gateway that lives, at its ceiling."""
        self._apart(lambda: self._settler.expire(granted_before))

    def end_overtaken(self) -> None:
        """End holds that another process granted only after their calls' ends were told here."""
        if ends := self._settler.overtaken():
            self._apart(lambda: self._take(ends))

    @property
    def reader_pid(self) -> int | None:
        """The process that reads big bodies, once there was one."""
        return self._bodies.pid

    async def finish(self, seconds: float) -> None:
        """Decide what has been asked, and waits or is being read, within `seconds`; then let go of it."""
        until = self._timer() + seconds
        while self._timer() < until and (self._is_due or self._reading or self._waiting):  # noqa: ASYNC110 - rare
            await asyncio.sleep(_LOOK_AGAIN_S)
        await self._bodies.close()

    # -- a round

    def _soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        """One round."""
        self._is_due = False
        arrived, self._arrived = self._arrived, []
        try:
            self._transact(arrived)
        except Exception as problem:  # noqa: BLE001 - whatever it is, nobody may be granted anything by it
            self._undone(arrived, problem)
        self._answer()
        if self._waiting and self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._look_again)

    def _transact(self, arrived: Sequence[_Case]) -> None:
        # Most of the work, and before the transaction: other processes may have theirs meanwhile.
        checked = [case for case in arrived if self._is_checked(case)]
        with self._ledger.batch():
            if self._waiting:
                self._waiting.try_again(self._clock(), self._is_done, self._turn_away, everybody=self._given_back)
            for case in checked:
                if not self._is_done(case) and not self._may_wait(case):
                    self._turn_away(case)
        self._given_back = False
        self._settler.confirm()

    def _take(self, ends: Iterable[CallEnd]) -> None:
        for end in ends:
            self._settler.take(end)

    def _apart(self, work: Callable[[], object]) -> None:
        """A transaction without calls to decide."""
        try:
            with self._ledger.batch():
                work()
        except BaseException:
            self._settler.forget()
            raise
        if self._settler.gave_back and self._waiting:
            self._given_back = True
            self._soon()
        self._settler.confirm()

    def _look_again(self) -> None:
        self._looking = None
        self._soon()
        with suppress(LedgerUnavailable):  # then only those try whose time is up
            changes = self._ledger.changes()
            self._given_back |= changes != self._changes
            self._changes = changes

    def _undone(self, arrived: Sequence[_Case], problem: Exception) -> None:
        """The transaction failed: what was decided in it was not."""
        is_known = isinstance(problem, LedgerUnavailable)
        _log.error("a round was undone, and its calls are refused: %s", problem, exc_info=not is_known)
        self._settler.forget()
        self._decided = list(dict.fromkeys((*self._decided, *arrived)))
        for case in self._decided:
            self._undecided(case)

    # -- one call in a round

    def _is_checked(self, case: _Case) -> bool:
        """Whether the checks have said something of the call."""
        if not case.asking.is_wanted:
            return False  # Envoy gave up, and nobody would use a hold
        try:
            case.checked = self._authorizer.decide(case.question)
        except Exception:  # noqa: BLE001 - one call that cannot be decided must not keep the others from it
            self._failed(case)
            return False
        return True

    def _is_done(self, case: _Case) -> bool:
        """Have the call held or refused; where it may go soon but not now, `case.obstacle` says why."""
        if not case.asking.is_wanted:
            return True
        try:
            case.obstacle = self._obstacle(case)
        except LedgerUnavailable:
            raise
        except Exception:  # noqa: BLE001 - as above
            self._failed(case)
            return True
        if case.obstacle is None:
            self._decided.append(case)
        return case.obstacle is None

    def _failed(self, case: _Case) -> None:
        _log.exception("a decision failed; the call is refused")
        self._undecided(case)
        self._decided.append(case)

    def _obstacle(self, case: _Case) -> Obstacle | None:
        assert case.checked is not None  # noqa: S101 - before its first transaction
        if isinstance(case.checked, Refusal):
            self._authorizer.refuse(case.question, case.checked)
            self._refused(case, case.checked)
            return None
        try:
            result = self._authorizer.reserve(case.question, case.checked)
        except LimitRecounting as recounting:
            return recounting
        if isinstance(result, Granted):
            self._settler.granted(case.question.call_id)
            case.answer = answers.allowed(case.question, result)
            return None
        return result

    def _may_wait(self, case: _Case) -> bool:
        may_end = not isinstance(case.obstacle, Short) or may_end_soon(case.obstacle)
        return may_end and self._waiting.enter(case, self._clock())

    def _turn_away(self, case: _Case) -> None:
        assert isinstance(case.checked, Admission)  # noqa: S101 - only the ledger stands in its way
        if isinstance(case.obstacle, Short):
            self._refused(case, self._authorizer.refuse_short(case.question, case.checked, case.obstacle))
        else:
            self._undecided(case)
        self._decided.append(case)

    def _refused(self, case: _Case, refusal: Refusal) -> None:
        case.reason = refusal.reason
        case.answer = answers.denied(case.question.family or answers.shape_of(case.family), refusal)

    def _undecided(self, case: _Case) -> None:
        case.reason = reasons.INTERNAL
        case.answer = answers.undecided(case.family, case.question.call_id)

    def _answer(self) -> None:
        now = self._timer()
        for case in self._decided:
            self._metrics.checked(case.provider, case.reason, now - case.began)
            case.asking.answer(case.answer)
        self._decided.clear()
        self._flush()

    # -- what a call says

    def _case(self, asking: Asking, attributes: AttributeContext, body: Body) -> _Case | None:
        """None where it cannot be decided: there are no rules yet, or Envoy gave the call no id of its own."""
        rules = self._rules()
        if rules is None:
            return None
        question = question_of(
            attributes, body, rules, self._clock(), self._wall_clock(), uncovered_allowed=self._uncovered_allowed
        )
        if not _CALL_ID.fullmatch(question.call_id):
            return None
        provider = question.provider_name if question.provider is not None else ""
        family = attributes.context_extensions.get("family", "")
        return _Case(asking, provider, family, question, self._timer())

    def _is_to_be_read_apart(self, question: Question) -> bool:
        return len(question.body) >= BIG and refusal_before_body(question) is None

    async def _read_body(self, case: _Case) -> None:
        try:
            parsed = await self._bodies.read(case.question, lambda: case.asking.is_wanted)
            if parsed is not None:
                case.question.take_parsed(parsed)
                self._arrived.append(case)
        except Exception as problem:  # noqa: BLE001 - an exception must never mean a grant, nor no answer
            size, is_known = len(case.question.body), isinstance(problem, ReaderGone)
            _log.error("a body of %d bytes was not read; the call is refused", size, exc_info=not is_known)
            self._undecided(case)
            self._decided.append(case)
        self._soon()

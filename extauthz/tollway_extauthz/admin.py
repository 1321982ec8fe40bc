"""What people may ask a running data plane: limits, calls, why; over a Unix socket that only its owner can open.

Answers are JSON for the command line, which makes tables of them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol

import msgspec
from aiohttp import web

from tollway.deciding.admission import LearnedOutput
from tollway.deciding.question import Question
from tollway.deciding.rehearsal import rehearse
from tollway.identity.spiffe_id import TrustDomain
from tollway.ledger.arithmetic import Use
from tollway.ledger.port import CallFilter, Counter, Ledger
from tollway.providers.registry import family_of
from tollway_extauthz import top
from tollway_extauthz.access_log_file import Checkpoints, backlog
from tollway_extauthz.reports import explanation, limits, mismatch_report, rehearsed, summaries, totals
from tollway_extauthz.rules import Rules
from tollway_extauthz.settings import Settings

_LARGEST_QUESTION: Final = 34 << 20
_LATELY_MS: Final = 10 * 60_000
_TOP_WINDOW_MS: Final = 60_000
_LONGEST_TOP_MS: Final = 24 * 3_600_000


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to rehearse: whose, where (empty: where most go), and what. `agent` is "namespace/name"."""

    agent: str
    provider: str
    path: str
    body: str


class Store(Ledger, Checkpoints, Protocol):
    """A ledger that also remembers how far the access log was taken."""


class Admin:
    def __init__(
        self,
        ledger: Store,
        rules: Callable[[], Rules | None],
        learned: LearnedOutput,
        clock: Callable[[], int],
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._current_rules = rules
        self._learned = learned
        self._clock = clock
        self._access_log = Path(settings.access_log)
        self._trust_domain = TrustDomain(settings.trust_domain)
        self._uncovered_allowed = settings.uncovered == "allow"

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_QUESTION)
        app.router.add_get("/status", self._status)
        app.router.add_get("/standing", self._standing)
        app.router.add_get("/limits", self._limits)
        app.router.add_get("/top", self._top)
        app.router.add_get("/ledger", self._calls)
        app.router.add_get("/ledger/verify", self._verify)
        app.router.add_get("/explain/{id}", self._explain)
        app.router.add_post("/explain", self._rehearse)
        return app

    async def _status(self, _: web.Request) -> web.Response:
        rules = self._current_rules()
        return _json({"generation": rules.generation if rules else None, "issuers": rules.issuers if rules else None})

    async def _standing(self, _: web.Request) -> web.Response:
        """How far this process and its ledger have come: what `tollway doctor` compares with clocks and files."""
        activity = await asyncio.to_thread(lambda: self._ledger.activity(self._clock() - _LATELY_MS))
        left = backlog(self._access_log, self._ledger)
        return _json(
            {
                "now": self._clock(),
                "uncovered": "allow" if self._uncovered_allowed else "deny",
                "ledger": {"latest": activity.latest, "first_deadline": activity.first_deadline},
                "refusals": [asdict(each) for each in activity.refusals],
                "access_log": {"behind": left.bytes, "written_at": left.written_at},
            }
        )

    async def _limits(self, _: web.Request) -> web.Response:
        now = self._clock()
        states = await asyncio.to_thread(self._ledger.counters, now)
        return _json({"counters": limits(states, self._rules().book.declared_counters(), now)})

    async def _top(self, request: web.Request) -> web.Response:
        window_ms = _whole_number(request, "window_ms", _TOP_WINDOW_MS)
        if not 1000 <= window_ms <= _LONGEST_TOP_MS:
            raise web.HTTPBadRequest(text=f"window_ms must be between 1000 and {_LONGEST_TOP_MS}")
        return _json(await asyncio.to_thread(self._look_at_top, window_ms))

    def _look_at_top(self, window_ms: int) -> dict[str, object]:
        now, book = self._clock(), self._rules().book
        activity = self._ledger.activity(now - window_ms)
        bounds = top.bounds(activity, book)
        states = self._ledger.counters(now, top.counters_of(bounds))
        return top.report(activity, bounds, states, now, window_ms)

    async def _calls(self, request: web.Request) -> web.Response:
        asked = CallFilter(agent=request.query.get("agent"), since=_whole_number(request, "since", 0))
        calls = await asyncio.to_thread(lambda: summaries(self._ledger.journal(asked)))
        return _json({"calls": calls, "totals": totals(calls)})

    async def _verify(self, _: web.Request) -> web.Response:
        mismatches = await asyncio.to_thread(self._ledger.verify)
        return _json({"ok": not mismatches, "mismatches": [mismatch_report(each) for each in mismatches]})

    async def _explain(self, request: web.Request) -> web.Response:
        asked = CallFilter(call_id=request.match_info["id"])
        rows = await asyncio.to_thread(lambda: list(self._ledger.journal(asked)))
        if not rows:
            raise web.HTTPNotFound(text="no call of this id is in the journal")
        return _json(explanation(rows))

    async def _rehearse(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=Asked)
        except msgspec.MsgspecError as problem:
            raise web.HTTPBadRequest(text=str(problem)) from None
        return _json(rehearsed(rehearse(self._question(asked), self._learned, self._use)))

    def _question(self, asked: Asked) -> Question:
        rules = self._rules()
        namespace, _, name = asked.agent.partition("/")
        agent = rules.book.agent(namespace, name)
        if agent is None:
            raise web.HTTPNotFound(text=f"there is no AgentIdentity {asked.agent!r}")
        provider = rules.book.provider(asked.provider)
        family = family_of(provider.type.value) if provider is not None else None
        return Question(
            call_id="",
            caller=rules.book.caller_of(agent, self._trust_domain),
            provider_name=asked.provider,
            method="POST",
            path=asked.path or (family.usual_path if family is not None else ""),
            headers=family.usual_headers if family is not None else {},
            repeated_headers=frozenset(),
            query_keys=frozenset(),
            body=asked.body.encode(),
            rules=rules.book,
            uncovered_allowed=self._uncovered_allowed,
            now=self._clock(),
        )

    def _use(self, counter: Counter) -> Use:
        states = {state.counter: state for state in self._ledger.counters(self._clock())}
        known = states.get(counter)
        return Use(known.used, known.held) if known else Use(0, 0)

    def _rules(self) -> Rules:
        rules = self._current_rules()
        if rules is None:
            raise web.HTTPServiceUnavailable(text="no rules are in force yet")
        return rules


def _whole_number(request: web.Request, name: str, default: int) -> int:
    try:
        return int(request.query.get(name, default))
    except ValueError:
        raise web.HTTPBadRequest(text=f"{name} must be a whole number of milliseconds") from None


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")

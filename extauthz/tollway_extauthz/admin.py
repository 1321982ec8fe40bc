"""What people may ask a running data plane: limits, calls, why; over a Unix socket that only its owner can open.

Answers are JSON for the command line, which makes tables of them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from tollway.deciding.admission import LearnedOutput
from tollway.deciding.question import Question
from tollway.deciding.rehearsal import rehearse
from tollway.deciding.rulebook import caller_of
from tollway.identity.spiffe_id import TrustDomain
from tollway.ledger.arithmetic import Use
from tollway.ledger.port import CallFilter, Counter, Ledger
from tollway_extauthz.reports import explanation, limits, mismatch_report, rehearsed, summaries, totals
from tollway_extauthz.rules import Rules
from tollway_extauthz.settings import Settings

_LARGEST_QUESTION: Final = 34 << 20


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to rehearse: whose, where, and what. `agent` is "namespace/name"."""

    agent: str
    provider: str
    path: str
    body: str


class Admin:
    def __init__(
        self,
        ledger: Ledger,
        rules: Callable[[], Rules | None],
        learned: LearnedOutput,
        clock: Callable[[], int],
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._current_rules = rules
        self._learned = learned
        self._clock = clock
        self._trust_domain = TrustDomain(settings.trust_domain)
        self._uncovered_allowed = settings.uncovered == "allow"

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_QUESTION)
        app.router.add_get("/status", self._status)
        app.router.add_get("/limits", self._limits)
        app.router.add_get("/ledger", self._calls)
        app.router.add_get("/ledger/verify", self._verify)
        app.router.add_get("/explain/{id}", self._explain)
        app.router.add_post("/explain", self._rehearse)
        return app

    async def _status(self, _: web.Request) -> web.Response:
        rules = self._current_rules()
        return _json({"generation": rules.generation if rules else None})

    async def _limits(self, _: web.Request) -> web.Response:
        now = self._clock()
        states = await asyncio.to_thread(self._ledger.counters, now)
        return _json({"counters": limits(states, self._rules().book.declared_counters(), now)})

    async def _calls(self, request: web.Request) -> web.Response:
        try:
            since = int(request.query.get("since", "0"))
        except ValueError:
            raise web.HTTPBadRequest(text="since must be milliseconds since the epoch") from None
        asked = CallFilter(agent=request.query.get("agent"), since=since)
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
        return Question(
            call_id="",
            caller=caller_of(agent, self._trust_domain),
            provider_name=asked.provider,
            method="POST",
            path=asked.path,
            headers={"content-type": "application/json"},
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


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")

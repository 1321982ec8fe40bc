"""`tollway demo`: an instance, two providers without a model, two agents on two SDKs, small budgets; then the sums.

The instance is `tollway up` as anybody runs it, in a process of its own; so are the agents. The providers live in this
one, each with a key and a log of its own.
"""

import asyncio
import contextlib
import json
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from rich.console import Console
from rich.live import Live

from tollway.pricing.data import default_book
from tollway.pricing.table import PriceRow
from tollway_cli.demo.cast import BUDGET_NANO, CAST, Player, agents_of, resources
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, make_app
from tollway_cli.demo.screen import AgentProgress, LimitProgress, final_screen, progress_table
from tollway_cli.demo.sums import (
    AgentSum,
    Heard,
    LimitSum,
    ProviderSum,
    Report,
    Seen,
    judged,
    last_spent,
    named_as_spent,
    of_ledger,
    of_limit,
    of_usages,
)
from tollway_cli.failures import AnswerIsNo, Broken
from tollway_cli.standalone.supervisor import leashed, tail
from tollway_cli.views.answers import Calls, CallView, CounterView, Limits, Verification
from tollway_cli.views.instance import Ready, ReadyAgent
from tollway_cli.views.wording import short_agent
from tollway_extauthz.keeping.probes import ask_socket, until

_PACE: Final = Behaviour(latency_ms=150, chunk_delay_ms=4, output_tokens=250)
_READY_WITHIN: Final = 60.0
_SPENT_WITHIN: Final = 120.0
_SETTLED_WITHIN: Final = 15.0
_LOOK_EVERY: Final = 0.25


def run_demo(as_json: bool, environ: Mapping[str, str], clock: Callable[[], int]) -> None:
    """Show it. Raises `AnswerIsNo` where it does not add up, `Broken` where it cannot run."""
    report = asyncio.run(_demo(as_json, environ, clock))
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
    else:
        Console().print(final_screen(report))
    if not report.adds_up:
        raise AnswerIsNo("it does not add up: please report this, with what `tollway demo --json` says")


async def _demo(as_json: bool, environ: Mapping[str, str], clock: Callable[[], int]) -> Report:
    console = Console(stderr=as_json, quiet=as_json)
    started = clock()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollway-demo-")))
        apps, endpoints = {}, {}
        for player in CAST:
            apps[player.name], endpoints[player.provider] = await stack.enter_async_context(_provider(player))
        _write_resources(folder / "config", endpoints)
        console.print("Starting the gateway, the process that decides, and each agent's sidecar …")
        ready = await stack.enter_async_context(_instance(folder, environ))
        heard = await _spend(ready, environ, console)
        return await _report(ready, heard, apps, lambda: (clock() - started) / 1000)


@contextlib.asynccontextmanager
async def _provider(player: Player) -> AsyncIterator[tuple[web.Application, str]]:
    """A built-in provider on a free port of loopback."""
    app = make_app(ProviderSettings(key=player.key, behaviour=_PACE))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    try:
        yield app, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await runner.cleanup()


def _write_resources(directory: Path, endpoints: Mapping[str, str]) -> None:
    directory.mkdir()
    for number, document in enumerate(resources(endpoints)):
        (directory / f"{number}.json").write_text(json.dumps(document))


@contextlib.asynccontextmanager
async def _instance(folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Ready]:
    """`tollway up` on the resources, once everything serves; ended in order at the end."""
    ready_file, log = folder / "ready.json", folder / "up.log"
    command = ("up", "--config", str(folder / "config"), "--state", str(folder / "state"))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *leashed((sys.executable, "-m", "tollway_cli", *command, "--ready-file", str(ready_file))),
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environ),
            start_new_session=True,
        )
    try:
        await _wait_until_ready(ready_file, process, log)
        yield msgspec.json.decode(ready_file.read_bytes(), type=Ready)
    finally:
        await _end(process)


async def _wait_until_ready(ready_file: Path, process: Process, log: Path) -> None:
    async def is_decided() -> bool:
        return ready_file.exists() or process.returncode is not None

    await until(is_decided, _READY_WITHIN)
    if not ready_file.exists():
        raise Broken("the demo's instance does not start. It said:\n    " + "\n    ".join(tail(log)))


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


async def _spend(ready: Ready, environ: Mapping[str, str], console: Console) -> Mapping[str, Sequence[Heard]]:
    """Let the agents spend, and show it; everything that each of them (by name) reported."""
    processes = {each.name: await _start_agent(each, ready.agents[each.agent], environ) for each in CAST}
    try:
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            watching = asyncio.create_task(_watch(ready, live))
            try:
                async with asyncio.timeout(_SPENT_WITHIN):
                    heard = await asyncio.gather(*map(_heard, processes.values()))
            finally:
                watching.cancel()
    except TimeoutError:
        raise Broken(f"the demo's agents did not spend their budgets within {_SPENT_WITHIN:.0f} s") from None
    finally:
        for process in processes.values():
            await _end(process)
    return dict(zip(processes, heard, strict=True))


async def _start_agent(player: Player, agent: ReadyAgent, environ: Mapping[str, str]) -> Process:
    """With the variables that `tollway run` sets."""
    return await asyncio.create_subprocess_exec(
        *leashed((sys.executable, "-m", "tollway_cli.demo.agent", player.sdk, player.model, str(player.workers))),
        stdin=DEVNULL,
        stdout=PIPE,
        env={**environ, **agent.env},
        start_new_session=True,
    )


async def _heard(process: Process) -> list[Heard]:
    if process.stdout is None:
        return []
    heard = [msgspec.json.decode(line, type=Heard) async for line in process.stdout]
    await process.wait()
    return heard


async def _watch(ready: Ready, live: Live) -> None:
    while True:
        calls = (await _calls(ready)).calls
        limits = [_limit_progress(each) for each in await _counters(ready)]
        live.update(progress_table([_agent_progress(player, calls) for player in CAST], limits))
        await asyncio.sleep(_LOOK_EVERY)


def _agent_progress(player: Player, calls: Sequence[CallView]) -> AgentProgress:
    own = _calls_of(calls, [player.agent])
    outcomes = [call.outcome for call in own]
    ended = [call for call in own if call.outcome not in {"open", "refused"}]
    refused, spent = outcomes.count("refused"), of_ledger(ended).cost
    return AgentProgress(player.agent, player.model, len(ended), outcomes.count("open"), refused, spent)


def _limit_progress(counter: CounterView) -> LimitProgress:
    name = f"{counter.namespace}/{counter.quota} {counter.limit}"
    return LimitProgress(name, counter.unit, counter.amount, counter.used, counter.held)


async def _report(
    ready: Ready, heard: Mapping[str, Sequence[Heard]], apps: Mapping[str, web.Application], lasted: Callable[[], float]
) -> Report:
    """What each party counted, once every call has ended."""

    async def is_settled() -> bool:
        return not any(call.outcome == "open" for call in (await _calls(ready)).calls)

    await until(is_settled, _SETTLED_WITHIN)
    calls = (await _calls(ready)).calls
    limits = [_limit_sum(counter, calls) for counter in await _counters(ready)]
    verification = msgspec.json.decode(await _ask(ready, "/ledger/verify"), type=Verification)
    return judged(
        [_agent_sum(player, ready.agents[player.agent], calls, heard[player.name], limits) for player in CAST],
        [_provider_sum(player, calls, apps[player.name]) for player in CAST],
        limits,
        BUDGET_NANO,
        verification.ok,
        lasted(),
    )


def _agent_sum(
    player: Player,
    agent: ReadyAgent,
    calls: Sequence[CallView],
    heard: Sequence[Heard],
    limits: Sequence[LimitSum],
) -> AgentSum:
    refusal = last_spent(one.refused for one in heard if one.refused is not None)
    return AgentSum(
        agent.spiffe_id,
        player.provider,
        player.model,
        of_ledger(_calls_of(calls, [player.agent])),
        of_usages((_tokens(one.call) for one in heard if one.call is not None), _row(player)),
        refusal,
        named_as_spent(refusal, limits),
    )


def _provider_sum(player: Player, calls: Sequence[CallView], app: web.Application) -> ProviderSum:
    billed = ((one.usage.prompt_tokens, one.usage.cached_tokens, one.usage.completion_tokens) for one in app[CALL_LOG])
    own = [call for call in calls if call.provider == player.provider]
    return ProviderSum(player.provider, of_ledger(own), of_usages(billed, _row(player)))


def _limit_sum(counter: CounterView, calls: Sequence[CallView]) -> LimitSum:
    agents = agents_of(counter.quota)
    return of_limit(counter, agents, of_ledger(_calls_of(calls, agents)))


def _calls_of(calls: Sequence[CallView], agents: Sequence[str]) -> Sequence[CallView]:
    return [call for call in calls if short_agent(call.agent) in agents]


def _tokens(seen: Seen) -> tuple[int, int, int]:
    return seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens


def _row(player: Player) -> PriceRow:
    priced = default_book().find(player.type.value, player.model)
    if priced is None:
        raise Broken(f"the price table has no {player.model}")
    return priced.row


async def _counters(ready: Ready) -> Sequence[CounterView]:
    """But for concurrent calls, of which nothing stays."""
    counters = msgspec.json.decode(await _ask(ready, "/limits"), type=Limits).counters
    return [counter for counter in counters if counter.unit != "concurrent"]


async def _calls(ready: Ready) -> Calls:
    return msgspec.json.decode(await _ask(ready, "/ledger"), type=Calls)


async def _ask(ready: Ready, target: str) -> bytes:
    answer = await ask_socket(Path(ready.admin.removeprefix("unix://")), target)
    if answer is None:
        raise Broken("the demo's instance does not answer any more")
    return answer

"""`tollway demo`: an instance, a provider without a model, an agent on the real SDK, a small budget; then the sum.

The instance is `tollway up` as anybody runs it, in a process of its own; the provider lives in this one.
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
from tollway.resources.models import ProviderType
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, make_app
from tollway_cli.demo.screen import Progress, final_screen, progress_table
from tollway_cli.demo.sums import Findings, Heard, Refusal, Report, Seen, judged, of_ledger, of_usages
from tollway_cli.failures import AnswerIsNo, Broken
from tollway_cli.standalone.probes import ask_socket, until
from tollway_cli.standalone.supervisor import leashed, tail
from tollway_cli.views.answers import Calls, Limits, Verification
from tollway_cli.views.instance import Ready, ReadyAgent

AGENT: Final = "demo/researcher"
MODEL: Final = "gpt-4o"
BUDGET: Final = "0.05"
BUDGET_NANO: Final = 50_000_000
CONCURRENT: Final = 3
_KEY: Final = "sk-demo-held-by-tollway"
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
    with tempfile.TemporaryDirectory(prefix="tollway-demo-") as folder:
        async with _provider() as (app, endpoint):
            _write_resources(Path(folder) / "config", endpoint)
            console.print("Starting the gateway, the process that decides, and the agent's sidecar …")
            async with _instance(Path(folder), environ) as ready:
                heard = await _spend(ready, environ, console)
                found = await _findings(ready, heard, app)
    return judged(found, (clock() - started) / 1000)


@contextlib.asynccontextmanager
async def _provider() -> AsyncIterator[tuple[web.Application, str]]:
    """The built-in provider on a free port of loopback."""
    app = make_app(ProviderSettings(key=_KEY, behaviour=_PACE))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    try:
        yield app, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await runner.cleanup()


def _write_resources(directory: Path, endpoint: str) -> None:
    directory.mkdir()
    for number, document in enumerate(_resources(endpoint)):
        (directory / f"{number}.json").write_text(json.dumps(document))


def _resources(endpoint: str) -> Sequence[Mapping[str, object]]:
    api, (namespace, name) = "tollway.dev/v1alpha1", AGENT.split("/")
    return (
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "openai-key", "namespace": "tollway-system"},
            "stringData": {"api-key": _KEY},
        },
        {
            "apiVersion": api,
            "kind": "AgentIdentity",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": name}}},
        },
        {
            "apiVersion": api,
            "kind": "AIProvider",
            "metadata": {"name": "openai"},
            "spec": {
                "type": "OpenAI",
                "endpoint": endpoint,
                "allowPlaintext": True,
                "credential": {"secretRef": {"name": "openai-key", "key": "api-key"}},
            },
        },
        {
            "apiVersion": api,
            "kind": "AIQuota",
            "metadata": {"name": "pocket-money", "namespace": namespace},
            "spec": {
                "limits": [
                    {"name": "budget", "cost": BUDGET, "window": "Lifetime"},
                    {"name": "parallel", "concurrent": CONCURRENT},
                ]
            },
        },
    )


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


async def _spend(ready: Ready, environ: Mapping[str, str], console: Console) -> list[Heard]:
    """Let the agent spend, and show it; everything the agent reported."""
    process = await _start_agent(ready.agents[AGENT], environ)
    try:
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            watching = asyncio.create_task(_watch(ready, live))
            try:
                async with asyncio.timeout(_SPENT_WITHIN):
                    heard = await _heard(process)
            finally:
                watching.cancel()
            live.update(progress_table(await _progress(ready)))
    except TimeoutError:
        raise Broken(f"the demo's agent did not spend its budget within {_SPENT_WITHIN:.0f} s") from None
    finally:
        await _end(process)
    return heard


async def _start_agent(agent: ReadyAgent, environ: Mapping[str, str]) -> Process:
    """With the variables that `tollway run` sets."""
    return await asyncio.create_subprocess_exec(
        *leashed((sys.executable, "-m", "tollway_cli.demo.agent", MODEL)),
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
        live.update(progress_table(await _progress(ready)))
        await asyncio.sleep(_LOOK_EVERY)


async def _progress(ready: Ready) -> Progress:
    counters = msgspec.json.decode(await _ask(ready, "/limits"), type=Limits).counters
    outcomes = [call.outcome for call in (await _calls(ready)).calls]
    budget = next((counter for counter in counters if counter.limit == "budget"), None)
    return Progress(
        AGENT,
        BUDGET_NANO,
        used=budget.used if budget is not None else 0,
        held=budget.held if budget is not None else 0,
        ended=sum(outcome not in {"open", "refused"} for outcome in outcomes),
        open=outcomes.count("open"),
        refused=outcomes.count("refused"),
    )


async def _findings(ready: Ready, heard: Sequence[Heard], app: web.Application) -> Findings:
    """What each party counted, once every call has ended."""

    async def is_settled() -> bool:
        return not any(call.outcome == "open" for call in (await _calls(ready)).calls)

    await until(is_settled, _SETTLED_WITHIN)
    row = _row()
    verification = msgspec.json.decode(await _ask(ready, "/ledger/verify"), type=Verification)
    return Findings(
        agent=ready.agents[AGENT].spiffe_id,
        model=MODEL,
        budget=BUDGET_NANO,
        ledger=of_ledger((await _calls(ready)).calls),
        sdk=of_usages((_tokens(one.call) for one in heard if one.call is not None), row),
        provider=of_usages(
            ((one.usage.prompt_tokens, one.usage.cached_tokens, one.usage.completion_tokens) for one in app[CALL_LOG]),
            row,
        ),
        verified=verification.ok,
        refusal=_last_spent([one.refused for one in heard if one.refused is not None]),
    )


def _tokens(seen: Seen) -> tuple[int, int, int]:
    return seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens


def _last_spent(refusals: Sequence[Refusal]) -> Refusal | None:
    spent = [refusal for refusal in refusals if (refusal.reason or "").endswith(".spent")]
    return spent[-1] if spent else None


def _row() -> PriceRow:
    priced = default_book().find(ProviderType.OPENAI.value, MODEL)
    if priced is None:
        raise Broken(f"the price table has no {MODEL}")
    return priced.row


async def _calls(ready: Ready) -> Calls:
    return msgspec.json.decode(await _ask(ready, "/ledger"), type=Calls)


async def _ask(ready: Ready, target: str) -> bytes:
    answer = await ask_socket(Path(ready.admin.removeprefix("unix://")), target)
    if answer is None:
        raise Broken("the demo's instance does not answer any more")
    return answer

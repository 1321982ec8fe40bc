"""`tollway up` whose authority lives fast, and whose trust bundles arrive late.

`python paced_up.py up --config DIR --state DIR --ready-file FILE [--late SECONDS] [--impatient]`

`--late`: so long after everybody else the gateway, and the sidecars of agents called `late…`, see another trust bundle.
`--impatient`: nobody is asked what he trusts; it is taken for granted.
"""

import argparse
import os
import random
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tollway.identity.root_change import Observed, Proof, Sidecar
from tollway.identity.rotation import Pace
from tollway_cli.failures import CommandFailed
from tollway_cli.standalone import identities
from tollway_cli.standalone.root_changing import Proving
from tollway_cli.standalone.tuning import Tuning
from tollway_cli.standalone.up import UpOptions, up
from tollway_files.atomic import swap
from tollway_operator.authority.svid_files import BUNDLE_FILE

PACE = Pace(ca_ttl=120_000, backdate=1_000, least_leaf=2_000, publish=1_000)


class LateBundles:
    """Shows files at once, but for the trust bundle among them."""

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s
        self._lock = threading.Lock()
        self._bundles: dict[Path, bytes] = {}
        self._files: dict[Path, Mapping[str, bytes]] = {}

    def swap(self, directory: Path, files: Mapping[str, bytes]) -> bool:
        with self._lock:
            self._files[directory] = files
            known = self._bundles.setdefault(directory, files[BUNDLE_FILE])
            if known != files[BUNDLE_FILE] and self._is_late(directory):
                timer = threading.Timer(self._late_s, self._arrives, (directory, files[BUNDLE_FILE]))
                timer.daemon = True
                timer.start()
                return swap(directory, {**files, BUNDLE_FILE: known})
            self._bundles[directory] = files[BUNDLE_FILE]
            return swap(directory, files)

    def _is_late(self, directory: Path) -> bool:
        return directory.parent.name == "gateway" or "late" in directory.parent.name

    def _arrives(self, directory: Path, bundle: bytes) -> None:
        with self._lock:
            self._bundles[directory] = bundle
            swap(directory, {**self._files[directory], BUNDLE_FILE: bundle})


async def granted(proving: Proving, tried: str | None, sidecars: Mapping[str, Path]) -> Observed:
    if tried is None:
        return Observed()
    issuers = await proving._data_plane.issuers()
    return Observed({"gateway": Proof(tried, issuers)}, {agent: Sidecar(tried) for agent in sidecars})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["up"])
    for name in ("--config", "--state", "--ready-file"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--late", type=float, default=0)
    parser.add_argument("--impatient", action="store_true")
    arguments = parser.parse_args()
    if arguments.late:
        identities.swap = LateBundles(arguments.late).swap  # type: ignore[assignment]
    if arguments.impatient:
        Proving.observe = granted  # type: ignore[method-assign]
    os.umask(0o077)
    options = UpOptions(
        config=arguments.config,
        state=arguments.state,
        ready_file=arguments.ready_file,
        environ=dict(os.environ),
        tuning=Tuning(pace=PACE, calls_per_connection=1),
    )
    try:
        up(options, lambda: time.time_ns() // 1_000_000, random.random)
    except CommandFailed as failure:
        print(f"tollway: {failure}", file=sys.stderr)  # noqa: T201
        sys.exit(failure.exit_code)


if __name__ == "__main__":
    main()

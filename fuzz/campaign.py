"""Fuzzes one target until the time is up or something breaks: `python -m fuzz.campaign TARGET CORPUS [OPTIONS]`.

Our own code is instrumented as it is imported, so everything of ours has to be imported in here. What breaks the target
is left as `crash-…` where libFuzzer's `-artifact_prefix` says.
"""

import logging
import sys

import atheris  # type: ignore[import-untyped]


def main() -> None:
    name, *options = sys.argv[1:]
    # A parser that complains in the log is no finding, and writing would take most of the time.
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["tollway", "tollway_extauthz", "tollway_operator", "fuzz.targets"]):
        from fuzz.targets import load

        target = load(name)
    atheris.Setup([sys.argv[0], *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The preStop hook of extauthz (`python -m tollway_extauthz.draining --admin SOCKET`): see the package."""

import argparse
import asyncio
import time

from tollway_extauthz.draining import GatewayEnvoy, Patience, drain


def main() -> None:
    parser = argparse.ArgumentParser(prog="tollway-draining", description=__doc__)
    parser.add_argument("--admin", required=True, help="Envoy's administration socket")
    parser.add_argument("--at-least", type=float, default=0.0, help="seconds for which callers may still be sent here")
    parser.add_argument("--seconds", type=float, default=30.0, help="after which calls in flight are cut")
    given = parser.parse_args()
    patience = Patience(min(given.at_least, given.seconds), given.seconds)
    result = asyncio.run(drain(GatewayEnvoy(given.admin), patience, time.monotonic))
    print(result.value)  # noqa: T201 - for whoever runs it by hand; Kubernetes shows it nowhere


if __name__ == "__main__":
    main()

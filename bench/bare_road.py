"""The bare road: Tollway's own two Envoys with everything taken out that makes them Tollway's.

It is derived, not written: the configuration that Tollway renders for this very installation, from which `bared`
removes what stands in the tables below. What is left is the same in both: listeners, mutual TLS with the same SVIDs
and the same SPIFFE validation, HTTP/2 between the Envoys, routes, limits, worker threads.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from bench.envoys import EnvoyPlan
from bench.installation import AGENT
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.models import AIProvider
from tollway_cli.standalone import envoys
from tollway_cli.standalone.state import StateDirectory
from tollway_operator.atomic_files import swap
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files
from tollway_operator.envoy.vocabulary import CHECK_CLUSTER, LOGS_CLUSTER

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"

KEPT_FILTERS: Final = frozenset({"envoy.filters.http.router", "envoy.filters.http.upstream_codec"})
"""Of all HTTP filters, on both sides of an Envoy: those that only forward."""
REMOVED: Final = frozenset(
    {
        "accessLog",
        "accessLogOptions",
        "earlyHeaderMutationExtensions",
        "localReplyConfig",
        "requestHeadersToAdd",
        "requestHeadersToRemove",
        "typedPerFilterConfig",
    }
)
REMOVED_CLUSTERS: Final = frozenset({CHECK_CLUSTER, LOGS_CLUSTER})


def bared(configuration: bytes) -> bytes:
    """An Envoy configuration, as JSON, without what is Tollway's."""
    return json.dumps(_bared(json.loads(configuration))).encode()


def _bared(value: JSON) -> JSON:
    if isinstance(value, list):
        return [_bared(each) for each in value]
    if isinstance(value, dict):
        return {key: _bared(_only_kept(key, each)) for key, each in value.items() if key not in REMOVED}
    return value


def _only_kept(key: str, value: JSON) -> JSON:
    if key == "httpFilters" and isinstance(value, list):
        return [each for each in value if _name(each) in KEPT_FILTERS]
    if key == "clusters" and isinstance(value, list):
        return [each for each in value if _name(each) not in REMOVED_CLUSTERS]
    return value


def _name(value: JSON) -> JSON:
    return value.get("name") if isinstance(value, dict) else None


def bare_gateway(directory: Path, model: StateDirectory, provider: AIProvider, port: int) -> EnvoyPlan:
    """The gateway of the installation in `model`, bare, at `port`. Its files are written at once."""
    own = StateDirectory(directory, directory)
    settings = replace(
        envoys.gateway_settings(own, str(DEFAULT_TRUST_DOMAIN), port, envoys.upstream_ca_file({})),
        identity_dir=str(model.gateway / "identity"),
    )
    _show(settings.xds_dir, gateway_files(settings, [replace(provider, credential=None)], {}))
    bootstrap = bared(gateway_bootstrap(settings))
    return EnvoyPlan("the bare gateway", own.gateway, bootstrap, Path(settings.admin_socket), concurrency=2)


def bare_sidecar(
    directory: Path, model: StateDirectory, provider: AIProvider, port: int, gateway_port: int
) -> EnvoyPlan:
    """The agent's sidecar of the installation in `model`, bare, at `port`. Its files are written at once."""
    own = StateDirectory(directory, directory)
    settings = replace(
        envoys.sidecar_settings(own, str(DEFAULT_TRUST_DOMAIN), AGENT, port, gateway_port),
        identity_dir=str(model.agent(AGENT) / "identity"),
    )
    _show(settings.xds_dir, sidecar_files(settings, [provider]))
    bootstrap = bared(sidecar_bootstrap(settings))
    return EnvoyPlan("the bare sidecar", own.agent(AGENT), bootstrap, Path(settings.admin_socket), concurrency=1)


def _show(xds_dir: str, files: Mapping[str, bytes]) -> None:
    swap(Path(xds_dir), {name: bared(content) for name, content in files.items()})

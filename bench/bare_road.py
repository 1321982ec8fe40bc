"""The bare road: Tollway's own two Envoys with everything taken out that makes them Tollway's.

It is derived, not written: the configuration that Tollway renders for this very installation, from which `bared`
removes what stands in the tables below. What is left is the same in both: listeners, mutual TLS with the same SVIDs
and the same SPIFFE validation, HTTP/2 between the Envoys, routes, limits, worker threads.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from bench.envoys import EnvoyPlan
from bench.resources import CALLER
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.models import AIProvider
from tollway_cli.standalone import envoys
from tollway_cli.standalone.state import StateDirectory
from tollway_files.atomic import swap
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files
from tollway_operator.envoy.vocabulary import CHECK_CLUSTER, EXT_AUTHZ

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"

FORWARDING: Final = frozenset({"envoy.filters.http.router", "envoy.filters.http.upstream_codec"})
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


@dataclass(frozen=True, slots=True)
class Kept:
    """Which of the gateway's filters stay. With the question to a decision stays the cluster that it goes to."""

    filters: frozenset[str] = FORWARDING

    def has(self, cluster: JSON) -> bool:
        return cluster != CHECK_CLUSTER or EXT_AUTHZ in self.filters


BARE: Final = Kept()
DECIDED: Final = Kept(FORWARDING | {EXT_AUTHZ})
"""With the question to a decision, as Tollway asks it, but nothing that follows from the answer."""


def bared(configuration: bytes, kept: Kept = BARE) -> bytes:
    """An Envoy configuration, as JSON, without what is Tollway's."""
    return json.dumps(_bared(json.loads(configuration), kept)).encode()


def _bared(value: JSON, kept: Kept) -> JSON:
    if isinstance(value, list):
        return [_bared(each, kept) for each in value]
    if isinstance(value, dict):
        return {key: _bared(_only_kept(key, each, kept), kept) for key, each in value.items() if key not in REMOVED}
    return value


def _only_kept(key: str, value: JSON, kept: Kept) -> JSON:
    if key == "httpFilters" and isinstance(value, list):
        return [each for each in value if _name(each) in kept.filters]
    if key == "clusters" and isinstance(value, list):
        return [each for each in value if kept.has(_name(each))]
    return value


def _name(value: JSON) -> JSON:
    return value.get("name") if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class BareRoad:
    """The two Envoys to be, for the installation in `model`, and where its gateway would ask for a decision."""

    sidecar: EnvoyPlan
    gateway: EnvoyPlan
    check_socket: Path


def bare_road(
    directory: Path, model: StateDirectory, providers: Sequence[AIProvider], ports: tuple[int, int], kept: Kept = BARE
) -> BareRoad:
    """Its files are written at once, below `directory`. `ports` of the sidecar and the gateway."""
    own = StateDirectory(directory, directory)
    sidecar_port, gateway_port = ports
    return BareRoad(
        _sidecar(own, model, providers, sidecar_port, gateway_port),
        _gateway(own, model, providers, gateway_port, kept),
        own.socket("check"),
    )


def _gateway(
    own: StateDirectory, model: StateDirectory, providers: Sequence[AIProvider], port: int, kept: Kept
) -> EnvoyPlan:
    settings = replace(
        envoys.gateway_settings(own, str(DEFAULT_TRUST_DOMAIN), port, envoys.upstream_ca_file({})),
        identity_dir=str(model.gateway / "identity"),
    )
    _show(settings.xds_dir, gateway_files(settings, [replace(each, credential=None) for each in providers], {}))
    bootstrap = bared(gateway_bootstrap(settings), kept)
    return EnvoyPlan("the bare gateway", own.gateway, bootstrap, Path(settings.admin_socket), concurrency=2)


def _sidecar(
    own: StateDirectory, model: StateDirectory, providers: Sequence[AIProvider], port: int, gateway_port: int
) -> EnvoyPlan:
    settings = replace(
        envoys.sidecar_settings(own, str(DEFAULT_TRUST_DOMAIN), CALLER, port, gateway_port),
        identity_dir=str(model.agent(CALLER) / "identity"),
    )
    _show(settings.xds_dir, sidecar_files(settings, providers))
    bootstrap = bared(sidecar_bootstrap(settings))
    return EnvoyPlan("the bare sidecar", own.agent(CALLER), bootstrap, Path(settings.admin_socket), concurrency=1)


def _show(xds_dir: str, files: Mapping[str, bytes]) -> None:
    swap(Path(xds_dir), {name: bared(content) for name, content in files.items()})

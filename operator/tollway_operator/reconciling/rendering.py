"""What Envoys in the cluster run by: the same renderers as on one machine, with the places that files have in a pod.

The places are a contract with whoever makes the pods: the injector for sidecars, the chart for the gateway.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

from tollway.resources.models import AIProvider
from tollway_operator.envoy.credentials import CredentialError, credential_file, render_credential
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.settings import GatewaySettings, SidecarSettings
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files
from tollway_operator.envoy.vocabulary import families
from tollway_operator.names import (
    BOOTSTRAP_FILE,
    CONFIG_DIR,
    GENERATION_FILE,
    HEALTH_PORT,
    IDENTITY_DIR,
    PARTS_FILE,
    RUN_DIR,
    SIDECAR_PORT,
)
from tollway_operator.reconciling.snapshot import Installation


def gateway_settings(installation: Installation) -> GatewaySettings:
    return GatewaySettings(
        trust_domain=str(installation.trust_domain),
        address="0.0.0.0",  # noqa: S104 - the gateway's listener: mTLS, SVIDs of ours only
        port=installation.gateway_port,
        check_sockets=(f"{RUN_DIR}/check.sock",),
        trials_socket=f"{RUN_DIR}/trials.sock",
        admin_socket=f"{RUN_DIR}/gateway.sock",
        access_log=f"{RUN_DIR}/access.log",
        xds_dir=CONFIG_DIR,
        identity_dir=IDENTITY_DIR,
    )


def sidecar_settings(installation: Installation) -> SidecarSettings:
    """Of every sidecar: all read the same files."""
    return SidecarSettings(
        agent="agent",
        address="127.0.0.1",
        port=SIDECAR_PORT,
        gateway_address=installation.gateway_address,
        gateway_port=installation.gateway_port,
        trust_domain=str(installation.trust_domain),
        admin_socket=f"{RUN_DIR}/sidecar.sock",
        xds_dir=CONFIG_DIR,
        identity_dir=IDENTITY_DIR,
        root_namespace=installation.root_namespace,
        health_port=HEALTH_PORT,
    )


S = TypeVar("S", GatewaySettings, SidecarSettings)


@dataclass(frozen=True)
class _Question(Generic[S]):
    """What a rendering depends on. Answers are remembered: they take a second, and every namespace asks."""

    settings: S
    providers: tuple[AIProvider, ...]
    keys: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    uids: tuple[tuple[str, str], ...] = ()
    tried: str | None = None

    def __hash__(self) -> int:
        return hash((self.settings, tuple(provider.meta.name for provider in self.providers)))


def sidecar_config(
    installation: Installation, providers: tuple[AIProvider, ...], tried: str | None = None
) -> Mapping[str, bytes]:
    """`tried`: the digest of the trust bundle, while it is tried who trusts it."""
    return _sidecar_config(_Question(sidecar_settings(installation), providers, tried=tried))


@lru_cache(maxsize=2)
def _sidecar_config(what: _Question[SidecarSettings]) -> Mapping[str, bytes]:
    settings = what.settings
    return {BOOTSTRAP_FILE: sidecar_bootstrap(settings), **sidecar_files(settings, what.providers, what.tried)}


@dataclass(frozen=True, slots=True)
class GatewayFiles:
    """`config` is for everybody who may read ConfigMaps, `credentials` is not. `parts` in `config` lists the files of
    both and the generation that both are of, so that a reader shows them together: a new key never goes to an endpoint
    of before. It names the providers with their objects' UIDs: one made anew under the name of another is another."""

    config: Mapping[str, bytes]
    credentials: Mapping[str, bytes] = field(repr=False)


def gateway_config(
    installation: Installation, providers: Iterable[AIProvider], keys: Mapping[str, bytes], uids: Mapping[str, str]
) -> GatewayFiles:
    """`keys`: provider name -> its key; `uids`: provider name -> its object's UID. A provider whose key no header
    carries is left out."""
    settings = gateway_settings(installation)
    return _gateway_config(
        _Question(settings, tuple(providers), tuple(sorted(keys.items())), tuple(sorted(uids.items())))
    )


@lru_cache(maxsize=2)
def _gateway_config(what: _Question[GatewaySettings]) -> GatewayFiles:
    settings, providers, keys, uids = what.settings, what.providers, dict(what.keys), dict(what.uids)
    sound = [provider for provider in providers if not unusable(provider, keys)]
    files = gateway_files(settings, sound, keys)
    secret_files = {credential_file(provider) for provider in sound if provider.credential is not None}
    credentials = {name: content for name, content in files.items() if name in secret_files}
    config = {name: content for name, content in files.items() if name not in secret_files}
    config[BOOTSTRAP_FILE] = gateway_bootstrap(settings)
    generation = _digest_of(config)
    parts = {
        "credentials": sorted(credentials),
        "providers": {name: uids[name] for name in sorted(provider.meta.name for provider in sound)},
        "generation": generation,
    }
    config[PARTS_FILE] = json.dumps(parts, indent=2).encode()
    return GatewayFiles(config, {**credentials, GENERATION_FILE: generation.encode()})


def _digest_of(files: Mapping[str, bytes]) -> str:
    """Of nothing secret: another key for the same configuration is of the same generation, and shown at once."""
    told = hashlib.sha256()
    for name in sorted(files):
        told.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return told.hexdigest()[:32]


def unusable(provider: AIProvider, keys: Mapping[str, bytes]) -> str:
    """Why a provider cannot be served now; empty where it can."""
    if provider.type not in families():
        return f"type {provider.type} has no data path in this version"
    if provider.credential is None:
        return ""
    if provider.meta.name not in keys:
        reference = provider.credential
        return f"there is no Secret {reference.name} with a key {reference.key} in the root namespace: create it"
    try:
        render_credential(provider, keys[provider.meta.name])
    except CredentialError as error:
        return str(error)
    return ""

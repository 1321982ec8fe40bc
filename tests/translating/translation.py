"""Reads an `*.in.yaml` and renders what it asks for, as the files that Envoy would find below `ROOT`.

An input has `resources` (objects as a user writes them), `settings` (what differs from the ones here), and `render`:
`bootstraps`, which no resource changes, or only the gateway's own `clusters` in them, or `files`, which change under a
running Envoy.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tollway.resources.models import AIProvider, ResourceSet
from tollway.resources.parse import parse_files
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.settings import GatewaySettings, SidecarSettings
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files

ROOT = "/var/run/tollway"
GATEWAY = {
    "trust_domain": "cluster.local",
    "address": "0.0.0.0",
    "port": 15443,
    "check_sockets": (f"{ROOT}/check.sock",),
    "admin_socket": f"{ROOT}/gateway.sock",
    "access_log": f"{ROOT}/access.log",
    "xds_dir": f"{ROOT}/gateway/xds",
    "identity_dir": f"{ROOT}/identity",
    "upstream_ca_file": f"{ROOT}/provider-ca.pem",
}
SIDECAR = {
    "agent": "team-a/researcher",
    "address": "127.0.0.1",
    "port": 15001,
    "gateway_address": "tollway-gateway.tollway-system.svc",
    "gateway_port": 15443,
    "trust_domain": "cluster.local",
    "admin_socket": f"{ROOT}/sidecar.sock",
    "xds_dir": f"{ROOT}/sidecar/xds",
    "identity_dir": f"{ROOT}/identity",
}


@dataclass(frozen=True)
class Translation:
    gateway: GatewaySettings
    sidecar: SidecarSettings
    resources: ResourceSet
    render: str

    def files(self) -> Mapping[str, bytes]:
        """Path below `ROOT` -> content, of what the input asks for."""
        rendered = {"bootstraps": self.bootstraps, "clusters": self.own_clusters, "files": self.changing}
        return rendered[self.render]()

    def bootstraps(self) -> Mapping[str, bytes]:
        return {"gateway.json": gateway_bootstrap(self.gateway), "sidecar.json": sidecar_bootstrap(self.sidecar)}

    def own_clusters(self) -> Mapping[str, bytes]:
        resources = json.loads(self.bootstraps()["gateway.json"])["staticResources"]
        return {"gateway.json": json.dumps({"staticResources": {"clusters": resources["clusters"]}}).encode()}

    def changing(self) -> Mapping[str, bytes]:
        providers = self.resources.providers
        gateway = gateway_files(self.gateway, providers, _keys(self.resources))
        sidecar = sidecar_files(self.sidecar, providers)
        return {f"gateway/xds/{name}": content for name, content in gateway.items()} | {
            f"sidecar/xds/{name}": content for name, content in sidecar.items()
        }

    def as_yaml(self) -> str:
        parsed = {name: json.loads(content) for name, content in self.files().items()}
        return yaml.dump(parsed, Dumper=_Readable, sort_keys=True, width=120, allow_unicode=True)


class _Readable(yaml.SafeDumper):
    """Long texts, such as the Lua, as texts."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Readable.add_representer(str, _text)


def read(path: Path) -> Translation:
    given = yaml.safe_load(path.read_text())
    parsed = parse_files({path.name: yaml.safe_dump_all(given.get("resources", [])).encode()})
    assert not parsed.problems, parsed.problems
    settings: Mapping[str, Mapping[str, Any]] = given.get("settings", {})
    gateway = GatewaySettings(**(GATEWAY | dict(settings.get("gateway", {}))))
    sidecar = SidecarSettings(**(SIDECAR | dict(settings.get("sidecar", {}))))
    return Translation(gateway, sidecar, parsed.resources, given["render"])


def _keys(resources: ResourceSet) -> Mapping[str, bytes]:
    secrets = {secret.meta.name: secret.data for secret in resources.secrets}

    def key(provider: AIProvider) -> bytes | None:
        ref = provider.credential
        return secrets.get(ref.name, {}).get(ref.key) if ref is not None else None

    found = {provider.meta.name: key(provider) for provider in resources.providers}
    return {name: value for name, value in found.items() if value is not None}


def loaded(bootstrap: bytes, files: Mapping[str, bytes], place: Callable[[str], str]) -> bytes:
    """The bootstrap with the files' routes and clusters inside: `--mode validate` alone does not read them."""
    config = json.loads(bootstrap)
    routes, clusters = (_resources(files, name) for name in ("rds.json", "cds.json"))
    for listener in config["staticResources"]["listeners"]:
        manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
        if manager.pop("rds", None):
            manager["routeConfig"] = routes[0]
    config["staticResources"]["clusters"] += clusters
    config.get("dynamicResources", {}).pop("cdsConfig", None)
    return place(json.dumps(config)).encode()


def _resources(files: Mapping[str, bytes], name: str) -> list[dict[str, Any]]:
    content = next((content for path, content in files.items() if path.endswith(name)), b'{"resources": []}')
    resources: list[dict[str, Any]] = json.loads(content).get("resources", [])
    for resource in resources:
        resource.pop("@type")
    return resources

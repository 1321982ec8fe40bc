"""Files that change under a real Envoy: what it runs, what it refuses, and what is then taken back."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tollway.resources.models import AIProvider, Endpoint, Meta, ProviderType
from tollway_cli.standalone import envoys
from tollway_cli.standalone.ports import Ports
from tollway_cli.standalone.state import StateDirectory, prepare
from tollway_cli.standalone.supervisor import ProcessSpec, Supervisor, tail
from tollway_extauthz.keeping.envoy_files import RUNS_WITHIN, WatchedFiles, essential_versions, running_versions
from tollway_extauthz.keeping.probes import until
from tollway_files.atomic import swap
from tollway_operator.envoy.binary import envoy_binary
from tollway_operator.envoy.settings import SidecarSettings
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files


def provider(name: str) -> AIProvider:
    return AIProvider(Meta(name), ProviderType.OPENAI, Endpoint(tls=True, host="api.example.com", port=443))


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return prepare(tmp_path)


@pytest.fixture
async def running(state: StateDirectory) -> AsyncIterator[tuple[WatchedFiles, SidecarSettings]]:
    """A sidecar Envoy; without an identity, since nobody calls through it."""
    ports = Ports({})
    port = ports.of("sidecar", 39_000)
    settings = envoys.sidecar_settings(state, "cluster.local", "team-a/researcher", port, 39_999)
    bootstrap = state.agent(settings.agent) / "bootstrap.json"
    files = WatchedFiles(settings.xds_dir, settings.admin_socket)
    files.show(sidecar_files(settings, [provider("first")]))
    bundle = b'{"trust_domains": {"cluster.local": {"keys": []}}}'
    swap(Path(settings.identity_dir), {"tls.crt": b"", "tls.key": b"", "bundle.json": bundle})
    bootstrap.write_bytes(sidecar_bootstrap(settings))
    supervisor = Supervisor(lambda _: None)
    command = envoys.command(envoy_binary(), bootstrap, concurrency=1)
    log = state.root / "envoy.log"
    await supervisor.ensure(ProcessSpec("sidecar", command, log, {"PATH": os.environ["PATH"]}))
    try:
        assert await until(files.run, 10), tail(log)
        yield files, settings
    finally:
        await supervisor.stop_all()
        ports.release()


def shown(settings: SidecarSettings) -> Mapping[str, object]:
    return json.loads((Path(settings.xds_dir) / "rds.json").read_text())


async def test_a_change_is_done_when_envoy_runs_it(running: tuple[WatchedFiles, SidecarSettings]) -> None:
    files, settings = running
    assert await files.change(sidecar_files(settings, [provider("first"), provider("second")])) is None
    assert await files.run()
    assert await files.idle()


async def test_what_envoy_refuses_is_told_and_taken_back(
    running: tuple[WatchedFiles, SidecarSettings],
) -> None:
    files, settings = running
    before = shown(settings)
    bad = dict(sidecar_files(settings, [provider("second")]))
    response = json.loads(bad["rds.json"])
    response["resources"][0]["virtualHosts"][0]["routes"][0]["match"] = {}
    bad["rds.json"] = json.dumps(response | {"versionInfo": "bad"}).encode()
    async with asyncio.timeout(RUNS_WITHIN / 2):
        refusal = await files.change(bad)
    assert refusal is not None
    assert "update_rejected" in refusal or "update_failure" in refusal
    assert shown(settings) == before
    assert await until(files.run, 2)
    assert await files.change(sidecar_files(settings, [provider("third")])) is None


def test_versions_of_what_is_warming_up_do_not_count() -> None:
    dump = {
        "configs": [
            {"version_info": "cds", "dynamic_active_clusters": [{"version_info": "a"}]},
            {"dynamic_warming_clusters": [{"version_info": "not yet"}]},
        ]
    }
    assert running_versions(dump) == {"cds", "a"}


def test_secrets_that_nothing_may_need_and_empty_lists_are_not_waited_for() -> None:
    def file(version: str, kind: str) -> bytes:
        return json.dumps({"versionInfo": version, "resources": [{"@type": f"type.googleapis.com/x.{kind}"}]}).encode()

    found = {"rds": file("r", "RouteConfiguration"), "cds": file("c", "Cluster"), "sds": file("s", "Secret")}
    assert essential_versions(found | {"empty": b'{"versionInfo": "e"}'}) == {"r", "c"}


@pytest.mark.parametrize(
    ("environ", "expected"), [({"SSL_CERT_FILE": __file__}, __file__)], ids=["the one that SSL_CERT_FILE names"]
)
def test_providers_are_verified_against(environ: dict[str, str], expected: str) -> None:
    assert envoys.upstream_ca_file(environ) == expected

"""A handshake with the trial certificate proves what an Envoy trusts, and whoever cannot make one is no worse off."""

import asyncio
import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ports import free_port
from road.envoy_road import AGENT, GATEWAY, HOUR_MS, Envoy, Road, eventually, now_ms, running_road
from tollway.identity.root_change import Event, Observed
from tollway.identity.spiffe_id import SPIFFEID
from tollway.resources.models import KeyType
from tollway.usage_report import Tried
from tollway_extauthz.serving import serve_socket
from tollway_extauthz.trials import Trials
from tollway_extauthz.trying import taken_bundle
from tollway_files.atomic import swap
from tollway_operator.authority.root_changes import commanded, issue_trial
from tollway_operator.authority.svid_files import gateway_svid_files
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files

POD = "0b5e9a3c-1111-4222-8333-444455556666"


class Changing:
    """A road whose gateway tells of trials, and whose authority can prepare another root."""

    def __init__(self, road: Road, trials: Trials) -> None:
        self.road = road
        self.trials = trials
        self.old = road.authority.bundle_map()

    def prepare(self) -> str:
        """The digest of the bundle with both roots."""
        authority = self.road.authority
        authority.become(commanded(authority.state, Event.PREPARE, Observed(), now_ms()))
        return hashlib.sha256(authority.bundle_map()).hexdigest()

    def show_gateway(self, bundle: bytes) -> None:
        authority = self.road.authority
        svid = authority.issue(GATEWAY, KeyType.ECDSA_P256, HOUR_MS, now_ms())
        files = gateway_svid_files(svid, issue_trial(authority, GATEWAY, now_ms()), bundle)
        swap(Path(self.road.gateway_settings.identity_dir), files)

    def show_sidecar(self, bundle: bytes, spiffe_id: SPIFFEID = AGENT) -> None:
        svid = self.road.authority.issue(spiffe_id, KeyType.ECDSA_P256, HOUR_MS, now_ms(), POD)
        files = {"tls.crt": svid.chain_pem, "tls.key": svid.key_pem, "bundle.json": bundle}
        swap(Path(self.road.sidecar_settings.identity_dir), files)

    def have_tried(self, bundle: str) -> None:
        settings = self.road.sidecar_settings
        swap(Path(settings.xds_dir), sidecar_files(settings, self.road.providers, bundle))

    def taken(self) -> str:
        settings = self.road.gateway_settings
        return taken_bundle("127.0.0.1", settings.port, Path(settings.identity_dir))


@contextlib.contextmanager
def hearing(trials: Trials, path: str) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(serve_socket(trials.application(), path), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    trials = Trials("cluster.local", now_ms)
    with running_road() as road:
        road.gateway.stop()
        path = str(road.directory / "trials.sock")
        settings = road.gateway_settings = replace(road.gateway_settings, trials_socket=path)
        swap(Path(settings.xds_dir), gateway_files(settings, road.providers, {"openai": b"sk"}))
        road.gateway = Envoy(road.directory, gateway_bootstrap(settings), settings.admin_socket)
        road.gateway.wait_until_ready()
        with hearing(trials, path):
            yield Changing(road, trials)


def test_a_sidecar_is_heard_once_its_envoy_trusts_the_next_root_and_not_before(changing: Changing) -> None:
    road = changing.road
    both = changing.prepare()
    changing.show_gateway(road.authority.bundle_map())
    changing.show_sidecar(changing.old)
    changing.have_tried(both)
    failed = f"cluster.trial/{both}.health_check.failure"
    eventually(lambda: road.sidecar.counter(failed) >= 1, 20)
    assert changing.trials.heard() == ()
    assert road.call().status == 200
    changing.show_sidecar(road.authority.bundle_map())
    [heard] = eventually(changing.trials.heard, 30)
    assert heard == Tried(str(AGENT), POD, "127.0.0.1", both, heard.at)
    assert road.call().status == 200


def test_a_gateway_has_proved_a_bundle_once_its_envoy_takes_certificates_under_it(changing: Changing) -> None:
    road = changing.road
    assert changing.taken() == "", "nothing is tried yet"
    both = changing.prepare()
    changing.show_gateway(changing.old)
    assert changing.taken() == ""
    changing.show_gateway(road.authority.bundle_map())
    eventually(lambda: changing.taken() == both, 10)


def test_a_sidecar_that_starts_during_a_trial_serves_at_once_though_no_gateway_answers(changing: Changing) -> None:
    road = changing.road
    both = changing.prepare()
    settings = road.sidecar_for(free_port(), "lonely")
    swap(Path(settings.xds_dir), sidecar_files(settings, road.providers, both))
    lonely = Envoy(road.directory, sidecar_bootstrap(settings), settings.admin_socket)
    try:
        eventually(lonely._is_ready, 5)
        refused = road.call(port=settings.port)
        assert (refused.status, refused.headers["x-tollway-reason"]) == (503, "tollway.unreachable")
    finally:
        lonely.stop()


def test_who_shows_no_svid_is_not_heard(changing: Changing) -> None:
    """And the name by which the trial is asked for opens no other road."""
    changing.prepare()
    changing.show_gateway(changing.road.authority.bundle_map())
    context = changing.road.client_context(None)
    address = "127.0.0.1", changing.road.gateway_settings.port
    with (
        contextlib.suppress(OSError),
        socket.create_connection(address, 10) as plain,
        context.wrap_socket(plain, server_hostname="trial.tollway") as secured,
    ):
        secured.sendall(b"GET /trial/" + b"0" * 64 + b" HTTP/1.1\r\nhost: trial\r\n\r\n")
        assert secured.recv(10) == b""
    assert changing.trials.heard() == ()

"""What neither Envoy can be talked into: tunnels, other protocols, resumed sessions, other names, other parts."""

import contextlib
import http.server
import itertools
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from road.envoy_road import AGENT, CHAT, JSON, PROVIDER_KEY, Road, eventually, running_road
from tollway.resources.models import AIProvider, Endpoint
from tollway_files.atomic import swap
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files

BODY = b'{"model":"gpt-5-mini"}'
HOPS = ("sidecar", "gateway")


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with running_road() as road:
        yield road


def said(head: str, *headers: str, body: bytes = BODY) -> bytes:
    lines = [f"{head} HTTP/1.1", f"content-length: {len(body)}", "content-type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.contextmanager
def to(road: Road, hop: str) -> Iterator[socket.socket]:
    if hop == "gateway":
        with road.connection(road.client_context(AGENT)) as connection:
            yield connection
    else:
        with socket.create_connection(("127.0.0.1", road.sidecar_settings.port), timeout=10) as connection:
            yield connection


def statuses(road: Road, hop: str, sent: bytes) -> list[int]:
    """Of all answers, up to the one that says that it is the last."""
    found = list[int]()
    with to(road, hop) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as stream:
            while head := list(itertools.takewhile(lambda line: line.strip(), stream)):
                found.append(int(head[0].split()[1]))
                if b"connection: close\r\n" in head:
                    break
                stream.read(next(int(line[15:]) for line in head if line.startswith(b"content-length:")))
    return found


HOST = "host: localhost"
LAST = said(f"POST {CHAT}", HOST, "connection: close")
TUNNELS = {
    "a tunnel": b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n",
    "a tunnel to a path": f"CONNECT {CHAT} HTTP/1.1\r\n{HOST}\r\n\r\n".encode(),
    "a web socket": said(f"GET {CHAT}", HOST, "connection: upgrade", "upgrade: websocket", body=b""),
    "TLS": said(f"OPTIONS {CHAT}", HOST, "connection: upgrade", "upgrade: TLS/1.0", body=b""),
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("sent", TUNNELS.values(), ids=TUNNELS)
def test_nothing_is_tunnelled_and_nothing_behind_it_is_early_data(road: Road, sent: bytes, hop: str) -> None:
    before = len(road.check.asked), len(road.upstream.received)
    first, *behind = statuses(road, hop, sent + LAST)
    assert 400 <= first < 500
    # What follows is a request of its own with a decision of its own, or it is not read at all.
    decided, sent_on = len(road.check.asked) - before[0], len(road.upstream.received) - before[1]
    assert decided == sent_on == len(behind) <= 1
    assert [each.method for each in road.upstream.received[before[1] :]] == ["POST"] * sent_on


@pytest.mark.parametrize("hop", HOPS)
def test_an_offer_to_go_on_in_http_2_is_not_taken_and_not_passed_on(road: Road, hop: str) -> None:
    offer = ("connection: upgrade, http2-settings, close", "upgrade: h2c", "http2-settings: AAMAAABk")
    assert statuses(road, hop, said(f"POST {CHAT}", HOST, *offer)) == [200]
    assert not {"upgrade", "http2-settings"} & {name.lower() for name, _ in road.upstream.received[-1].headers}


REBOUND = ["evil.example", "evil.example:15001", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""]
OWN = ["localhost", "localhost:15001", "127.0.0.1", "127.0.0.1:80", "[::1]:15001", "LocalHost"]


@pytest.mark.parametrize("host", REBOUND)
def test_a_web_page_whose_name_was_made_to_lead_here_gets_nothing(road: Road, host: str) -> None:
    before = len(road.check.asked)
    answer = road.call(headers={**JSON, "host": host})
    assert answer.status in {400, 421}
    if answer.status == 421:
        assert answer.headers["x-tollway-reason"] == "request.host"
        assert "127.0.0.1" in answer.body.decode()
    assert len(road.check.asked) == before


@pytest.mark.parametrize("host", OWN)
def test_a_sidecar_answers_to_the_names_of_its_machine(road: Road, host: str) -> None:
    assert road.call(headers={**JSON, "host": host}).status == 200


def test_what_a_browser_asks_before_it_lets_a_page_call_is_refused_as_unknown(road: Road) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = road.call(method="OPTIONS", body=None, headers=headers)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


TRAVELLING = ("user-agent", "accept", "anthropic-beta", "anthropic-version")
NO_TEXT = {"no UTF-8": b"\xff\xfe", "half a letter": b"a\xc3", "beyond ASCII": "é".encode(), "a delete": b"a\x7fb"}


@pytest.mark.parametrize("name", TRAVELLING)
@pytest.mark.parametrize("value", NO_TEXT.values(), ids=NO_TEXT)
def test_a_header_that_two_readers_could_read_differently_does_not_travel(road: Road, name: str, value: bytes) -> None:
    before = len(road.check.asked)
    answer = road.raw(said(f"POST {CHAT}", HOST, f"{name}: {value.decode('latin-1')}"))
    assert (answer.status, answer.headers["x-tollway-reason"]) == (400, "request.malformed")
    assert len(road.check.asked) == before


class Sessions:
    """A provider that offers to resume sessions and counts those that were."""

    def __init__(self, road: Road) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(road.directory / "provider.crt", road.directory / "provider.key")

        class Once(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Once)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def serving(road: Road, *more: AIProvider, ca_file: Path | None = None) -> Iterator[None]:
    """The gateway is shown these providers, too, and other authorities to verify them by."""
    settings = replace(road.gateway_settings, upstream_ca_file=str(ca_file or road.upstream.ca_file))
    keys = {each.meta.name: PROVIDER_KEY for each in (*road.providers, *more)}
    usual = list(road.providers)
    shown = [*usual, *more]
    swap(Path(settings.xds_dir), gateway_files(settings, shown, keys))
    swap(Path(road.sidecar_settings.xds_dir), sidecar_files(road.sidecar_settings, shown))
    try:
        yield
    finally:
        road.show_providers({"openai": PROVIDER_KEY})
        eventually(lambda: road.call().status == 200)


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_every_connection_to_a_provider_verifies_it_anew(road: Road, most: ssl.TLSVersion) -> None:
    served = Sessions(road)
    served.context.maximum_version = most
    endpoint = Endpoint(tls=True, host="localhost", port=served.server.server_address[1])
    try:
        with serving(road, road.provider("sessions", endpoint=endpoint)):
            path = CHAT.replace("openai", "sessions")
            eventually(lambda: road.call(path).status == 200)
            assert [road.call(path).status for _ in range(3)] == [200] * 3
        stats = served.context.session_stats()
        assert (stats["accept_good"] >= 4, stats["hits"]) == (True, 0)
    finally:
        served.stop()


AUTHORITIES: dict[str, Callable[[Path], None]] = {
    "that are not there": lambda _: None,
    "that are empty": lambda file: file.write_bytes(b"") and None,
    "that cannot be read": lambda file: file.write_text("no certificate") and None,
}


@pytest.mark.parametrize("make", AUTHORITIES.values(), ids=AUTHORITIES)
def test_without_authorities_a_provider_is_not_called_rather_than_not_verified(
    road: Road, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "ca.pem")
    before = len(road.upstream.received)
    with serving(road, road.provider("second"), ca_file=tmp_path / "ca.pem"):
        eventually(lambda: road.call(CHAT.replace("openai", "second")).status == 503)
        assert [road.call(CHAT.replace("openai", "second")).status for _ in range(5)] == [503] * 5
    assert not [each for each in road.upstream.received[before:] if "second" in str(each.headers)]


def test_what_the_administration_shows_has_no_key_in_it(road: Road) -> None:
    assert road.call().status == 200
    for page in ("/config_dump?include_eds", "/certs", "/stats", "/server_info", "/clusters"):
        shown = road.gateway.ask(page)
        assert shown
        assert PROVIDER_KEY.decode() not in shown
        assert "PRIVATE KEY" not in shown


PARTS = {
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.route.v3.FilterConfig",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.content_parsers.json.v3.JsonContentParser",
    "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
    "envoy.extensions.filters.http.lua.v3.Lua",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.set_metadata.v3.Config",
    "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
    "envoy.extensions.http.injected_credentials.generic.v3.Generic",
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
    "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
}
"""Every part of Envoy that is used. No decompressor, no JWT, no code of others, no forward proxy: each that is added
here has to be judged in docs/security.md."""


def rendered(road: Road) -> str:
    files = gateway_files(road.gateway_settings, road.providers, {"openai": PROVIDER_KEY})
    sidecar = sidecar_files(road.sidecar_settings, road.providers)
    bootstraps = (gateway_bootstrap(road.gateway_settings), sidecar_bootstrap(road.sidecar_settings))
    return b"\n".join([*bootstraps, *files.values(), *sidecar.values()]).decode()


def test_the_envoys_are_made_of_these_parts_and_no_others(road: Road) -> None:
    assert set(re.findall(r'"type\.googleapis\.com/([\w.]+)"', rendered(road))) == PARTS


def test_json_of_requests_is_read_by_extauthz_alone(road: Road) -> None:
    shown = rendered(road)
    assert "responseRules" in shown
    assert "requestRules" not in shown


def test_no_listener_offers_an_upgrade_a_tunnel_or_http_3(road: Road) -> None:
    for bootstrap in (gateway_bootstrap(road.gateway_settings), sidecar_bootstrap(road.sidecar_settings)):
        words = set(re.findall(r'"(\w+)":', bootstrap.decode()))
        assert not words & {"upgradeConfigs", "upgradeType", "connectMatcher", "connectConfig", "allowConnect"}
        assert not words & {"udpListenerConfig", "quicOptions", "http3ProtocolOptions", "protocolOptions"}
        assert len(json.loads(bootstrap)["staticResources"]["listeners"]) == 1

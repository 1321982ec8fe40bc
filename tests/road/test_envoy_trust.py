"""Who may speak to whom on the road."""

import contextlib
import ssl
from collections.abc import Iterator

import pytest
from cryptography import x509

from road.envoy_road import AGENT, GATEWAY, Envoy, Road, eventually, foreign_authority, running_road
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, SPIFFEID, agent_id, workload_id
from tollway_operator.authority.authority import Authority
from tollway_operator.envoy.sidecar import sidecar_bootstrap

REQUEST = b"GET /nobody HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with running_road() as road:
        yield road


def test_a_client_with_an_svid_of_ours_is_heard(road: Road) -> None:
    assert road.raw(REQUEST).status == 404


def test_a_client_without_a_certificate_is_not_heard(road: Road) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        road.raw(REQUEST, svid=None)


def test_a_client_of_another_root_is_not_heard(road: Road) -> None:
    foreign = foreign_authority(road.directory / "foreign")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        road.raw(REQUEST, authority=foreign)


def test_a_client_that_speaks_only_tls_1_2_is_not_heard(road: Road) -> None:
    context = road.client_context(AGENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)), road.connection(context):
        pass


def test_no_session_can_be_resumed_after_its_certificate(road: Road) -> None:
    context = road.client_context(AGENT)
    with road.connection(context) as first:
        first.sendall(REQUEST)
        first.recv(4096)
        session = first.session
    assert session is None or not session.has_ticket
    with road.connection(context, session) as second:
        second.sendall(REQUEST)
        second.recv(4096)
        assert not second.session_reused


OTHERS = [
    AGENT,
    workload_id(DEFAULT_TRUST_DOMAIN, "team-a", "tollway-gateway"),
    agent_id(DEFAULT_TRUST_DOMAIN, "tollway-system", "tollway-gateway", "x"),
]


@pytest.mark.parametrize("impostor", OTHERS, ids=str)
def test_a_sidecar_tells_nothing_to_a_peer_that_is_not_the_gateway(road: Road, impostor: SPIFFEID) -> None:
    before = len(road.check.asked)
    with impersonated(road, impostor), another_sidecar(road) as port:
        answer = road.call(port=port)
        assert (answer.status, answer.headers["x-tollway-reason"]) == (503, "tollway.unreachable")
    assert len(road.check.asked) == before


@contextlib.contextmanager
def impersonated(road: Road, spiffe_id: SPIFFEID) -> Iterator[None]:
    """The gateway shows another of our own SVIDs."""
    road.show_identity(road.gateway_settings.identity_dir, spiffe_id)
    eventually(lambda: shown_by(road) == str(spiffe_id))
    try:
        yield
    finally:
        road.show_identity(road.gateway_settings.identity_dir, GATEWAY)
        eventually(lambda: shown_by(road) == str(GATEWAY))


def shown_by(road: Road) -> str:
    with road.connection(road.client_context(AGENT)) as connection:
        found = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


@contextlib.contextmanager
def another_sidecar(road: Road) -> Iterator[int]:
    settings = road.sidecar_for(road.gateway_settings.port, "another")
    envoy = Envoy(road.directory, sidecar_bootstrap(settings), settings.admin_socket)
    try:
        envoy.wait_until_ready()
        yield settings.port
    finally:
        envoy.stop()


def test_renewed_certificates_on_both_sides_fail_no_call(road: Road) -> None:
    for _ in range(5):
        road.show_identity(road.gateway_settings.identity_dir, GATEWAY)
        road.show_identity(road.sidecar_settings.identity_dir, AGENT)
        assert [road.call().status for _ in range(5)] == [200] * 5
        with another_sidecar(road) as port:
            assert road.call(port=port).status == 200


def test_a_root_that_is_no_longer_in_the_bundle_is_no_longer_heard(road: Road) -> None:
    old = road.authority
    road.authority = foreign_authority(road.directory / "next")
    try:
        road.show_identity(road.gateway_settings.identity_dir, GATEWAY)
        eventually(lambda: not is_heard(road, old))
        assert is_heard(road, road.authority)
    finally:
        road.authority = old
        road.show_identity(road.gateway_settings.identity_dir, GATEWAY)


def is_heard(road: Road, authority: Authority) -> bool:
    try:
        return road.raw(REQUEST, authority=authority).status == 404
    except (ssl.SSLError, ConnectionError):
        return False

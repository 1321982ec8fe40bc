"""A provider behind TLS, as a real one is: verified by name and authority, or no call leaves and no key is shown.

The demo provider listens on loopback with certificates of a test authority that the installation trusts, or should not.
"""

import datetime as dt
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from installations import KEY, DemoProvider, Installation, agent, budget, provider, quota, running, secret
from tollway_cli.demo.provider import CALL_LOG, ProviderSettings

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
BAD = ("another-name", "unknown-authority", "expired")


class Authority:
    """A root of its own, and the leaves that it signs."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _certificate(self._name, self._name, self._key, NOW + 30 * DAY)
        is_ca = x509.BasicConstraints(ca=True, path_length=0)
        self.certificate = builder.add_extension(is_ca, critical=True).sign(self._key, hashes.SHA256())

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, folder: Path, host: str = "localhost", not_after: dt.datetime = NOW + DAY) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        builder = _certificate(x509.Name([]), self._name, key, not_after).add_extension(names, critical=True)
        file = folder / f"{x509.random_serial_number()}.pem"
        file.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, not_after: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 10 * DAY)
        .not_valid_after(not_after)
    )


class TLSProvider(DemoProvider):
    """The demo provider behind TLS. `names` are those that clients asked for (SNI); `requests` all that arrived."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(ProviderSettings(key=KEY))
        self.names: list[str | None] = []
        self.requests: list[str] = []
        self._context = context
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.app.middlewares.append(self._count)

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(request.path)
        return await handler(request)

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self.port}"

    def _site(self, listening: Any) -> web.SockSite:
        return web.SockSite(self._runner, listening, ssl_context=self._context)


@dataclass(frozen=True)
class Place:
    installation: Installation
    providers: dict[str, TLSProvider]

    def ask(self, name: str) -> Any:
        url = self.installation.base_url("team-a/researcher", name)
        with openai.OpenAI(base_url=url, api_key="placeholder", max_retries=0) as client:
            return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tls")
    trusted, unknown = Authority("trusted"), Authority("unknown")
    (folder / "ca.pem").write_bytes(trusted.pem())
    contexts = {
        "good": trusted.server(folder),
        "another-name": trusted.server(folder, "api.example.com"),
        "unknown-authority": unknown.server(folder),
        "expired": trusted.server(folder, not_after=NOW - DAY),
    }
    with ExitStack() as stack:
        served = {name: stack.enter_context(TLSProvider(context)) for name, context in contexts.items()}
        documents = [provider(name, endpoint=each.endpoint) for name, each in served.items()]
        documents += [secret(), agent("researcher"), quota("plenty", budget("5.00"))]
        arguments = ["--upstream-ca", str(folder / "ca.pem")]
        installation, _ = stack.enter_context(running(documents, arguments=arguments))
        yield Place(installation, served)


def test_a_provider_that_proves_its_name_is_called_with_its_key(place: Place) -> None:
    assert place.ask("good").choices[0].message.content
    served = place.providers["good"]
    assert set(served.names) == {"localhost"}
    assert [call.key for call in served.app[CALL_LOG]] == [KEY]


@pytest.mark.parametrize("name", BAD)
def test_a_provider_that_does_not_is_unreachable_and_never_sees_the_request(place: Place, name: str) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        place.ask(name)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-tollway-reason"] == "provider.unreachable"
    assert caught.value.body["message"] == "The model provider could not be reached."  # type: ignore[index]
    served = place.providers[name]
    assert "localhost" in served.names
    assert served.requests == []


def test_what_never_left_costs_nothing(place: Place) -> None:
    with pytest.raises(openai.InternalServerError):
        place.ask("expired")
    calls = [each for each in place.installation.settled_calls(1) if each["provider"] == "expired"]
    assert {each["cost"] for each in calls} == {0}


def test_the_doctor_says_what_is_wrong_with_each(place: Place) -> None:
    checks = json.loads(place.installation.tollway("doctor", "-o", "json", codes=[1]))["checks"]
    (endpoints,) = [each for each in checks if each["name"] == "provider endpoints"]
    said = {each["object"].removeprefix("AIProvider "): each["message"] for each in endpoints["findings"]}
    assert said.keys() == set(BAD)
    assert "not valid for 'localhost'" in said["another-name"]
    assert "unable to get local issuer" in said["unknown-authority"]
    assert "expired" in said["expired"]
    assert all("--upstream-ca FILE" in each["mend"] for each in endpoints["findings"])

"""Objects that the people of a namespace write: whatever is in them, operator and injector go on for all others."""

import base64
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from clusters import Cluster, path_of
from operating.operators import TOLLWAY, Running, agent, condition, install, operating, status, wait_for
from signing.requests import SETTINGS, request, seen
from tollway_operator.cluster import kinds
from tollway_operator.injecting.outcomes import Patched
from tollway_operator.injecting.patching import inject
from tollway_operator.injecting.pod import MOST_CONTAINERS
from tollway_operator.injecting.settings import InjectionSettings, NamespaceFacts
from tollway_operator.signing.evaluator import Deny, evaluate
from tollway_operator.signing.objects import read_pod
from tollway_operator.watching.facts import held_svid
from tollway_operator.watching.listing import readable

ROOT, TEAM = "hostile-root", "hostile-team"
ID = "spiffe://cluster.local/ns/hostile-team/sa/a/agent/a"

Json = Any


def certificate(*extensions: x509.ExtensionType) -> bytes:
    """DER of one with these extensions, and with a SPIFFE ID."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.UniformResourceIdentifier(ID)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    for each in (x509.SubjectAlternativeName([name]), *extensions):
        builder = builder.add_extension(each, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def files(leaf: bytes) -> dict[str, bytes]:
    return {"tls.crt": pem(leaf) + pem(GOOD), "tls.key": b"theirs", "bundle.json": b"{}"}


GOOD = certificate()
OTHER = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.127"), b"\x30\x00")
HOSTILE = {
    "a curve that nobody knows": GOOD.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f")),
    "a key that nobody knows": GOOD.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d027f")),
    "a version that there is not": GOOD.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107")),
    "a name of another kind": GOOD.replace(bytes([0x86, len(ID)]) + ID.encode(), bytes([0xA3, len(ID)]) + ID.encode()),
    "the same extension twice": certificate(OTHER).replace(bytes.fromhex("0603551d7f"), bytes.fromhex("0603551d11")),
}


@pytest.mark.parametrize("leaf", HOSTILE.values(), ids=HOSTILE)
def test_a_certificate_that_cannot_be_read_is_none_and_stops_nobody(leaf: bytes) -> None:
    assert leaf != GOOD
    assert held_svid(files(GOOD)) is not None
    assert held_svid(files(leaf)) is None


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_changed_byte_of_a_certificate_stops_whoever_reads_its_secret() -> None:
    chance, read = random.Random(29), 0
    for _ in range(3_000):
        changed = bytearray(GOOD)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        read += held_svid(files(bytes(changed))) is not None
    assert 0 < read < 3_000


def test_one_object_that_cannot_be_read_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollway_operator.watching.listing.read", lambda *_: 1 / 0)
    assert readable(kinds.SECRET, {"metadata": {"name": "x"}}) is None


@pytest.fixture(scope="module")
def operator(cluster: Cluster) -> Iterator[Running]:
    account = install(cluster, ROOT, (TEAM,))
    environ = {"TOLLWAY_SECRET_NAMESPACES": TEAM, "TOLLWAY_RESYNC_SECONDS": "2"}
    with operating(account, ROOT, **environ) as running:
        wait_for(lambda: running.asked("/readyz")[0] == 200, "not ready")
        yield running


def test_whoever_writes_secrets_of_one_namespace_does_not_stop_the_operator(
    cluster: Cluster, operator: Running
) -> None:
    for number, leaf in enumerate(HOSTILE.values()):
        data = {name: base64.b64encode(content).decode() for name, content in files(leaf).items()}
        labels = {"app.kubernetes.io/managed-by": "tollway"}
        meta = {"name": f"tollway-svid-hostile-{number}", "namespace": TEAM, "labels": labels}
        cluster.admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}).expect()
    before = operator.metric("tollway_operator_listings_total")
    listed = lambda: operator.metric("tollway_operator_listings_total") >= before + 2  # noqa: E731
    wait_for(lambda: listed() or operator.process.poll() is not None, "it neither lists nor ends")
    assert operator.process.poll() is None, operator.said()[-2_000:]
    cluster.admin.create(agent("sound", TEAM, svid={"delivery": "Secret"})).expect()
    ready = lambda: condition(status(cluster.admin, "AgentIdentity", "sound", TEAM), "Ready")[0] == "True"  # noqa: E731
    wait_for(ready, "nobody is served any more")
    cluster.admin.send("DELETE", path_of(TOLLWAY, "AgentIdentity", TEAM, "sound")).expect()


# --- pods ----------------------------------------------------------------------------------------------------------


def with_containers(count: int, kind: str) -> Json:
    many = [{"name": f"c{number}"} for number in range(count)]
    return {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "agent"}], kind: many}}


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
def test_a_pod_of_more_containers_than_anybody_needs_is_refused_before_they_are_looked_at(kind: str) -> None:
    namespace, settings = NamespaceFacts(TEAM, {"tollway.dev/enforce": "enabled"}), InjectionSettings("envoy")
    assert isinstance(inject(with_containers(MOST_CONTAINERS, kind), namespace, settings), Patched)
    with pytest.raises(msgspec.ValidationError, match="length <= 256"):
        inject(with_containers(MOST_CONTAINERS + 1, kind), namespace, settings)


def test_a_pod_that_a_node_made_up_is_nobody() -> None:
    """Mirror pods are of no service account, and have the labels that the node likes."""
    made_up = read_pod(
        {
            "metadata": {
                "name": "researcher-0",
                "namespace": "team-a",
                "uid": "pod-uid",
                "labels": {"app": "researcher"},
            },
            "spec": {"nodeName": "node-1"},
        }
    )
    verdict = evaluate(request(service_account="default"), seen(pod=made_up), SETTINGS)
    assert isinstance(verdict, Deny)
    assert verdict.reason == "ServiceAccountMismatch"

"""The authority of a cluster is one Secret, which is changed only by who read its last version."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from clusters import Cluster, path_of
from operating.operators import install
from tollway.identity.rotation import CA_TTL_MS
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain
from tollway_operator.authority.certificates import certificate_pem, key_pem
from tollway_operator.authority.root import UnusableRoot, generate_root
from tollway_operator.authority.state import UnreadableState
from tollway_operator.authority.stored import StoredAuthority
from tollway_operator.cluster.client import Client, Gate
from tollway_operator.cluster.connection import connect
from tollway_operator.cluster.errors import Conflict

numbers = itertools.count()


@pytest.fixture
def root(cluster: Cluster) -> str:
    name = f"authority-{next(numbers)}"
    install(cluster, name)
    return name


@pytest.fixture
async def client(cluster: Cluster, root: str) -> AsyncIterator[Client]:
    """With the rights of the operator."""
    connection = await connect(cluster.service_account(root, "tollway-operator").kubeconfig, 20)
    yield Client(connection, Gate(time.monotonic))
    await connection.close()


def now() -> int:
    return time.time_ns() // 1_000_000


def stored(client: Client, root: str, trust_domain: TrustDomain = DEFAULT_TRUST_DOMAIN) -> StoredAuthority:
    return StoredAuthority(client, trust_domain, root)


async def test_R02_of_two_that_begin_at_once_one_makes_the_authority_and_the_other_finds_it(
    client: Client, root: str
) -> None:
    several = [stored(client, root) for _ in range(5)]
    results = await asyncio.gather(*(each.ready(now()) for each in several), return_exceptions=True)
    assert any(isinstance(each, Conflict) for each in results), "they did not collide"
    authorities = [await each.ready(now()) for each in several]
    assert len({each.bundle_map() for each in authorities}) == 1
    assert len({each.issuers_pem() for each in authorities}) == 1


async def test_R03_who_read_an_older_version_cannot_rotate(client: Client, root: str) -> None:
    awake, asleep = stored(client, root), stored(client, root)
    before = await awake.ready(now())
    await asleep.ready(now())
    later = now() + CA_TTL_MS * 6 // 10
    prepared = await awake.ready(later)
    assert prepared.issuers_pem() != before.issuers_pem()
    with pytest.raises(Conflict):
        await asleep.ready(later)
    asleep.forget()
    assert (await asleep.ready(later)).issuers_pem() == prepared.issuers_pem()


async def test_a_signing_ca_signs_only_after_the_server_has_it(client: Client, cluster: Cluster, root: str) -> None:
    authority = stored(client, root)
    for moment in (now(), now() + CA_TTL_MS * 6 // 10, now() + CA_TTL_MS * 9 // 10):
        used = await authority.ready(moment)
        assert (await stored(client, root).ready(moment)).issuers_pem() == used.issuers_pem()


def bring(cluster: Cluster, root: str, certificate: bytes, key: bytes) -> None:
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tollway-ca-root", "namespace": root},
        "stringData": {"tls.crt": certificate.decode(), "tls.key": key.decode()},
    }
    cluster.admin.create(content).expect()


async def test_a_root_that_the_user_brings_is_used(client: Client, cluster: Cluster, root: str) -> None:
    mine = generate_root(DEFAULT_TRUST_DOMAIN, now())
    bring(cluster, root, certificate_pem(mine.certificate), key_pem(mine.key))
    authority = await stored(client, root).ready(now())
    [used] = authority.bundle().roots
    assert used.public_bytes(Encoding.DER) == mine.certificate.public_bytes(Encoding.DER)


async def test_a_root_that_cannot_be_used_makes_no_authority(client: Client, cluster: Cluster, root: str) -> None:
    bring(cluster, root, b"not a certificate", b"not a key")
    with pytest.raises(UnusableRoot, match="not PEM"):
        await stored(client, root).ready(now())
    assert cluster.admin.get(path_of("v1", "Secret", root, "tollway-ca")).status == 404


async def test_a_spoilt_secret_is_not_overwritten(client: Client, cluster: Cluster, root: str) -> None:
    await stored(client, root).ready(now())
    where = path_of("v1", "Secret", root, "tollway-ca")
    cluster.admin.send("PATCH", where, {"data": {"authority.json": "e30="}}, "application/merge-patch+json").expect()
    version = cluster.admin.get(where).expect()["metadata"]["resourceVersion"]
    with pytest.raises(UnreadableState, match="restore it from a backup"):
        await stored(client, root).ready(now())
    assert cluster.admin.get(where).expect()["metadata"]["resourceVersion"] == version


async def test_the_authority_of_another_trust_domain_is_not_used(client: Client, root: str) -> None:
    await stored(client, root).ready(now())
    with pytest.raises(UnreadableState, match=r"is of trust domain cluster\.local"):
        await stored(client, root, TrustDomain("example.org")).ready(now())

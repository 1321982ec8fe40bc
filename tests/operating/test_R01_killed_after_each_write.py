"""R01: an operator that is killed after any single write of a reconcile is started again and comes to the same end."""

import base64
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from clusters import Cluster, path_of, running_cluster
from operating.in_process import live
from operating.operators import TOLLWAY, agent, install
from operating.pods import CERTIFICATES, Node
from tollway_operator.reconciling.snapshot import Installation

BUNDLE = path_of(CERTIFICATES, "ClusterTrustBundle", name="tollway.dev:agent:bundle")

Json = Any


@pytest.fixture(scope="module")
def own(kube_binaries: Mapping[str, str]) -> Iterator[Cluster]:
    """A cluster in which nothing else is enforced."""
    with running_cluster(kube_binaries) as cluster:
        cluster.install_crds()
        yield cluster


class World:
    """A namespace of agents and a root namespace of their own, with one of everything; removed at the end."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.admin = cluster, cluster.admin
        self.root, self.team = f"root-{number}", f"team-{number}"
        self.account = install(cluster, self.root, (self.team,))
        self.installation = Installation(
            root_namespace=self.root, secret_namespaces=frozenset({self.team}), gateway_host="gateway"
        )
        cluster.service_account(self.team, "second")
        node = Node(cluster, f"node-{number}")
        self.admin.send("DELETE", BUNDLE)
        self.admin.create(agent("first", self.team, svid={"delivery": "Secret"})).expect()
        self.admin.create(agent("second", self.team)).expect()
        key = {"name": "openai-key", "namespace": self.root}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": key, "stringData": {"api-key": "sk-1"}}
        self.admin.create(secret).expect()
        spec = {"type": "OpenAI", "credential": {"secretRef": {"name": "openai-key"}}}
        provider = {"apiVersion": TOLLWAY, "kind": "AIProvider", "metadata": {"name": "openai"}, "spec": spec}
        self.provider_uid = self.admin.create(provider).expect()["metadata"]["uid"]
        meta = {"name": "quota", "namespace": self.team}
        limits = {"limits": [{"name": "parallel", "concurrent": 4}]}
        self.admin.create({"apiVersion": TOLLWAY, "kind": "AIQuota", "metadata": meta, "spec": limits}).expect()
        self.request = node.ask(node.pod(self.team, "second", "second"), ec.generate_private_key(ec.SECP256R1()))

    def remove(self) -> None:
        for kind in ("AgentIdentity", "AIQuota"):
            self.admin.send("DELETE", path_of(TOLLWAY, kind, self.team)).expect()
        self.admin.send("DELETE", path_of(TOLLWAY, "AIProvider", name="openai")).expect()
        self.admin.send("DELETE", path_of(CERTIFICATES, "PodCertificateRequest", self.team)).expect()
        self.admin.send("DELETE", path_of("v1", "Pod", self.team)).expect()
        self.admin.send("DELETE", path_of("v1", "Namespace", name=self.team)).expect()
        self.cluster.namespace(self.team, **{"tollway.dev/enforce": ""})

    def end_state(self) -> Json:
        """Everything of ours, without what differs between any two runs: keys, times, versions."""
        return {
            "secrets": [_shape(each) for space in (self.root, self.team) for each in self.listed("Secret", space)],
            "configs": [
                _names(each, self) for space in (self.root, self.team) for each in self.listed("ConfigMap", space)
            ],
            "events": sorted(
                (e["involvedObject"]["name"], e["type"], e["reason"]) for e in self.listed("Event", self.team)
            ),
            "statuses": [self.status("AgentIdentity", name) for name in ("first", "second")]
            + [self.status("AIQuota", "quota"), self.status("AIProvider", "openai")],
            "request": [each["type"] for each in self.answer()["conditions"]],
            "bundle": self.bundle().count("BEGIN CERTIFICATE"),
        }

    def listed(self, kind: str, namespace: str) -> list[Json]:
        items = self.admin.get(path_of("v1", kind, namespace)).expect()["items"]
        return sorted(items, key=lambda each: each["metadata"]["name"])

    def status(self, kind: str, name: str) -> Json:
        where = path_of(TOLLWAY, kind, self.team, name)
        found = json.loads(json.dumps(self.admin.get(where).expect()["status"]).replace(self.team, "TEAM"))
        for condition in found["conditions"]:
            condition.pop("lastTransitionTime")
        for moment in ("notAfter", "renewAfter"):
            found.get("svid", {}).pop(moment, None)
        return found

    def answer(self) -> Json:
        where = path_of(CERTIFICATES, "PodCertificateRequest", self.team, self.request)
        return self.admin.get(where).expect().get("status", {})

    def bundle(self) -> str:
        return str(self.admin.get(BUNDLE).expect()["spec"]["trustBundle"])

    def certificates(self) -> Mapping[str, str]:
        """The certificates that were issued so far, by where they are."""
        found = {
            f"{space}/{each['metadata']['name']}": each["data"]["tls.crt"]
            for space in (self.root, self.team)
            for each in self.listed("Secret", space)
            if "tls.crt" in each.get("data", {})
        }
        chain = self.answer().get("certificateChain", "")
        return {**found, "request": base64.b64encode(chain.encode()).decode()} if chain else found

    def assert_one_authority(self) -> None:
        [root] = x509.load_pem_x509_certificates(self.bundle().encode())
        held = dict(self.certificates())
        # What the injector shows signs itself.
        held.pop(f"{self.root}/tollway-injector-tls")
        assert set(held) == {f"{self.root}/tollway-gateway-svid", f"{self.team}/tollway-svid-first", "request"}
        for chain in held.values():
            leaf, issuer = x509.load_pem_x509_certificates(base64.b64decode(chain))
            leaf.verify_directly_issued_by(issuer)
            issuer.verify_directly_issued_by(root)


def _shape(secret: Json) -> Json:
    owners = [owner["name"] for owner in secret["metadata"].get("ownerReferences", ())]
    return (secret["metadata"]["name"], secret["type"], sorted(secret.get("data", {})), owners)


def _names(config: Json, world: World) -> Json:
    data = config["data"]
    same = {
        name: data[name].replace(world.root, "ROOT").replace(world.provider_uid, "UID")
        for name in data
        if name not in VARYING
    }
    return (config["metadata"]["name"], sorted(data), same)


VARYING = frozenset({"bundle.json", "ca.crt", "issuers.pem"})


async def test_R01_killed_after_any_write_it_converges_to_the_end_of_an_undisturbed_run(own: Cluster) -> None:
    undisturbed = World(own, 0)
    recorder = await live(undisturbed.account.kubeconfig, undisturbed.installation)
    undisturbed.assert_one_authority()
    expected, writes = undisturbed.end_state(), recorder.writes
    undisturbed.remove()
    assert len(writes) >= 14, writes
    for point in itertools.count(1):
        world = World(own, point)
        killed = await live(world.account.kubeconfig, world.installation, dies_after=point)
        if len(killed.writes) < point:
            world.remove()
            break
        before = world.certificates()
        after = await live(world.account.kubeconfig, world.installation)
        where = f"killed after write {point}, {killed.writes[-1]}; then {after.writes}"
        assert world.end_state() == expected, where
        world.assert_one_authority()
        # What was issued before the end is in use: it is not issued again.
        assert before.items() <= world.certificates().items(), where
        world.remove()
    assert point > len(writes) - 2


async def test_a_second_look_at_a_cluster_in_which_nothing_changed_writes_nothing(own: Cluster) -> None:
    world = World(own, 900)
    await live(world.account.kubeconfig, world.installation)
    again = await live(world.account.kubeconfig, world.installation)
    world.remove()
    assert again.writes == []


async def test_R02_two_that_both_may_write_have_one_authority_and_corrupt_nothing(own: Cluster) -> None:
    """The Lease failed to exclude: both believe that it is theirs."""
    world = World(own, 901)
    both = await live(world.account.kubeconfig, world.installation, twice=True)
    world.assert_one_authority()
    made = [write for write in both.writes if write == f"POST /api/v1/namespaces/{world.root}/secrets 201"]
    # The authority, the gateway's SVID, and what the injector shows; credentials are applied.
    assert len(made) == 3, both.writes
    again = await live(world.account.kubeconfig, world.installation)
    world.remove()
    assert again.writes == []

"""An installation as objects on a real API server, well or ill, and the gateway's own admin application."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from clusters import Client, path_of
from installations import agent, provider, quota
from tollway.deciding.rulebook import RuleBook
from tollway.ledger.port import CallFacts, Counter, Demand, Sizes, Source
from tollway.ledger.units import Amounts, Unit, Window, WindowKind
from tollway.pricing.data import default_book
from tollway.resources.parse import parse_files
from tollway_extauthz.admin import Admin
from tollway_extauthz.peer import PeerValidator
from tollway_extauthz.rules import Rules
from tollway_extauthz.settings import Settings
from tollway_extauthz.stores.memory import MemoryLedger

ROOT_NAMESPACE: Final = "tollway-system"
NODE: Final = "node-1"
GATEWAY_POD: Final = "tollway-gateway-0"
RESEARCHER: Final = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
CALL: Final = "7c9e-call"
VERSION: Final = version("tollway")
RESOURCES: Final = (
    agent("researcher"),
    provider(endpoint="http://127.0.0.1:9"),
    quota(
        "research", {"name": "rpm", "requests": 60, "window": "1m"}, {"name": "all", "cost": "5.00", "window": "Day"}
    ),
)
_MERGE: Final = "application/merge-patch+json"

Json = Any


# --- the gateway's application -------------------------------------------------------------------------------------


async def admin_application(folder: Path, now: int) -> web.Application:
    """Extauthz's own, with one call in its ledger."""
    resources = parse_files({"a.yaml": yaml.safe_dump_all(RESOURCES).encode()}).resources
    rules = Rules(1, RuleBook(resources, default_book()), PeerValidator.__new__(PeerValidator), resources)
    unused = ("rules", "issuers", "ledger", "check_socket", "gateway_admin_socket", "admin_socket")
    settings = Settings(
        trust_domain="cluster.local",
        access_log=str(folder / "log"),
        metrics_port=0,
        **dict.fromkeys(unused, "unused"),
    )
    ledger = MemoryLedger()
    counter = Counter("team-a", "research", "rpm", Unit.REQUESTS, Window(WindowKind.ROLLING, 60_000))
    facts = CallFacts(RESEARCHER, "team-a", "openai", "gpt-4o", "chat", input_ceiling=10, input_rate=1_000_000)
    ledger.reserve(CALL, facts, [Demand(counter, 60, 1, 1)], Sizes(0, 0), now - 2_000, now + 60_000)
    ledger.settle(CALL, Amounts(1, 10, 20, 6_000_000), Source.PROVIDER, now - 1_000)
    return Admin(ledger, lambda: rules, lambda _agent, _model: None, lambda: now, settings).application()


# --- objects -------------------------------------------------------------------------------------------------------


def put(client: Client, content: Json, status: Json = None) -> None:
    client.apply(content).expect()
    if status is not None:
        meta = content["metadata"]
        path = path_of(content["apiVersion"], content["kind"], meta.get("namespace"), meta["name"])
        client.send("PATCH", f"{path}/status", {"status": status}, _MERGE).expect()


def pod(name: str, namespace: str, *init: str, owner: Json = None, **labels: str) -> Json:
    container = {"name": "program", "image": "none.example/program"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            **({"ownerReferences": [owner]} if owner else {}),
        },
        "spec": {
            "nodeName": NODE,
            "containers": [container],
            "initContainers": [{**container, "name": each} for each in init],
        },
    }


def conditions(*told: tuple[str, str, str]) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {
            "type": kind,
            "status": truth,
            "reason": reason,
            "message": f"about {reason}",
            "lastTransitionTime": now,
            "observedGeneration": 1,
        }
        for kind, truth, reason in told
    ]


def gateway_pod(client: Client, ready: bool = True) -> None:
    labels = {"app.kubernetes.io/name": "tollway", "app.kubernetes.io/component": "gateway"}
    said = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "message": "containers with unready status: [envoy]",
    }
    put(client, pod(GATEWAY_POD, ROOT_NAMESPACE, **labels), {"phase": "Running", "conditions": [said]})


def workload(client: Client, kind: str, name: str, replicas: int, ready: int) -> None:
    labels = {"app.kubernetes.io/name": "tollway", "app.kubernetes.io/component": name.removeprefix("tollway-")}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "it", "image": "none.example/it"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    meta = {"name": name, "namespace": ROOT_NAMESPACE, "labels": {"app.kubernetes.io/version": VERSION}}
    status = {"replicas": replicas, "readyReplicas": ready, "updatedReplicas": replicas, "observedGeneration": 1}
    put(client, {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": spec}, status)


def webhook(client: Client, *certificates: bytes) -> None:
    hook = {
        "name": "injector.tollway.dev",
        "clientConfig": {
            "service": {"name": "tollway-injector", "namespace": ROOT_NAMESPACE, "path": "/inject"},
            "caBundle": base64.b64encode(b"".join(certificates)).decode(),
        },
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"tollway.dev/enforce": "enabled"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    content = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    put(client, {**content, "metadata": {"name": "tollway-injector"}, "webhooks": [hook]})


def endpoints(client: Client, ready: Sequence[bool]) -> None:
    meta = {
        "name": "tollway-injector-1",
        "namespace": ROOT_NAMESPACE,
        "labels": {"kubernetes.io/service-name": "tollway-injector"},
    }
    found = [{"addresses": [f"10.0.0.{n + 1}"], "conditions": {"ready": each}} for n, each in enumerate(ready)]
    content = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    put(client, {**content, "metadata": meta, "endpoints": found, "ports": []})


def lease(client: Client, renewed: datetime) -> None:
    spec = {
        "holderIdentity": "operator-1",
        "leaseDurationSeconds": 15,
        "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    meta = {"name": "tollway-operator", "namespace": ROOT_NAMESPACE}
    put(client, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec})


def config_map(client: Client, name: str, **data: str) -> None:
    meta = {"name": name, "namespace": ROOT_NAMESPACE}
    put(client, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


def certificate(ends_in: timedelta) -> bytes:
    """PEM, signed by itself, valid since a month before."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "it")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=30), now + ends_in)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

"""Pods that a real API server creates through the injector, a process under its own rights."""

import base64
import copy
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clusters import Client, Cluster, path_of, until
from injecting.injection import facts, patched, read
from injecting.injectors import Running, injecting, install, review, webhook
from operating.operators import ENFORCED
from tollway_operator.injecting.outcomes import LeftAlone, Patched, Refused
from tollway_operator.injecting.patching import inject
from tollway_operator.names import INJECTOR

ROOT = "injecting-root"
INPUTS = {path.name.removesuffix(".in.yaml"): path for path in sorted(Path(__file__).parent.glob("*.in.yaml"))}
# Ages cannot be chosen, nor what the server serves; and no webhook is asked for the root namespace.
NOT_HERE = {"two-identities", "providers-of-a-type", "root-namespace", "unselected-refused"}
NOT_HERE |= {name for name, path in INPUTS.items() if "pod_certificates: false" in path.read_text()}
HERE = sorted(INPUTS.keys() - NOT_HERE)
KIND = "MutatingWebhookConfiguration"

Json = Any


class Stage(NamedTuple):
    cluster: Cluster
    account: Client
    injector: Running
    trusted: bytes


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Iterator[Stage]:
    cluster.install_crds()
    account = install(cluster, ROOT)
    # Listed as in the input, so that outcomes are the same.
    listed = ",".join(namespace_of(name) for name in HERE if "team-a]" in INPUTS[name].read_text())
    with injecting(account, TOLLWAY_SECRET_NAMESPACES=listed, TOLLWAY_ROOT_NAMESPACE=ROOT) as injector:
        trusted = injector.show("localhost")
        until(lambda: injector.probe("/readyz") == 200, "the injector is not ready")
        url = f"https://localhost:{injector.port}/inject"
        cluster.admin.apply(webhook(url=url, caBundle=base64.b64encode(trusted).decode())).expect()
        try:
            yield Stage(cluster, account, injector, trusted)
        finally:
            cluster.admin.send("DELETE", path_of("admissionregistration.k8s.io/v1", KIND, name=INJECTOR))


def namespace_of(name: str) -> str:
    return f"injecting-{name}"[:63]


@pytest.mark.parametrize("name", HERE)
def test_pods_come_back_as_the_golden_files_say(stage: Stage, name: str) -> None:
    given, admin, namespace = read(INPUTS[name]), stage.cluster.admin, namespace_of(name)
    labels = {key: value for key, value in given.namespace.labels.items() if key != "kubernetes.io/metadata.name"}
    stage.cluster.namespace(namespace, **labels)
    stage.cluster.service_account(namespace, "researcher")
    resources = in_namespace(given.resources, namespace)
    pod = copy.deepcopy(given.pod)
    pod["metadata"]["namespace"] = namespace
    settings = given.settings
    if "team-a" in settings.secret_namespaces:
        settings = type(settings)(settings.image, secret_namespaces=frozenset({namespace}))
    expected = inject(pod, facts({"name": namespace, "labels": labels}, resources), settings)
    for resource in resources:
        admin.apply(resource).expect()
    try:
        # The webhook, providers and labels act a moment after they are written.
        until(lambda: holds(admin.create(pod, dryRun="All"), pod, expected), f"not as expected: {expected}")
        answer = admin.create(pod)
        assert holds(answer, pod, expected), answer.message
    finally:
        for resource in resources:
            meta = resource["metadata"]
            admin.send("DELETE", path_of(resource["apiVersion"], resource["kind"], meta.get("namespace"), meta["name"]))


def in_namespace(resources: list[Json], namespace: str) -> list[Json]:
    moved = copy.deepcopy(resources)
    for resource in moved:
        if "namespace" in resource["metadata"]:
            resource["metadata"]["namespace"] = namespace
    return moved


def holds(answer: Json, pod: Json, expected: object) -> bool:
    match expected:
        case Refused(reason, message):
            return answer.status == 403 and f"{message} ({reason})" in answer.message
        case LeftAlone():
            return answer.ok and shape(answer.body) == shape(pod)
        case Patched(patch):
            return answer.ok and shape(answer.body) == shape(patched(pod, patch))
    raise AssertionError(expected)


def shape(pod: Json) -> Json:
    """What the injector decides about, without what the API server adds."""
    spec = pod["spec"]
    ours = [volume for volume in spec.get("volumes") or () if volume["name"].startswith("tollway-")]
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    return {
        "volumes": json.loads(json.dumps(ours)),
        "order": [container["name"] for container in containers],
        "variables": [list(container.get("env") or ()) for container in containers],
        "sidecar": [without_tokens(container) for container in containers if container["name"] == "tollway-sidecar"],
    }


def without_tokens(container: Json) -> Json:
    mounts = [each for each in container["volumeMounts"] if not each["name"].startswith("kube-api-access-")]
    return json.loads(json.dumps({**container, "volumeMounts": mounts}))


def test_an_identity_that_is_made_together_with_its_pod_counts(stage: Stage) -> None:
    namespace = stage.cluster.namespace("injecting-together", **ENFORCED)
    agent = {
        "apiVersion": "tollway.dev/v1alpha1",
        "kind": "AgentIdentity",
        "metadata": {"name": "p384", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "svid": {"keyType": "ECDSAP384"}},
    }
    until(lambda: sidecars(stage.cluster.admin.create(simple(namespace), dryRun="All").expect()), "nothing is injected")
    stage.cluster.admin.apply(agent).expect()
    pod = stage.cluster.admin.create(simple(namespace)).expect()
    [volume] = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "tollway-identity"]
    assert volume["projected"]["sources"][0]["podCertificate"]["keyType"] == "ECDSAP384"


def test_a_pod_that_is_made_of_an_injected_one_is_the_same(stage: Stage) -> None:
    namespace = stage.cluster.namespace("injecting-again", **ENFORCED)
    admin = stage.cluster.admin
    until(lambda: sidecars(admin.create(simple(namespace), dryRun="All").expect()), "nothing is injected")
    pod = admin.create(simple(namespace)).expect()
    again = copy.deepcopy(pod)
    again["metadata"] = {"name": "again", "namespace": namespace, "labels": pod["metadata"]["labels"]}
    again.pop("status")
    created = admin.create(again).expect()
    assert shape(created) == shape(pod)
    assert len(sidecars(created)) == 1


def simple(namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "x-", "namespace": namespace, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "agent", "image": "agent.example/agent"}]},
    }


def sidecars(pod: Json) -> list[Json]:
    return [each for each in pod["spec"].get("initContainers") or () if each["name"] == "tollway-sidecar"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}', 400),
        (review({}).replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"), 400),
        (review({}, operation="UPDATE"), 400),
        (review({}, subResource="ephemeralcontainers"), 400),
        (review({}, kind={"group": "apps", "version": "v1", "kind": "Deployment"}), 400),
        (review({}, uid=""), 400),
        (b"[" * 100_000, 400),
        (b" " * (3 * 1024 * 1024 + 1), 413),
    ],
    ids=[
        *("empty", "cut", "a list", "no request", "v1beta1", "an update", "a subresource", "another kind"),
        *("no uid", "deep", "large"),
    ],
)
def test_what_is_no_review_is_no_answer(stage: Stage, body: bytes, status: int) -> None:
    assert stage.injector.ask(body, stage.trusted)[0] == status


@pytest.mark.parametrize(
    "pod",
    [None, [], {}, {"metadata": {}, "spec": {}}, {"metadata": {}, "spec": {"containers": [{"env": {"a": "b"}}]}}],
    ids=["null", "a list", "empty", "no containers", "variables that are none"],
)
def test_what_is_no_pod_is_refused(stage: Stage, pod: Json) -> None:
    namespace = stage.cluster.namespace("injecting-no-pod", **ENFORCED)
    status, body = stage.injector.ask(review(pod, namespace), stage.trusted)
    response = json.loads(body)["response"]
    assert (status, response["allowed"], "NotAPod" in response["status"]["message"]) == (200, False, True)


def test_many_large_pods_at_once_take_neither_its_memory_nor_its_time_for_others(stage: Stage) -> None:
    namespace = stage.cluster.namespace("injecting-crowd", **ENFORCED)
    volumes = [{"name": "a", "emptyDir": {}}] * 100_000
    large = review({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}], "volumes": volumes}}, namespace)
    small = review({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}}, namespace)
    memory = Path(f"/proc/{stage.injector.process.pid}")
    (memory / "clear_refs").write_text("5")
    with ThreadPoolExecutor(32) as crowd:
        asked = [crowd.submit(stage.injector.ask, large, stage.trusted, patience=120) for _ in range(32)]
        assert stage.injector.ask(small, stage.trusted)[0] == 200
        assert [each.result()[0] for each in asked] == [200] * 32
    peak = re.search(r"VmHWM:\s+(\d+) kB", (memory / "status").read_text())
    assert peak is not None
    assert int(peak[1]) < 256 * 1024, "the chart gives it no more"


def test_the_injector_may_read_no_secret_and_write_nothing(stage: Stage) -> None:
    for path in (path_of("v1", "Secret", ROOT), "/api/v1/secrets", "/api/v1/pods", path_of("v1", "ConfigMap", ROOT)):
        assert stage.account.get(path).status == 403
    assert stage.account.apply(simple_namespace()).status == 403


def simple_namespace() -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "injecting-made-by-injector"}}


def test_another_certificate_is_shown_when_its_files_change(stage: Stage) -> None:
    with injecting(stage.account) as injector:
        until(lambda: injector.probe("/healthz") == 200, "it does not live")
        assert injector.probe("/readyz") == 503
        first = injector.show("localhost")
        until(lambda: injector.probe("/readyz") == 200, "the injector is not ready")
        assert injector.ask(b"", first)[0] == 400
        second = injector.show("localhost")
        until(lambda: injector.shows(second), "the other certificate is not shown")
        assert not injector.shows(first)

"""The chart installed, upgraded and uninstalled by the real helm on a real API server. No pod runs here."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from charting.charts import CHART, ROOT_NAMESPACE, SHARED_STORE, Helm, Json, setting
from clusters import ROOT, Client, Cluster, path_of, running_cluster, until
from operating.operators import agent, operating

ENFORCED = {"tollway.dev/enforce": "enabled"}
WEBHOOK = path_of("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", name="tollway-injector")
INSTALL_MD = (ROOT / "docs" / "install.md").read_text()
CLEANING = re.findall(r"```sh\nhelm uninstall [^\n]*\n(.*?)```", INSTALL_MD, re.DOTALL)[0]
OF_THE_OPERATOR = {"Secret", "ConfigMap", "Lease", "ClusterTrustBundle", "NetworkPolicy"}
FASTER = "injector.timeoutSeconds=5"


@pytest.fixture(scope="module")
def bare(kube_binaries: Mapping[str, str]) -> Iterator[Cluster]:
    """A cluster of its own, without Tollway's CRDs: the chart brings them. It warns of lax pods."""
    with running_cluster(kube_binaries) as cluster:
        cluster.namespace(ROOT_NAMESPACE, **{"pod-security.kubernetes.io/warn": "restricted"})
        cluster.namespace("kube-system")
        cluster.namespace("team-b")
        yield cluster


@pytest.fixture(scope="module")
def helm(bare: Cluster, kube_binaries: Mapping[str, str]) -> Helm:
    return Helm(kube_binaries, bare.admin.kubeconfig)


@contextlib.contextmanager
def installed(helm: Helm, *values: str) -> Iterator[None]:
    try:
        install(helm, "install", *values)
        yield
    finally:
        helm.run("uninstall", "tollway", "--namespace", ROOT_NAMESPACE)


def install(helm: Helm, verb: str, *values: str) -> str:
    return helm.said(verb, "tollway", str(CHART), "--namespace", ROOT_NAMESPACE, *setting((FASTER, *values)))


def pod(namespace: str) -> Json:
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "program", "namespace": namespace},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "program", "image": "program", "securityContext": confined}],
        },
    }


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("secretNamespaces={team-b}", "commonLabels.cost=ai", "images.pullSecrets={mirror}"),
        (*SHARED_STORE, "gateway.autoscaling.enabled=true"),
        ("gateway.providerAuthorities.configMap=ours", "gateway.storage.storageClassName=fast"),
        (
            "networkPolicies.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
            "injector.replicas=1",
            "injector.env[0].name=A",
            "injector.env[0].value=b",
            "operator.env[0].name=A",
            "gateway.extauthz.env[0].name=A",
            "gateway.keeper.env[0].name=A",
            "gateway.service.annotations.a=b",
            "gateway.podAnnotations.a=b",
            "gateway.tolerations[0].operator=Exists",
            "gateway.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a",
            "gateway.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        ),
    ],
    ids=["usual", "labelled", "shared-store", "volumes", "placed"],
)
def test_kubernetes_takes_all_of_it_by_its_own_schemas_without_a_warning(
    bare: Cluster, helm: Helm, values: tuple[str, ...], tmp_path: Path
) -> None:
    """Every field is known, every value valid, every pod passes the Pod Security Standard `restricted`."""
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(helm.text(*values))
    dry = ("--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors")
    bare.admin.kubectl("apply", *dry, "-f", str(rendered))


def test_what_is_installed_brings_its_kinds_and_tells_the_next_command(bare: Cluster, helm: Helm) -> None:
    with installed(helm):
        said = helm.said("get", "notes", "tollway", "--namespace", ROOT_NAMESPACE)
        assert "kubectl -n tollway-system rollout status statefulset/tollway-gateway" in said
        assert "kubectl label namespace YOUR-NAMESPACE tollway.dev/enforce=enabled" in said
        until(lambda: bare.admin.get("/apis/tollway.dev/v1alpha1/aiquotas").ok, "the kinds are not served")
        bare.admin.kubectl("apply", "-k", str(ROOT / "examples" / "two-teams"))
        bare.admin.kubectl("delete", "--wait=false", "-k", str(ROOT / "examples" / "two-teams"))


def test_with_the_rights_of_the_chart_the_operator_does_its_work_and_upgrades_leave_it(
    bare: Cluster, helm: Helm
) -> None:
    with installed(helm, "secretNamespaces={team-b}"):
        bare.namespace("team-b", **ENFORCED, **{"tollway.dev/egress": "strict"})
        operator = bare.service_account(ROOT_NAMESPACE, "tollway-operator")
        with operating(operator, TOLLWAY_SECRET_NAMESPACES="team-b"):
            until(lambda: bundle(bare.admin), "the operator does not vouch for the injector", 60)
            bare.admin.apply(agent("researcher", "team-b", svid={"delivery": "Secret"})).expect()
            until(
                lambda: bare.admin.get(path_of("v1", "Secret", "team-b", "tollway-svid-researcher")).ok, "no SVID", 60
            )
            closed = path_of("networking.k8s.io/v1", "NetworkPolicy", "team-b", "tollway-egress")
            until(lambda: bare.admin.get(closed).ok, "egress is open", 60)
        written = bundle(bare.admin)
        install(helm, "upgrade", "injector.timeoutSeconds=7", "secretNamespaces={team-b}")
        assert (webhook(bare.admin)["timeoutSeconds"], bundle(bare.admin)) == (7, written)
        helm.said("rollback", "tollway", "1", "--namespace", ROOT_NAMESPACE)
        assert (webhook(bare.admin)["timeoutSeconds"], bundle(bare.admin)) == (5, written)
    left = {f"{kind}/{name}" for kind, name in ours(bare.admin)}
    assert {"Secret/tollway-ca", "Secret/tollway-svid-researcher", "NetworkPolicy/tollway-egress"} <= left
    bare.admin.shell(CLEANING)
    until(lambda: {kind for kind, _ in ours(bare.admin)} <= {"Namespace"}, "something is left")


def webhook(client: Client) -> Json:
    [only] = client.get(WEBHOOK).expect()["webhooks"]
    return only


def bundle(client: Client) -> str:
    return str(webhook(client)["clientConfig"].get("caBundle", ""))


def test_without_an_injector_no_pod_of_an_enforced_namespace_starts_and_every_other_one_does(
    bare: Cluster, helm: Helm
) -> None:
    bare.namespace("enforced", **ENFORCED)
    bare.namespace("free")
    bare.namespace("kube-system", **ENFORCED)
    with installed(helm):
        until(lambda: not starts(bare.admin, "enforced"), "the webhook is not asked")
        assert "injector.tollway.dev" in refusal(bare.admin, "enforced")
        for namespace in ("free", "kube-system", ROOT_NAMESPACE):
            assert starts(bare.admin, namespace), namespace


def test_uninstalled_it_leaves_no_webhook_and_no_policy_and_pods_start_again(bare: Cluster, helm: Helm) -> None:
    bare.namespace("enforced", **ENFORCED)
    with installed(helm, "secretNamespaces={team-b}"):
        until(lambda: not starts(bare.admin, "enforced"), "the webhook is not asked")
    until(lambda: starts(bare.admin, "enforced"), "pods do not start again")
    left = {kind for kind, _ in ours(bare.admin)}
    assert left <= {"CustomResourceDefinition", "Namespace"} | OF_THE_OPERATOR


def test_kinds_and_resources_outlive_the_release_and_belong_to_the_next_one(bare: Cluster, helm: Helm) -> None:
    bare.namespace("team-c")
    quota = {
        "apiVersion": "tollway.dev/v1alpha1",
        "kind": "AIQuota",
        "metadata": {"name": "team", "namespace": "team-c"},
        "spec": {"limits": [{"name": "rpm", "requests": 6, "window": "1m"}]},
    }
    with installed(helm):
        until(lambda: bare.admin.apply(quota).ok, "the kinds are not served")
    where = path_of("tollway.dev/v1alpha1", "AIQuota", "team-c", "team")
    assert bare.admin.get(where).ok
    with installed(helm):
        assert bare.admin.get(where).ok


def starts(client: Client, namespace: str) -> bool:
    """Asked of the API server, and not done."""
    return client.create(pod(namespace), dryRun="All").ok


def refusal(client: Client, namespace: str) -> str:
    return client.create(pod(namespace), dryRun="All").message


def ours(client: Client) -> set[tuple[str, str]]:
    """Kind and name of everything in the cluster that is named after us. What our CRDs define goes with them."""
    kinds = client.kubectl("api-resources", "--verbs=list", "--output=name").split()
    passing = ("events", "componentstatuses", "apiservices")
    kinds = [kind for kind in kinds if not kind.startswith(passing) and not kind.endswith(".tollway.dev")]
    names = "jsonpath={range .items[*]}{.kind} {.metadata.name}{'\\n'}{end}"
    listed = client.kubectl("get", ",".join(kinds), "--all-namespaces", f"--output={names}")
    return {(kind, name) for kind, name in map(str.split, listed.splitlines()) if "tollway" in name}

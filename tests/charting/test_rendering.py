"""What the chart makes of its values; whether Kubernetes takes it is asked in `test_installing`."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from charting.charts import CHART, ROOT_NAMESPACE, SHARED_STORE, Helm, Json, containers, named, of_kind, pods
from clusters import ROOT
from tollway_extauthz.keeping.__main__ import options as keeper_options
from tollway_extauthz.settings import read_settings
from tollway_operator import names
from tollway_operator.__main__ import options as operator_options
from tollway_operator.envoy.settings import GatewaySettings
from tollway_operator.injecting.__main__ import options as injector_options
from tollway_operator.injecting.server import PATH
from tollway_operator.reconciling.rendering import gateway_settings
from tollway_operator.reconciling.snapshot import Installation

EXTRAS = ("ConfigMap", names.EGRESS)
"""What an admission policy compares with."""
DIGEST = "sha256:" + "5" * 64


@pytest.fixture(scope="module")
def usual(helm: Helm) -> list[Json]:
    return helm.documents()


@pytest.fixture(scope="module")
def shared(helm: Helm) -> list[Json]:
    return helm.documents(*SHARED_STORE, "gateway.autoscaling.enabled=true", "gateway.autoscaling.maxReplicas=7")


@pytest.fixture(scope="module")
def rendered() -> GatewaySettings:
    """What the operator renders the gateway's Envoy for."""
    return gateway_settings(Installation())


# --- the gateway ---------------------------------------------------------------------------------------------------


def test_extauthz_understands_its_settings(usual: list[Json], rendered: GatewaySettings, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(named(usual, "ConfigMap", "tollway-gateway-settings")["data"]["settings.json"])
    settings = read_settings(file)
    assert (settings.check_socket,) == rendered.check_sockets
    assert settings.access_log == rendered.access_log
    assert settings.gateway_admin_socket == rendered.admin_socket
    assert settings.identity == rendered.identity_dir
    assert settings.trust_domain == rendered.trust_domain
    assert (settings.metrics_port, settings.usage_port, settings.admin_port) == (9464, 15444, 9466)


def test_with_sqlite_there_is_one_gateway_with_a_volume_that_stays(usual: list[Json]) -> None:
    gateway = named(usual, "StatefulSet", names.GATEWAY)["spec"]
    assert gateway["replicas"] == 1
    assert [each["metadata"]["name"] for each in gateway["volumeClaimTemplates"]] == ["ledger"]
    assert gateway["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert not of_kind(usual, "HorizontalPodAutoscaler")
    assert [each["metadata"]["name"] for each in of_kind(usual, "PodDisruptionBudget")] == ["tollway-injector"]


def test_with_a_shared_store_there_are_as_many_gateways_as_are_needed(shared: list[Json]) -> None:
    gateway = named(shared, "Deployment", names.GATEWAY)["spec"]
    assert "replicas" not in gateway, "the autoscaler decides"
    assert gateway["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert named(shared, "HorizontalPodAutoscaler", names.GATEWAY)["spec"]["maxReplicas"] == 7
    assert named(shared, "PodDisruptionBudget", names.GATEWAY)["spec"]["maxUnavailable"] == 1
    assert not of_kind(shared, "StatefulSet")


def test_other_settings_make_another_pod(helm: Helm, usual: list[Json]) -> None:
    def marked(documents: list[Json]) -> str:
        gateway = named(documents, "StatefulSet", names.GATEWAY)
        return str(gateway["spec"]["template"]["metadata"]["annotations"])

    assert marked(helm.documents("uncovered=allow")) != marked(usual)
    kept = helm.documents("gateway.podAnnotations.mine=here")
    assert "'mine': 'here'" in marked(kept)
    assert "tollway.dev/settings" in marked(kept)


def test_envoy_ends_before_extauthz_and_the_keeper_after_both(usual: list[Json]) -> None:
    """Native sidecars end when the others have ended, the last first; see `tollway_extauthz.draining`."""
    gateway = pods(usual)[names.GATEWAY]
    assert [each["name"] for each in gateway["initContainers"]] == ["keeper", "envoy"]
    assert {each["restartPolicy"] for each in gateway["initContainers"]} == {"Always"}
    [extauthz] = gateway["containers"]
    hook = extauthz["lifecycle"]["preStop"]["exec"]["command"]
    assert hook[1:3] == ["-m", "tollway_extauthz.draining"]
    assert "--seconds=30" in hook
    assert gateway["terminationGracePeriodSeconds"] == 50


def test_a_longer_drain_is_a_longer_end(helm: Helm) -> None:
    gateway = pods(helm.documents("gateway.drainSeconds=300"))[names.GATEWAY]
    assert gateway["terminationGracePeriodSeconds"] == 320
    assert "--seconds=300" in containers(gateway)["extauthz"]["lifecycle"]["preStop"]["exec"]["command"]
    command = containers(gateway)["envoy"]["command"]
    assert command[command.index("--drain-time-s") + 1] == "300"


def test_files_are_where_operator_and_extauthz_look_for_them(usual: list[Json], rendered: GatewaySettings) -> None:
    gateway = pods(usual)[names.GATEWAY]
    envoy = {each["mountPath"] for each in containers(gateway)["envoy"]["volumeMounts"]}
    assert {rendered.xds_dir, rendered.identity_dir, str(Path(rendered.admin_socket).parent)} <= envoy
    memory = {each["name"] for each in gateway["volumes"] if each.get("emptyDir", {}).get("medium") == "Memory"}
    assert memory == {"config", "identity"}, "keys are on no disk"


def test_authorities_of_ones_own_replace_the_public_ones(helm: Helm, rendered: GatewaySettings) -> None:
    gateway = pods(helm.documents("gateway.providerAuthorities.configMap=ours"))[names.GATEWAY]
    mounts = {each["mountPath"]: each for each in containers(gateway)["envoy"]["volumeMounts"]}
    assert mounts[rendered.upstream_ca_file]["name"] == "authorities"
    assert {"name": "authorities", "configMap": {"name": "ours"}} in gateway["volumes"]


# --- what the parts are told --------------------------------------------------------------------------------------


def told(documents: list[Json], pod: str, container: str) -> dict[str, str]:
    """A container's environment; what the kubelet fills in is named so."""
    return {each["name"]: each.get("value", "…") for each in containers(pods(documents)[pod])[container].get("env", ())}


def test_operator_and_injector_understand_what_was_decided(helm: Helm) -> None:
    decided = helm.documents(
        "trustDomain=example.org",
        "unselected=refuse",
        "secretNamespaces={team-b,team-c}",
        "images.pullPolicy=Always",
        "sidecar.resources.limits.memory=99Mi",
        namespace="platform",
    )
    elsewhere = {"KUBECONFIG": "this is no pod"}
    operator = operator_options(elsewhere | told(decided, "tollway-operator", "operator")).installation
    injector = injector_options(elsewhere | told(decided, names.INJECTOR, "injector")).settings
    assert str(operator.trust_domain) == "example.org"
    for side in (operator, injector):
        assert side.root_namespace == "platform"
        assert side.secret_namespaces == {"team-b", "team-c"}
        assert side.refuse_unselected is True
    assert injector.image == containers(pods(decided)[names.GATEWAY])["envoy"]["image"]
    assert injector.image_pull_policy == "Always"
    assert injector.resources["limits"] == {"memory": "99Mi"}


def test_the_keeper_understands_what_it_is_told(helm: Helm) -> None:
    of_kubelet = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    environ = told(helm.documents(namespace="platform"), names.GATEWAY, "keeper")
    options = keeper_options(of_kubelet | environ)
    assert options.root_namespace == "platform"
    mounted = {
        each["mountPath"] for each in containers(pods(helm.documents())[names.GATEWAY])["keeper"]["volumeMounts"]
    }
    places = (options.places.config, options.places.identity, options.places.rules, options.places.envoy_socket.parent)
    assert set(map(str, places)) <= mounted
    assert str(options.account) in mounted


def test_probes_and_services_lead_to_the_ports_that_are_served(usual: list[Json]) -> None:
    ports = {
        f"{pod}/{port['name']}": port["containerPort"]
        for pod, made in pods(usual).items()
        for container in containers(made).values()
        for port in container.get("ports", ())
    }
    assert ports == {
        "tollway-operator/health": 9467,
        "tollway-injector/webhook": 9443,
        "tollway-injector/health": 9468,
        "tollway-gateway/keeper": 9465,
        "tollway-gateway/mtls": Installation().gateway_port,
        "tollway-gateway/health": 9464,
        "tollway-gateway/usage": 15444,
    }
    for service in of_kind(usual, "Service"):
        for port in service["spec"]["ports"]:
            component = service["spec"]["selector"]["app.kubernetes.io/component"]
            assert f"tollway-{component}/{port['targetPort']}" in ports


# --- every pod -----------------------------------------------------------------------------------------------------


def test_only_what_talks_to_the_api_server_has_a_token(usual: list[Json]) -> None:
    with_token = set()
    for pod in pods(usual).values():
        assert pod["automountServiceAccountToken"] is False
        for name, container in containers(pod).items():
            if any(each["name"] == "token" for each in container.get("volumeMounts", ())):
                with_token.add(name)
    assert with_token == {"operator", "injector", "keeper"}


def test_every_container_has_a_numeric_user_a_read_only_root_and_limits(usual: list[Json]) -> None:
    for pod in pods(usual).values():
        assert pod["securityContext"]["runAsUser"] == 65532
        for container in containers(pod).values():
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]


def test_images_are_named_by_digest_by_tag_or_by_version(helm: Helm, usual: list[Json]) -> None:
    assert containers(pods(usual)["tollway-operator"])["operator"]["image"] == "tollway/operator:0.1.0"
    of_mirror = helm.documents(
        "images.registry=mirror.example.com/x/", "images.tag=main", f"images.envoy.digest={DIGEST}"
    )
    gateway = containers(pods(of_mirror)[names.GATEWAY])
    assert gateway["extauthz"]["image"] == "mirror.example.com/x/tollway/extauthz:main"
    assert gateway["envoy"]["image"] == f"mirror.example.com/x/tollway/envoy@{DIGEST}"
    injector = containers(pods(of_mirror)["tollway-injector"])["injector"]
    assert {"name": "TOLLWAY_SIDECAR_IMAGE", "value": gateway["envoy"]["image"]} in injector["env"]


def test_pods_are_placed_and_labelled_as_is_asked(helm: Helm) -> None:
    asked = (
        "commonLabels.cost=ai",
        "images.pullSecrets={mirror}",
        *(f"{part}.priorityClassName=system-cluster-critical" for part in ("operator", "injector", "gateway")),
        *(f"{part}.nodeSelector.pool=system" for part in ("operator", "injector", "gateway")),
        *(f"{part}.tolerations[0].key=system" for part in ("operator", "injector", "gateway")),
        *(f"{part}.podLabels.mine=here" for part in ("operator", "injector", "gateway")),
    )
    documents = helm.documents(*asked)
    for name in ("tollway-operator", "tollway-injector", names.GATEWAY):
        [made] = [each for each in of_kind(documents, "Deployment", "StatefulSet") if each["metadata"]["name"] == name]
        pod = made["spec"]["template"]
        assert pod["metadata"]["labels"].items() >= {"cost": "ai", "mine": "here"}.items()
        assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
        assert pod["spec"]["nodeSelector"] == {"pool": "system"}
        assert pod["spec"]["tolerations"] == [{"key": "system"}]
        assert pod["spec"]["imagePullSecrets"] == [{"name": "mirror"}]
        assert "cost" not in made["spec"]["selector"]["matchLabels"], "selectors cannot be changed"


# --- the webhook ---------------------------------------------------------------------------------------------------


def test_the_webhook_fails_closed_for_enforced_namespaces_and_never_for_its_own(usual: list[Json]) -> None:
    [webhook] = named(usual, "MutatingWebhookConfiguration", "tollway-injector")["webhooks"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["sideEffects"] == "None"
    assert webhook["clientConfig"]["service"]["path"] == PATH
    assert 5 <= webhook["timeoutSeconds"] <= 10
    assert webhook["namespaceSelector"] == {
        "matchLabels": {"tollway.dev/enforce": "enabled"},
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", ROOT_NAMESPACE]}
        ],
    }
    assert "caBundle" not in webhook["clientConfig"], "the operator's field: an upgrade would take it back"


def test_networks_that_stay_open_are_told_to_the_operator_and_to_the_policy(helm: Helm) -> None:
    documents = helm.documents("egress.extras={10.0.0.0/8,fd00::/8}")
    elsewhere = {"KUBECONFIG": "this is no pod"}
    operator = operator_options(elsewhere | told(documents, "tollway-operator", "operator")).installation
    assert list(operator.egress_extras) == ["10.0.0.0/8", "fd00::/8"]
    assert named(documents, *EXTRAS)["data"] == {"extras": "10.0.0.0/8 fd00::/8"}
    assert named(helm.documents(), *EXTRAS)["data"] == {"extras": ""}


# --- who reaches whom ----------------------------------------------------------------------------------------------


def reaching(documents: list[Json], component: str) -> dict[str, Json]:
    """By port: from where it may be reached; None where that is anywhere."""
    rules = named(documents, "NetworkPolicy", f"tollway-{component}")["spec"]["ingress"]
    return {rule["ports"][0]["port"]: rule.get("from") for rule in rules}


def labelled(component: str) -> Json:
    labels = {"app.kubernetes.io/name": "tollway", "app.kubernetes.io/component": component}
    return {"podSelector": {"matchLabels": labels}}


def test_the_gateway_is_called_from_everywhere_and_asked_for_usage_by_the_operator_alone(usual: list[Json]) -> None:
    assert reaching(usual, "gateway") == {
        "mtls": [{"namespaceSelector": {}}],
        "usage": [labelled("operator")],
        "health": [{"namespaceSelector": {}}],
    }
    assert reaching(usual, "injector")["webhook"] is None, "the API server's address is not known"


def test_who_scrapes_may_be_named_and_the_test_still_gets_through(helm: Helm) -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    documents = helm.documents("networkPolicies.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring")
    for component in ("gateway", "injector", "operator"):
        assert reaching(documents, component)["health"] == [monitoring, labelled("test")]


def test_from_where_the_api_server_calls_may_be_told_and_nobody_else_then_reaches_the_injector(helm: Helm) -> None:
    documents = helm.documents("networkPolicies.webhookFrom[0].ipBlock.cidr=192.0.2.0/28")
    assert reaching(documents, "injector")["webhook"] == [{"ipBlock": {"cidr": "192.0.2.0/28"}}]


# --- switches, and one source for everything -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "kinds"),
    [
        ("crds.install=false", {"CustomResourceDefinition"}),
        ("webhook.enabled=false", {"MutatingWebhookConfiguration"}),
        ("networkPolicies.enabled=false", {"NetworkPolicy"}),
        ("admissionPolicies.enabled=false", {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}),
    ],
)
def test_a_switch_takes_out_what_it_names_and_nothing_else(
    helm: Helm, usual: list[Json], switch: str, kinds: set[str]
) -> None:
    left = {(each["kind"], each["metadata"]["name"]) for each in helm.documents(switch)}
    everything = {(each["kind"], each["metadata"]["name"]) for each in usual}
    out = {each for each in everything if each[0] in kinds or ("admissionPolicies" in switch and each == EXTRAS)}
    assert left == everything - out
    assert {each[0] for each in out} >= kinds


def test_prometheus_finds_the_services_that_it_is_told_of(helm: Helm) -> None:
    documents = helm.documents("serviceMonitor.enabled=true", "serviceMonitor.labels.release=prometheus")
    monitor = named(documents, "ServiceMonitor", "tollway")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    wanted = monitor["spec"]["selector"]["matchExpressions"][0]["values"]
    scraped = {
        each["metadata"]["name"]
        for each in of_kind(documents, "Service")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] in wanted
        and any(port["name"] == "metrics" for port in each["spec"]["ports"])
    }
    assert scraped == {"tollway-operator", "tollway-gateway-replicas"}


def test_the_crds_are_those_of_the_repository_and_are_kept(usual: list[Json]) -> None:
    ours = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    crds = of_kind(usual, "CustomResourceDefinition")
    assert crds == ours
    assert {each["metadata"]["annotations"]["helm.sh/resource-policy"] for each in crds} == {"keep"}


def test_a_package_has_everything_that_the_folder_has(helm: Helm, tmp_path: Path) -> None:
    """The CRDs are a link in the folder; helm packs what is behind it."""
    helm.said("package", str(CHART), "--destination", str(tmp_path))
    [package] = tmp_path.glob("*.tgz")
    digests = {hashlib.sha256(helm.text(chart=chart).encode()).hexdigest() for chart in (CHART, package)}
    assert len(digests) == 1


def test_a_copy_that_lost_its_crds_says_so(helm: Helm, tmp_path: Path) -> None:
    copy = tmp_path / "tollway"
    shutil.copytree(CHART, copy, symlinks=True)
    (copy / "files" / "crds").unlink()
    done = helm.run("template", "tollway", str(copy))
    assert "has lost its CRDs" in done.stderr


def test_another_root_namespace_is_named_everywhere(helm: Helm) -> None:
    documents = helm.documents("secretNamespaces={team-b}", namespace="platform")
    assert ROOT_NAMESPACE not in json.dumps([each for each in documents if each["kind"] != "CustomResourceDefinition"])
    namespaces = {each["metadata"].get("namespace", "") for each in documents}
    assert namespaces == {"", "platform", "team-b"}

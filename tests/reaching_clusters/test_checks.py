"""Everything that can be wrong in a cluster, each found by its check, with what mends it. Tests run the whole list."""

from dataclasses import replace

import pytest
import yaml

from clusters import ROOT
from reaching_clusters.builders import (
    BLIND,
    DAY,
    HEALTHY,
    HOUR,
    MINUTE,
    NOW,
    agents,
    ill,
    part,
    pod,
    providers,
    quotas,
    standing,
    svid,
    without,
)
from tollway.identity.root_standing import RootStanding
from tollway_cli.doctor.findings import Result, is_well
from tollway_cli.doctor.in_cluster.checks import CHECKS, diagnose
from tollway_cli.doctor.in_cluster.parts import FIELDS
from tollway_cli.doctor.in_cluster.snapshot import (
    AuthorityFacts,
    Denied,
    KindFacts,
    LeaseFacts,
    NamespaceFacts,
    Snapshot,
    Trouble,
    WebhookFacts,
)
from tollway_cli.doctor.snapshot import RefusalFacts
from tollway_cli.place import InCluster

ID = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
AUTHORITY = "certificate authority"
QUOTA = "aiquotas.tollway.dev"
HELM = "helm upgrade tollway charts/tollway -n tollway-system --reset-then-reuse-values"
OPERATORS_LOG = "kubectl -n tollway-system logs deployment/tollway-operator"
OLD_KINDS = {**(HEALTHY.kinds or {}), QUOTA: KindFacts(True, FIELDS[QUOTA] - {"bound"})}
FEW_KINDS = {name: kind for name, kind in (HEALTHY.kinds or {}).items() if name != QUOTA}
PENDING_KIND = {**(HEALTHY.kinds or {}), QUOTA: KindFacts(False, FIELDS[QUOTA])}


def trouble(reason: str, message: str = "", container: str = "envoy", last_line: str = "") -> Snapshot:
    return part("tollway-gateway", ready=0, troubles=(Trouble("gateway-0", container, reason, message, last_line),))


def authority(root: int, signing: int) -> Snapshot:
    return ill(authority=AuthorityFacts((root,), (signing,)))


WRONG: dict[str, tuple[Snapshot, str, str, str]] = {
    "a kind is missing": (ill(kinds=FEW_KINDS), "kinds", "it is not there", f"{HELM} --set crds.install=true"),
    "a kind of an older version": (ill(kinds=OLD_KINDS), "kinds", "does not know bound", f"{HELM} --set crds"),
    "a kind that is not established": (ill(kinds=PENDING_KIND), "kinds", "not established", "kubectl describe crd"),
    "no operator": (without("tollway-operator"), "operator", "certificates are not renewed", HELM),
    "no injector": (without("tollway-injector"), "injector", "no pod of an enforced namespace can start", HELM),
    "no gateway": (without("tollway-gateway"), "gateway", "no call is admitted", HELM),
    "an injector scaled away": (
        part("tollway-injector", wanted=0, ready=0),
        "injector",
        "scaled to 0",
        "kubectl -n tollway-system scale deployment/tollway-injector --replicas=1",
    ),
    "a gateway that is not ready": (
        part("tollway-gateway", ready=0),
        "gateway",
        "no pod of it is ready",
        "kubectl -n tollway-system describe statefulset/tollway-gateway",
    ),
    "an image that cannot be pulled": (
        trouble("ImagePullBackOff", "Back-off pulling image x"),
        "gateway",
        "ImagePullBackOff: Back-off pulling image x",
        f"{HELM} --set images.registry=REGISTRY,images.tag=TAG",
    ),
    "a crash loop": (
        trouble("CrashLoopBackOff", "it ended with Error, exit code 1", last_line="no such table"),
        "gateway",
        "exit code 1; its log ended with: no such table",
        "kubectl -n tollway-system logs gateway-0 -c envoy --previous",
    ),
    "a volume that nobody gives": (
        trouble("Unschedulable", "pod has unbound immediate PersistentVolumeClaims", container=""),
        "gateway",
        "unbound immediate PersistentVolumeClaims",
        "kubectl -n tollway-system get persistentvolumeclaims",
    ),
    "nobody holds the Lease": (
        ill(lease=LeaseFacts("", 0, 0)),
        "Lease of the operator",
        "no operator holds it",
        OPERATORS_LOG,
    ),
    "a Lease that is not renewed": (
        ill(lease=LeaseFacts("operator-1", NOW - 5 * MINUTE, 15_000)),
        "Lease of the operator",
        "operator-1 holds it and renewed it last",
        "kubectl -n tollway-system rollout restart deployment/tollway-operator",
    ),
    "no webhook": (ill(webhooks=()), "webhook", "get no sidecar", f"{HELM} --set webhook.enabled=true"),
    "a webhook that trusts nobody": (
        ill(webhooks=(WebhookFacts((), 2),)),
        "webhook",
        "trusts no certificate (caBundle)",
        "rollout restart deployment/tollway-operator",
    ),
    "a webhook that trusts what ended": (
        ill(webhooks=(WebhookFacts((NOW - DAY, NOW - HOUR), 2),)),
        "webhook",
        "the certificate that it trusts ended",
        "rollout restart deployment/tollway-operator",
    ),
    "a webhook without a pod": (
        ill(webhooks=(WebhookFacts((NOW + DAY,), 0),)),
        "webhook",
        "no ready pod is behind it",
        "rollout status deployment/tollway-injector",
    ),
    "a gateway that cannot be asked": (
        ill(standing=None, gateway_silent="connection refused"),
        "gateway answers",
        "nothing can be asked of it: connection refused",
        "kubectl -n tollway-system get pods",
    ),
    "a gateway without rules": (
        standing(generation=None),
        "gateway answers",
        "no rules are in force",
        "-c keeper",
    ),
    "a root that ended": (authority(NOW - HOUR, NOW + HOUR), AUTHORITY, "it ended", OPERATORS_LOG),
    "no root": (ill(authority=AuthorityFacts((), (NOW + HOUR,))), AUTHORITY, "no root or no signing CA", OPERATORS_LOG),
    "a signing CA that was not replaced": (
        authority(NOW + 300 * DAY, NOW + MINUTE),
        AUTHORITY,
        "was not replaced: nothing can be issued",
        OPERATORS_LOG,
    ),
    "a change of the root that waits too long": (
        ill(root_change=RootStanding("Active", waiting_for=("team-a/web-1",), late=True)),
        "change of the root",
        "it is Active and waits for team-a/web-1",
        "tollway root status --cluster",
    ),
    "a provider without its key": (
        ill(
            providers=providers(("CredentialReady", "False", "CredentialMissing"), ("Programmed", "False", "NotServed"))
        ),
        "providers",
        "CredentialReady is False (CredentialMissing): about CredentialMissing",
        "kubectl -n tollway-system create secret generic openai-key --from-file=api-key=FILE",
    ),
    "a provider that is not programmed": (
        ill(providers=providers(("Programmed", "False", "Pending"))),
        "providers",
        "Programmed is False (Pending)",
        OPERATORS_LOG,
    ),
    "a provider of which no gateway speaks": (
        ill(providers=providers(("Programmed", "Unknown", "GatewaySilent"))),
        "providers",
        "Programmed is Unknown (GatewaySilent)",
        OPERATORS_LOG,
    ),
    "a provider whose endpoint says v1 twice": (
        ill(providers=providers(endpoint="https://api.example.com/v1")),
        "providers",
        "spec.endpoint ends in /v1",
        "kubectl edit aip openai",
    ),
    "an identity outside an enforced namespace": (
        ill(agents=agents(("Issued", "False", "NamespaceNotEnforced"), ("Ready", "False", "NamespaceNotEnforced"))),
        "identities",
        "Issued is False (NamespaceNotEnforced)",
        "kubectl label namespace team-a tollway.dev/enforce=enabled",
    ),
    "an identity whose namespace is not listed": (
        ill(agents=agents(("Issued", "False", "NamespaceNotListed"))),
        "identities",
        "NamespaceNotListed",
        f"{HELM} --set 'secretNamespaces={{team-a,…}}'",
    ),
    "an identity that is not sound": (
        ill(agents=agents(("Accepted", "False", "Invalid"))),
        "identities",
        "Accepted is False (Invalid)",
        "kubectl -n team-a edit aid researcher",
    ),
    "an identity whose renewal is overdue": (
        ill(agents=agents(("Issued", "True", "RenewalOverdue"))),
        "identities",
        "RenewalOverdue",
        OPERATORS_LOG,
    ),
    "an identity that the operator did not look at": (
        ill(agents=agents(seen=0)),
        "identities",
        "the operator has not looked at it",
        OPERATORS_LOG,
    ),
    "a certificate that ended": (
        ill(agents=svid(NOW - MINUTE, NOW - 40 * MINUTE)),
        "certificates",
        "calls are refused (identity.expired)",
        "kubectl -n team-a rollout restart deployment",
    ),
    "a quota that is not enforced": (
        ill(quotas=quotas(("Enforced", "False", "Pending"))),
        "quotas",
        "Enforced is False (Pending)",
        OPERATORS_LOG,
    ),
    "a quota of a provider that is not there": (
        ill(quotas=quotas(models=[{"provider": "mistral"}])),
        "quotas",
        "names the AIProvider mistral, which does not exist",
        "kubectl -n team-a edit aiq research",
    ),
    "an agent that nothing covers": (
        ill(quotas=quotas(limit={"name": "rpm", "requests": 60, "window": "1m"})),
        "agents covered",
        "its calls are refused (quota.none)",
        "declare an AIQuota",
    ),
    "pods from before the namespace was enforced": (
        ill(
            pods=(pod(), pod("old-1", "deployment/old", injected=False), pod("old-2", "deployment/old", injected=False))
        ),
        "pods without a sidecar",
        "it has no sidecar",
        "kubectl -n team-a rollout restart deployment/old",
    ),
    "a pod of nobody's": (
        ill(pods=(pod("debug", "", injected=False),)),
        "pods without a sidecar",
        "it has no sidecar",
        "kubectl -n team-a delete pod debug, and create it again",
    ),
    "strict egress without its policy": (
        ill(closed=frozenset()),
        "egress",
        "the NetworkPolicy tollway-egress that makes it so is not there",
        OPERATORS_LOG,
    ),
    "a refusal that is ours to mend": (
        standing(refusals=(RefusalFacts(ID, "tollway.internal", 3),)),
        "refusals",
        "refused 3 times within ten minutes: tollway.internal",
        "tollway ledger --cluster",
    ),
    "a hold past its deadline": (
        standing(first_deadline=NOW - MINUTE),
        "holds",
        "open past its deadline",
        "kubectl -n tollway-system logs -l app.kubernetes.io/component=gateway -c extauthz",
    ),
    "an access log that is not taken": (
        standing(log_behind=1000),
        "access log",
        "1,000 bytes of the gateway's access log are not taken yet",
        "-c extauthz",
    ),
}

HINTS: dict[str, tuple[Snapshot, str, str, str]] = {
    "something that may not be seen": (
        ill(denied=(Denied("list pods in namespace team-b"),)),
        "your rights",
        "you may not list pods in namespace team-b",
        "--role=tollway-viewer",
    ),
    "an injector of which one is away": (
        part("tollway-injector", ready=1),
        "injector",
        "1 of 2 pods are ready",
        "rollout status deployment/tollway-injector",
    ),
    "an upgrade that goes on": (
        part("tollway-gateway", updated=False),
        "gateway",
        "not all of its newest revision",
        "rollout status statefulset/tollway-gateway",
    ),
    "another version in the cluster": (
        part("tollway-operator", version="2.0"),
        "versions",
        "in the cluster are tollway-operator 2.0",
        "install the same",
    ),
    "a root that ends soon": (authority(NOW + DAY, NOW + HOUR), AUTHORITY, "it ends", "tollway root prepare --cluster"),
    "a change of the root that waits": (
        ill(root_change=RootStanding("Prepared", waiting_for=tuple(f"team-a/web-{n}" for n in range(9)))),
        "change of the root",
        "team-a/web-4, …",
        "tollway root status",
    ),
    "a provider that is open to all": (
        ill(providers=providers(namespaces=None)),
        "providers open to all",
        "agents of every enforced namespace may use",
        "kubectl edit aip openai",
    ),
    "a suspended identity": (
        ill(agents=agents(("Issued", "False", "Suspended"), ("Ready", "False", "Suspended"))),
        "identities",
        "Issued is False (Suspended)",
        """kubectl -n team-a patch aid researcher --type=merge -p '{"spec":{"suspended":false}}'""",
    ),
    "identities that overlap": (
        ill(agents=agents(("Accepted", "True", "Overlaps"))),
        "identities",
        "Accepted is True (Overlaps)",
        "kubectl -n team-a edit aid researcher",
    ),
    "pods that did not ask for a certificate yet": (
        ill(agents=agents(("Issued", "False", "NotAsked"))),
        "identities",
        "NotAsked",
        "kubectl -n team-a rollout restart deployment",
    ),
    "a certificate that was not renewed yet": (
        ill(agents=svid(NOW + 20 * MINUTE, NOW - 10 * MINUTE)),
        "certificates",
        "was not renewed yet",
        OPERATORS_LOG,
    ),
    "a quota in Shadow mode": (
        ill(quotas=(*HEALTHY.quotas, *quotas(("Enforced", "False", "Shadow"), mode="Shadow"))),
        "quotas",
        "Enforced is False (Shadow)",
        "kubectl -n team-a edit aiq research",
    ),
    "a limit that is spent": (
        ill(quotas=quotas(("Exceeded", "True", "Spent"))),
        "limits",
        "about Spent",
        "tollway limits --cluster",
    ),
    "nobody is governed": (
        ill(namespaces=(), agents=(), pods=()),
        "namespaces",
        "none is enforced",
        "kubectl label namespace NAME tollway.dev/enforce=enabled",
    ),
    "a namespace without agents": (
        ill(agents=()),
        "namespaces",
        "known by their service accounts only",
        "kubectl explain aid.spec",
    ),
    "an agent that nothing covers, where that is allowed": (
        replace(ill(quotas=()), standing=standing(uncovered="allow").standing),
        "agents covered",
        "unless the installation allows uncovered calls",
        "declare an AIQuota",
    ),
    "a pod that asked for no sidecar": (
        ill(pods=(pod(injected=False, opted_out=True),)),
        "pods without a sidecar",
        "it asked for no sidecar",
        "kubectl label namespace team-a tollway.dev/allow-uninjected-",
    ),
    "open egress": (
        ill(namespaces=(NamespaceFacts("team-a", {"tollway.dev/enforce": "enabled"}),)),
        "egress",
        "its egress is open",
        "kubectl label namespace team-a tollway.dev/egress=strict",
    ),
    "a crowded node": (
        ill(pods=tuple(pod(f"web-{n}") for n in range(21))),
        "nodes",
        "21 injected pods run there",
        "sysctl -w fs.inotify.max_user_instances",
    ),
    "clocks that are apart": (standing(now=NOW + 60_000), "clock", "its clock is 60 s ahead", "set the clock"),
}


def test_nothing_is_found_in_a_healthy_installation() -> None:
    assert [each for each in diagnose(HEALTHY) if each.result is not Result.FINE] == []


@pytest.mark.parametrize(("snapshot", "check", "message", "mend"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found_with_what_mends_it(snapshot: Snapshot, check: str, message: str, mend: str) -> None:
    found = {each.name: each for each in diagnose(snapshot)}
    assert found[check].result is Result.WRONG
    assert any(message in finding.message and mend in finding.mend for finding in found[check].findings), found[check]
    assert not is_well(tuple(found.values()))


@pytest.mark.parametrize(("snapshot", "check", "message", "mend"), HINTS.values(), ids=HINTS)
def test_what_may_be_meant_is_a_hint_and_the_answer_is_not_no(
    snapshot: Snapshot, check: str, message: str, mend: str
) -> None:
    found = {each.name: each for each in diagnose(snapshot)}
    assert found[check].result is Result.HINT
    assert any(message in finding.message and mend in finding.mend for finding in found[check].findings), found[check]
    assert is_well(tuple(found.values()))


def test_every_check_finds_something_here() -> None:
    assert {case[1] for case in (*WRONG.values(), *HINTS.values())} == {name for name, _ in CHECKS}


def test_what_cannot_be_seen_is_neither_fine_nor_wrong() -> None:
    said = {each.name: each.result for each in diagnose(BLIND)}
    assert said.pop("your rights") is Result.FINE
    assert said.pop("gateway answers") is Result.WRONG
    assert set(said.values()) == {Result.UNKNOWN}


def test_one_trouble_in_several_conditions_is_told_once() -> None:
    blocked = agents(
        ("Accepted", "True", "Accepted"), ("Issued", "False", "IssueFailed"), ("Ready", "False", "IssueFailed")
    )
    (found,) = [each for each in diagnose(ill(agents=blocked)) if each.name == "identities"]
    assert [each.message.partition(":")[0] for each in found.findings] == ["Issued is False (IssueFailed)"]


def test_pods_of_one_owner_are_one_finding() -> None:
    bare = tuple(pod(f"old-{n}", "statefulset/old", injected=False) for n in range(3))
    (found,) = [each for each in diagnose(ill(pods=bare)) if each.name == "pods without a sidecar"]
    assert [each.object for each in found.findings] == ["statefulset/old (3 pods) in namespace team-a"]


def test_commands_are_for_the_context_and_namespace_that_were_looked_at() -> None:
    elsewhere = replace(part("tollway-gateway", ready=0), where=InCluster("config", "prod", "ai"))
    mends = [finding.mend for each in diagnose(elsewhere) for finding in each.findings]
    assert mends == ["kubectl --context prod -n ai describe statefulset/tollway-gateway"]
    few = replace(ill(kinds=FEW_KINDS), where=InCluster("config", "prod", "ai"))
    mends = [finding.mend for each in diagnose(few) for finding in each.findings]
    upgrade = "helm --kube-context prod upgrade tollway charts/tollway -n ai --reset-then-reuse-values"
    assert mends == [f"{upgrade} --set crds.install=true"]


def test_this_version_knows_the_fields_that_its_kinds_have() -> None:
    for file in (ROOT / "crds").glob("*.yaml"):
        crd = yaml.safe_load(file.read_text())
        (served,) = crd["spec"]["versions"]
        spec = served["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        assert FIELDS[crd["metadata"]["name"]] == frozenset(spec)

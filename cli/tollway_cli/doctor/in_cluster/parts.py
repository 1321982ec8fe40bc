"""Checks of what an installation is made of: its kinds, its three parts, the webhook, certificates, versions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tollway.identity.rotation import LEAST_LEAF_MS
from tollway_cli.cluster.connection import rights as asking_for_rights
from tollway_cli.doctor.findings import Finding, hint, wrong
from tollway_cli.doctor.in_cluster.snapshot import AuthorityFacts, KindFacts, PartFacts, Snapshot, Trouble
from tollway_cli.views.wording import local_time
from tollway_operator.names import GATEWAY, INJECTOR
from tollway_operator.names import LEASE as OPERATOR

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "agentidentities.tollway.dev": frozenset(
        {"selector", "serviceAccountName", "svid", "capture", "suspended"},
    ),
    "aiproviders.tollway.dev": frozenset(
        {
            "type",
            "endpoint",
            "allowPlaintext",
            "default",
            "namespaces",
            "region",
            "credential",
            "models",
            "prices",
        }
    ),
    "aiquotas.tollway.dev": frozenset(
        {
            "agents",
            "namespaces",
            "models",
            "per",
            "limits",
            "mode",
            "onShortfall",
            "bound",
            "defaultMaxOutputTokens",
            "onLedgerUnavailable",
        }
    ),
}
"""What this version knows of each kind's spec; the API server drops what its CRD does not."""
LEASE_GRACE_MS: Final = 60_000
"""Beyond its duration: this machine's clock is not the operator's."""
ROOT_ENDS_MS: Final = 14 * 86_400_000
"""A root that Tollway made is changed by itself before that."""
_LONGEST: Final = 300


def rights(s: Snapshot) -> Sequence[Finding]:
    return [hint("you", f"you may not {each.right}", asking_for_rights(s.where)) for each in s.denied]


def kinds(s: Snapshot) -> Sequence[Finding] | None:
    if s.kinds is None:
        return None
    return list(_kinds(s, s.kinds))


def _kinds(s: Snapshot, found: Mapping[str, KindFacts]) -> Iterator[Finding]:
    install = s.helm("crds.install=true")
    for name, fields in FIELDS.items():
        kind = found.get(name)
        if kind is None:
            yield wrong(f"CRD {name}", "it is not there: nothing can be declared", install)
        elif not kind.established:
            yield wrong(f"CRD {name}", "it is not established", s.kubectl(f"describe crd {name}"))
        elif missing := sorted(fields - kind.fields):
            said = f"it is of another version, and does not know {', '.join(missing)}"
            yield wrong(f"CRD {name}", said, install)


# --- operator, injector, gateway -----------------------------------------------------------------------------------


def operator(s: Snapshot) -> Sequence[Finding] | None:
    return _part(s, OPERATOR, "what changes is not followed, and certificates are not renewed")


def injector(s: Snapshot) -> Sequence[Finding] | None:
    return _part(s, INJECTOR, "no pod of an enforced namespace can start")


def gateway(s: Snapshot) -> Sequence[Finding] | None:
    return _part(s, GATEWAY, "no call is admitted")


def _part(s: Snapshot, name: str, consequence: str) -> Sequence[Finding] | None:
    if s.parts is None:
        return None
    part = s.parts.get(name)
    if part is None:
        return [wrong(name, f"it is not there: {consequence}", s.helm())]
    return list(_unready(s, name, part, consequence))


def _unready(s: Snapshot, name: str, part: PartFacts, consequence: str) -> Iterator[Finding]:
    subject, reference = f"{part.kind} {name}", f"{part.kind.lower()}/{name}"
    yield from (_trouble(s, each) for each in part.troubles)
    if part.wanted == 0:
        yield wrong(subject, f"it is scaled to 0: {consequence}", s.ours(f"scale {reference} --replicas=1"))
    elif part.ready == 0:
        yield wrong(subject, f"no pod of it is ready: {consequence}", s.ours(f"describe {reference}"))
    elif part.ready < part.wanted:
        said = f"{part.ready} of {part.wanted} pods are ready"
        yield hint(subject, said, s.ours(f"rollout status {reference}"))
    elif not part.updated:
        yield hint(subject, "its pods are not all of its newest revision", s.ours(f"rollout status {reference}"))


_MENDS: Final = {
    "ImagePullBackOff": "give it an image that can be pulled: {images}",
    "ErrImagePull": "give it an image that can be pulled: {images}",
    "InvalidImageName": "give it an image that can be pulled: {images}",
    "ErrImageNeverPull": "load the image onto the node, or: {images}",
    "CrashLoopBackOff": "{logs} --previous",
    "Unschedulable": "{describe}; and volumes: {volumes}",
    "CreateContainerConfigError": "{describe}",
}


def _trouble(s: Snapshot, trouble: Trouble) -> Finding:
    where = f"pod {trouble.pod}" + (f", container {trouble.container}" if trouble.container else "")
    last = f"; its log ended with: {trouble.last_line}" if trouble.last_line else ""
    said = f"{trouble.reason}: {trouble.message[:_LONGEST]}{last}" if trouble.message else f"{trouble.reason}{last}"
    mend = _MENDS.get(trouble.reason, "{describe}").format(
        images=s.helm("images.registry=REGISTRY,images.tag=TAG"),
        logs=s.ours(f"logs {trouble.pod} -c {trouble.container}"),
        describe=s.ours(f"describe pod {trouble.pod}"),
        volumes=s.ours("get persistentvolumeclaims"),
    )
    return wrong(where, said, mend)


def lease(s: Snapshot) -> Sequence[Finding] | None:
    if s.lease is None:
        return None
    restart = s.ours(f"rollout restart deployment/{OPERATOR}")
    if not s.lease.holder:
        return [
            wrong(
                f"Lease {OPERATOR}", "no operator holds it: nothing is written", s.ours(f"logs deployment/{OPERATOR}")
            )
        ]
    if s.now - s.lease.renewed_at > s.lease.duration_ms + LEASE_GRACE_MS:
        said = f"{s.lease.holder} holds it and renewed it last {local_time(s.lease.renewed_at)}: nothing is written"
        return [wrong(f"Lease {OPERATOR}", said, restart)]
    return []


def versions(s: Snapshot) -> Sequence[Finding] | None:
    if s.parts is None:
        return None
    found = {name: part.version for name, part in s.parts.items() if part.version}
    others = ", ".join(f"{name} {version}" for name, version in found.items() if version != s.version)
    if not others:
        return []
    return [hint("this command", f"it is of version {s.version}, and in the cluster are {others}", "install the same")]


# --- the webhook, and what is trusted ------------------------------------------------------------------------------


def webhook(s: Snapshot) -> Sequence[Finding] | None:
    if s.webhooks is None:
        return None
    if not s.webhooks:
        said = "it is not there: pods of enforced namespaces get no sidecar, and are refused or call by nobody's leave"
        return [wrong(f"MutatingWebhookConfiguration {INJECTOR}", said, s.helm("webhook.enabled=true"))]
    return list(_webhook(s))


def _webhook(s: Snapshot) -> Iterator[Finding]:
    restart = s.ours(f"rollout restart deployment/{OPERATOR}")
    subject = f"MutatingWebhookConfiguration {INJECTOR}"
    for each in s.webhooks or ():
        ends = max(each.trusted_until, default=None)
        if ends is None:
            said = "it trusts no certificate (caBundle), which the operator writes: no pod can start"
            yield wrong(subject, said, restart)
        elif ends <= s.now:
            said = f"the certificate that it trusts ended {local_time(ends)}: no pod can start"
            yield wrong(subject, said, restart)
        if each.endpoints == 0:
            said = "no ready pod is behind it, and the webhook calls it: no pod of an enforced namespace can start"
            yield wrong(f"Service {INJECTOR}", said, s.ours(f"rollout status deployment/{INJECTOR}"))


def authority(s: Snapshot) -> Sequence[Finding] | None:
    return None if s.authority is None else list(_authority(s, s.authority))


def _authority(s: Snapshot, found: AuthorityFacts) -> Iterator[Finding]:
    look = s.ours(f"logs deployment/{OPERATOR}")
    root, signing = max(found.roots_until, default=None), max(found.signing_until, default=None)
    if root is None or signing is None:
        yield wrong(f"ConfigMap {GATEWAY}", "no root or no signing CA is in it: nobody can be trusted", look)
        return
    if root <= s.now:
        yield wrong("root", f"it ended {local_time(root)}: nobody is trusted any more", look)
    elif root - s.now < ROOT_ENDS_MS:
        yield hint("root", f"it ends {local_time(root)}", s.tollway("root prepare"))
    if signing - s.now < LEAST_LEAF_MS:
        yield wrong("signing CA", f"it ends {local_time(signing)} and was not replaced: nothing can be issued", look)

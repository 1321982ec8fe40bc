"""What is put into a pod: the sidecar's container and its three volumes, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tollway.identity.rotation import BACKDATE_MS
from tollway.resources.models import Delivery
from tollway_operator.authority.svid_files import CERTIFICATE_FILE, KEY_FILE
from tollway_operator.injecting.rules import Holder
from tollway_operator.injecting.settings import InjectionSettings
from tollway_operator.names import (
    BOOTSTRAP_FILE,
    BUNDLE_FILE,
    CLUSTER_TRUST_BUNDLE,
    CONFIG_DIR,
    CONFIG_VOLUME,
    HEALTH_PATH,
    HEALTH_PORT,
    IDENTITY_DIR,
    IDENTITY_VOLUME,
    ROOTS_FILE,
    RUN_DIR,
    RUN_VOLUME,
    SIDECAR,
    SIDECAR_CONTAINER,
    svid_secret,
)
from tollway_operator.signing.request import SIGNER

Json = Mapping[str, Any]

READABLE: Final = 0o444
"""The kubelet's files belong to root; only the sidecar mounts them."""
_TOKEN_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a place


def container(settings: InjectionSettings) -> Json:
    """A native sidecar: it is ready before whatever comes after it starts, and ends with the pod.

    The API server's defaults are written out, so that one that is there already can be told to be ours.
    """
    probe = {
        "httpGet": {"path": HEALTH_PATH, "port": HEALTH_PORT, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "successThreshold": 1,
    }
    return {
        "name": SIDECAR_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["envoy"],
        "args": _arguments(),
        "ports": [{"name": "tollway-health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        "resources": settings.resources,
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "securityContext": _restricted(settings.user),
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": CONFIG_DIR, "readOnly": True},
            {"name": IDENTITY_VOLUME, "mountPath": IDENTITY_DIR, "readOnly": True},
            {"name": RUN_VOLUME, "mountPath": RUN_DIR},
            # Where there is a mount already, the API server adds none with the token of the pod's service account.
            {"name": RUN_VOLUME, "mountPath": _TOKEN_DIR, "subPath": "no-token", "readOnly": True},
        ],
    }


def volumes(holder: Holder) -> Sequence[Json]:
    return (
        {"name": CONFIG_VOLUME, "configMap": {"name": SIDECAR, "defaultMode": READABLE}},
        {"name": IDENTITY_VOLUME, "projected": {"defaultMode": READABLE, "sources": _identity(holder)}},
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    )


def _arguments() -> Sequence[str]:
    return [
        *("--config-path", f"{CONFIG_DIR}/{BOOTSTRAP_FILE}"),
        # One agent's calls, however many processors the node has.
        *("--concurrency", "2"),
        *("--log-level", "warning"),
        *("--component-log-level", "misc:error"),
        "--disable-hot-restart",
    ]


def _restricted(user: int) -> Json:
    """Passes the Pod Security Standard `restricted`, whatever the pod says of its other containers."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": user,
        "runAsNonRoot": True,
        "runAsUser": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _identity(holder: Holder) -> Sequence[Json]:
    """Either delivery shows the same files, so all sidecars of a namespace run by one configuration."""
    bundle = {"configMap": {"name": SIDECAR, "items": [{"key": BUNDLE_FILE, "path": BUNDLE_FILE}]}}
    if holder.suspended is not None:
        # Waiting for a certificate that is not issued would keep the pod from starting.
        return [bundle]
    if holder.agent is not None and holder.delivery is Delivery.SECRET:
        return [_secret(svid_secret(holder.agent.meta.name))]
    roots = {"clusterTrustBundle": {"name": CLUSTER_TRUST_BUNDLE, "path": ROOTS_FILE}}
    return [_pod_certificate(holder), roots, bundle]


def _secret(name: str) -> Json:
    files = (CERTIFICATE_FILE, KEY_FILE, BUNDLE_FILE, ROOTS_FILE)
    return {"secret": {"name": name, "items": [{"key": file, "path": file} for file in files]}}


def _pod_certificate(holder: Holder) -> Json:
    """Certificate and key in files of their own, as Envoy reads them; the kubelet changes both in one moment."""
    svid = holder.svid
    return {
        "podCertificate": {
            "signerName": SIGNER,
            "keyType": svid.key_type.value,
            # Of the whole validity, which begins a little before it is signed.
            "maxExpirationSeconds": (svid.ttl_ms + BACKDATE_MS) // 1_000,
            "certificateChainPath": CERTIFICATE_FILE,
            "keyPath": KEY_FILE,
        }
    }

"""What the API server sends, read into the evaluator's facts: requests, pods and AgentIdentities.

The server has validated these objects; what does not fit raises `msgspec.ValidationError`, and the object is reported
and left alone.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from tollway.resources.models import AgentIdentity
from tollway.resources.selection import Declared
from tollway_operator.signing.evaluator import Pod
from tollway_operator.signing.request import PodCertificateRequest

JSONObject = Mapping[str, Any]
"""An object as a client of the API decoded it."""


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class _RequestSpec(msgspec.Struct, rename="camel"):
    signer_name: str
    pod_name: str
    service_account_name: str
    node_name: str
    max_expiration_seconds: int
    pod_uid: str = msgspec.field(name="podUID")
    service_account_uid: str = msgspec.field(name="serviceAccountUID")
    # Older kubelets send a bare key and a proof instead, which this signer does not read.
    csr: bytes = msgspec.field(name="stubPKCS10Request", default=b"")
    unverified_user_annotations: dict[str, str] = {}


class _Request(msgspec.Struct):
    metadata: _Metadata
    spec: _RequestSpec


class _PodSpec(msgspec.Struct, rename="camel"):
    # The API server names one in every pod, but for those of which a node tells by itself: these are nobody.
    service_account_name: str = ""
    node_name: str = ""


class _PodStatus(msgspec.Struct):
    phase: str = "Pending"


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Object(msgspec.Struct):
    metadata: _Metadata


def read_request(content: JSONObject) -> PodCertificateRequest:
    """A PodCertificateRequest of certificates.k8s.io/v1."""
    read = msgspec.convert(content, _Request)
    spec = read.spec
    return PodCertificateRequest(
        namespace=read.metadata.namespace,
        name=read.metadata.name,
        signer=spec.signer_name,
        pod_name=spec.pod_name,
        pod_uid=spec.pod_uid,
        service_account=spec.service_account_name,
        service_account_uid=spec.service_account_uid,
        node=spec.node_name,
        csr=spec.csr,
        max_expiration_s=spec.max_expiration_seconds,
        annotations=spec.unverified_user_annotations,
    )


def read_pod(content: JSONObject) -> Pod:
    read = msgspec.convert(content, _Pod)
    return Pod(
        namespace=read.metadata.namespace,
        name=read.metadata.name,
        uid=read.metadata.uid,
        service_account=read.spec.service_account_name,
        labels=read.metadata.labels,
        node=read.spec.node_name,
        phase=read.status.phase,
        being_deleted=read.metadata.deletion_timestamp is not None,
    )


def declared(identity: AgentIdentity, content: JSONObject) -> Declared:
    """A parsed AgentIdentity with its age, as `content` (the object it was parsed from) tells it."""
    metadata = msgspec.convert(content, _Object).metadata
    if metadata.creation_timestamp is None:
        raise msgspec.ValidationError("an object of the API server has a creationTimestamp")
    created = int(metadata.creation_timestamp.timestamp()) * 1_000
    return Declared(identity, created, metadata.deletion_timestamp is not None)

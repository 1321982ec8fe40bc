"""The webhook's wire: `admission.k8s.io/v1` AdmissionReview in, AdmissionReview out.

What is no review is answered with an error, which the API server takes for a failure. Nothing is ever allowed because
it could not be read.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tollway_operator.injecting.outcomes import LeftAlone, Outcome, Patched, Refused

API_VERSION: Final = "admission.k8s.io/v1"
LARGEST: Final = 3 * 1024 * 1024
"""Bytes of a review: what the API server itself takes for an object."""
_FORBIDDEN: Final = 403


class BadReview(Exception):  # noqa: N818 - named for what it is
    """A body that is no review, or none that this webhook is for; the message says why."""


@dataclass(frozen=True, slots=True)
class Review:
    """A pod that is to be created. `pod` is JSON, unchecked."""

    uid: str
    namespace: str
    pod: Any


class _Kind(msgspec.Struct):
    group: str
    version: str
    kind: str


class _Request(msgspec.Struct, rename="camel"):
    uid: str
    kind: _Kind
    operation: str
    object: Any
    namespace: str
    sub_resource: str = ""


class _Review(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    request: _Request


def read_review(body: bytes) -> Review:
    """Raises `BadReview`."""
    try:
        read = msgspec.json.decode(body, type=_Review)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadReview(f"this is no AdmissionReview: {error}") from error
    if (read.api_version, read.kind) != (API_VERSION, "AdmissionReview"):
        raise BadReview(f"this is no AdmissionReview of {API_VERSION}")
    request = read.request
    if not request.uid or not request.namespace:
        raise BadReview("the review has no uid, or no namespace")
    asked = (request.kind.group, request.kind.version, request.kind.kind, request.operation, request.sub_resource)
    if asked != ("", "v1", "Pod", "CREATE", ""):
        raise BadReview("this webhook is for the creation of v1 Pods: mend its MutatingWebhookConfiguration")
    return Review(request.uid, request.namespace, request.object)


def answer(review: Review, outcome: Outcome, shown: str) -> bytes:
    """`shown` is how the pod is called in a refusal."""
    response: dict[str, Any] = {"uid": review.uid}
    match outcome:
        case Patched(patch, warnings):
            response |= {"allowed": True, "warnings": list(warnings)}
            if patch:
                encoded = base64.b64encode(msgspec.json.encode(patch)).decode()
                response |= {"patchType": "JSONPatch", "patch": encoded}
        case LeftAlone(warnings):
            response |= {"allowed": True, "warnings": list(warnings)}
        case Refused(reason, message):
            said = f"pod {review.namespace}/{shown}: {message} ({reason})"
            response |= {"allowed": False, "status": {"code": _FORBIDDEN, "reason": "Forbidden", "message": said}}
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})

"""Which way an agent's certificate takes: asked by whoever issues it, and by whoever puts a sidecar into the pod."""

from enum import StrEnum

from tollway.resources.models import Delivery


class Hindrance(StrEnum):
    """Why it cannot go that way; the names are reasons in conditions and refusals."""

    NOT_SERVED = "PodCertificatesNotServed"
    """This cluster has no PodCertificateRequests."""
    NOT_LISTED = "NamespaceNotListed"
    """The installation does not list the namespace for Secrets."""


def way_of(asked: Delivery, *, served: bool, listed: bool) -> tuple[Delivery, Hindrance | None]:
    """The delivery that is `asked`, `Auto` resolved to the first that works, and what stands in its way.

    `served`: the cluster has PodCertificateRequests; `listed`: the namespace is listed for Secrets.
    """
    if asked is Delivery.POD_CERTIFICATE or (asked is Delivery.AUTO and served):
        return Delivery.POD_CERTIFICATE, None if served else Hindrance.NOT_SERVED
    return Delivery.SECRET, None if listed else Hindrance.NOT_LISTED

"""Checks of certificates and of the way to the providers."""

from collections.abc import Sequence
from typing import Final

from tollway.identity.rotation import LEAST_LEAF_MS, renew_at
from tollway_cli.doctor.findings import Finding, hint, wrong
from tollway_cli.doctor.snapshot import CertificateFacts, EndpointFacts, Snapshot
from tollway_cli.views.wording import local_time

ROOT_ENDS_MS: Final = 30 * 86_400_000
LATEST: Final = 0.999_999
"""The latest moment at which any SVID is renewed, as a jitter."""
RENEWED_WITHIN_MS: Final = 60_000


def authority(s: Snapshot) -> Sequence[Finding] | None:
    if s.authority is None:
        return None
    return [found for each in s.authority if (found := _authority(each, s)) is not None]


def _authority(certificate: CertificateFacts, s: Snapshot) -> Finding | None:
    anew = f"move {certificate.path} away (every certificate becomes invalid), then: {s.restart}"
    ends = certificate.not_after
    if ends is None:
        return wrong(certificate.name, f"{certificate.path} cannot be read", f"restore it from a backup, or {anew}")
    if (begins := certificate.not_before) is not None and s.now < begins:
        return wrong(certificate.name, f"it is valid only from {local_time(begins)} on", "set this machine's clock")
    if certificate.name == "root":
        return _root(certificate, ends, s.now, anew)
    if s.is_running and ends - s.now < LEAST_LEAF_MS:
        return wrong(certificate.name, f"it ends {local_time(ends)} and was not replaced", s.restart)
    return None


def _root(certificate: CertificateFacts, ends: int, now: int, anew: str) -> Finding | None:
    if now > ends:
        return wrong(certificate.name, f"it ended {local_time(ends)}: nobody is trusted any more", anew)
    if ends - now < ROOT_ENDS_MS:
        return hint(certificate.name, f"it ends {local_time(ends)}", anew)
    return None


def svids(s: Snapshot) -> Sequence[Finding] | None:
    if not s.is_running or s.svids is None:
        return None
    return [found for each in s.svids if (found := _svid(each, s)) is not None]


def _svid(certificate: CertificateFacts, s: Snapshot) -> Finding | None:
    begins, ends = certificate.not_before, certificate.not_after
    if begins is None or ends is None:
        return wrong(f"the SVID of {certificate.name}", f"{certificate.path} cannot be read", s.restart)
    if s.now > ends:
        said = f"it ended {local_time(ends)}: its calls are refused (identity.expired)"
        return wrong(f"the SVID of {certificate.name}", said, s.restart)
    if s.now < begins:
        return wrong(f"the SVID of {certificate.name}", "it is not valid yet", "set this machine's clock")
    if s.now > renew_at(begins, ends, LATEST) + RENEWED_WITHIN_MS:
        said = f"it was to be renewed {local_time(renew_at(begins, ends, LATEST))} and ends {local_time(ends)}"
        return wrong(f"the SVID of {certificate.name}", said, s.restart)
    return None


_MENDS: Final = {
    "resolve": "check the name under spec.endpoint, and this machine's DNS: getent hosts {host}",
    "connect": "check spec.endpoint, and that a firewall lets this machine out: nc -vz {host} {port}",
    "tls": "check spec.endpoint; for an authority of your own start with --upstream-ca FILE",
}


def endpoints(s: Snapshot) -> Sequence[Finding] | None:
    if s.endpoints is None:
        return None
    return [_endpoint(each) for each in s.endpoints if each.failed_at]


def _endpoint(endpoint: EndpointFacts) -> Finding:
    host, _, port = endpoint.address.rpartition(":")
    stages = {
        "resolve": "the name of its endpoint has no address",
        "connect": "its endpoint does not answer",
        "tls": "TLS to its endpoint fails",
    }
    said = f"{stages[endpoint.failed_at]} ({endpoint.address}: {endpoint.error}), so its calls fail"
    mend = _MENDS[endpoint.failed_at].format(host=host.strip("[]"), port=port)
    return wrong(f"AIProvider {endpoint.provider}", said, mend)

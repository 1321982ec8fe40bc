"""TLS on both legs of the road: SVIDs between Envoys, public certificates towards providers.

Envoy's SPIFFE validator is not the last word on an SVID (extauthz checks it again); it is what ends a handshake.
"""

import ipaddress

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls
from envoy_data_plane.envoy.type.matcher import v3 as matcher

from tollway_operator.envoy.messages import extension, file_of, file_source, packed, watched

CURVES = ("X25519MLKEM768", "X25519", "P-256")
"""Post-quantum first. P-256 stays for peers without X25519."""

IDENTITY_FILE = "identity.json"
IDENTITY = "identity"
TRIAL_FILE = "trial.json"
TRIAL = "trial"
TRIAL_NAME = "trial.tollway"
"""The server name by which a peer asks the gateway for its trial certificate instead of its SVID."""

_TLS12 = tls.TlsParametersTlsProtocol.TLSv1_2
_TLS13 = tls.TlsParametersTlsProtocol.TLSv1_3


def identity_secret(identity_dir: str) -> tls.Secret:
    """The SVID. Envoy follows changes of certificate files only where a secret of its own names them."""
    return _secret(IDENTITY, identity_dir, "tls")


def trial_secret(identity_dir: str) -> tls.Secret:
    """The gateway's trial certificate."""
    return _secret(TRIAL, identity_dir, "trial")


def _secret(name: str, directory: str, files: str) -> tls.Secret:
    return tls.Secret(
        name=name,
        tls_certificate=tls.TlsCertificate(
            certificate_chain=core.DataSource(filename=file_of(directory, f"{files}.crt")),
            private_key=core.DataSource(filename=file_of(directory, f"{files}.key")),
            watched_directory=watched(directory),
        ),
    )


def downstream(xds_dir: str, identity_dir: str, secret: str = IDENTITY) -> core.TransportSocket:
    """The gateway's side: SVIDs only, and no session that would outlive its certificate."""
    context = tls.DownstreamTlsContext(
        common_tls_context=_mesh_context(xds_dir, _svid_validation(identity_dir), ["h2", "http/1.1"], secret),
        require_client_certificate=True,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return _socket(context)


def to_gateway(xds_dir: str, identity_dir: str, gateway: str, name: str = "") -> core.TransportSocket:
    """The sidecar's side: only the SPIFFE ID `gateway` may answer. `name`: the server name that is asked for."""
    validation = _svid_validation(identity_dir)
    validation.match_typed_subject_alt_names = [_san(tls.SubjectAltNameMatcherSanType.URI, gateway)]
    context = tls.UpstreamTlsContext(
        sni=name,
        common_tls_context=_mesh_context(xds_dir, validation, ["h2"]),
        # Without resumption every connection proves its certificate.
        max_session_keys=0,
    )
    return _socket(context)


def to_provider(host: str, ca_file: str) -> core.TransportSocket:
    """Towards a provider: its certificate must name exactly `host`."""
    kind = tls.SubjectAltNameMatcherSanType.IP_ADDRESS if is_address(host) else tls.SubjectAltNameMatcherSanType.DNS
    context = tls.UpstreamTlsContext(
        sni="" if is_address(host) else host,
        common_tls_context=tls.CommonTlsContext(
            tls_params=tls.TlsParameters(
                tls_minimum_protocol_version=_TLS12, tls_maximum_protocol_version=_TLS13, ecdh_curves=list(CURVES)
            ),
            validation_context=tls.CertificateValidationContext(
                trusted_ca=core.DataSource(filename=ca_file), match_typed_subject_alt_names=[_san(kind, host)]
            ),
        ),
        # A resumed session would not be checked against the authorities of today.
        max_session_keys=0,
    )
    return _socket(context)


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, which has no SNI and needs no DNS."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _mesh_context(
    xds_dir: str, validation: tls.CertificateValidationContext, alpn: list[str], secret: str = IDENTITY
) -> tls.CommonTlsContext:
    return tls.CommonTlsContext(
        tls_params=tls.TlsParameters(
            # Both: an upstream's maximum defaults to TLS 1.2.
            tls_minimum_protocol_version=_TLS13,
            tls_maximum_protocol_version=_TLS13,
            ecdh_curves=list(CURVES),
        ),
        tls_certificate_sds_secret_configs=[
            tls.SdsSecretConfig(name=secret, sds_config=file_source(xds_dir, f"{secret}.json"))
        ],
        validation_context=validation,
        alpn_protocols=alpn,
    )


def _svid_validation(identity_dir: str) -> tls.CertificateValidationContext:
    # `trust_bundles` and not `trust_domains`: only the former is read again when the directory changes.
    bundles = core.DataSource(filename=file_of(identity_dir, "bundle.json"), watched_directory=watched(identity_dir))
    return tls.CertificateValidationContext(
        custom_validator_config=extension(
            "envoy.tls.cert_validator.spiffe", tls.SpiffeCertValidatorConfig(trust_bundles=bundles)
        )
    )


def _san(kind: tls.SubjectAltNameMatcherSanType, name: str) -> tls.SubjectAltNameMatcher:
    return tls.SubjectAltNameMatcher(san_type=kind, matcher=matcher.StringMatcher(exact=name))


def _socket(context: tls.DownstreamTlsContext | tls.UpstreamTlsContext) -> core.TransportSocket:
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))

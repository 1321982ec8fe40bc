"""A provider's key: put into the request by Envoy at the last moment, from a file that is read again when it changes.

It is an upstream filter, behind everything that could log or show a header. `repr` and errors never contain a key.
"""

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.filters.http.credential_injector import v3 as credential_injector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic import v3 as generic
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls

from tollway.providers.port import Family
from tollway.resources.models import AIProvider
from tollway_operator.envoy.file_names import credential_file_name
from tollway_operator.envoy.messages import extension, file_source, http_filter, render_resources
from tollway_operator.envoy.vocabulary import families


class CredentialError(Exception):
    """A provider's key cannot be sent in a header."""


def injector(provider: AIProvider, xds_dir: str) -> list[hcm.HttpFilter]:
    """The filter that sets the credential's header, over whatever was there; none for a provider without one."""
    if provider.credential is None:
        return []
    header, _ = _family(provider).credential_header("")
    secret = tls.SdsSecretConfig(
        name=_secret_name(provider), sds_config=file_source(xds_dir, credential_file(provider))
    )
    credential = extension("envoy.http.injected_credentials.generic", generic.Generic(credential=secret, header=header))
    return [
        http_filter(
            "envoy.filters.http.credential_injector",
            credential_injector.CredentialInjector(overwrite=True, credential=credential),
        )
    ]


def credential_file(provider: AIProvider) -> str:
    return credential_file_name(provider.meta.name)


def render_credential(provider: AIProvider, key: bytes) -> bytes:
    """The file with the header's value. Raises `CredentialError`."""
    _, value = _family(provider).credential_header(_readable(provider, key))
    secret = tls.Secret(
        name=_secret_name(provider),
        generic_secret=tls.GenericSecret(secret=core.DataSource(inline_string=value)),
    )
    return render_resources([secret])


def _readable(provider: AIProvider, key: bytes) -> str:
    text = key.strip()
    if not text or not all(0x21 <= byte <= 0x7E for byte in text):
        raise CredentialError(
            f"the credential of AIProvider {provider.meta.name} is empty or has characters that no HTTP header "
            "carries. Put the key itself into the Secret, in one line, without quotes."
        )
    return text.decode("ascii")


def _secret_name(provider: AIProvider) -> str:
    return f"credential/{provider.meta.name}"


def _family(provider: AIProvider) -> Family:
    return families()[provider.type]

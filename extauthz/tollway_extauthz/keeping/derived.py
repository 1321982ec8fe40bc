"""What follows from what is known: the rules for extauthz, the files for Envoy, the gateway's SVID. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tollway.resources.models import ENFORCE_LABEL, ENFORCED
from tollway_extauthz.identity_files import BUNDLE_FILE, CERTIFICATE_FILE, KEY_FILE
from tollway_extauthz.keeping.known import Files, Known, Objects
from tollway_extauthz.keeping.watched import (
    AGENTS,
    BOOTSTRAP_FILE,
    GENERATION_FILE,
    ISSUERS_FILE,
    NAMESPACES,
    PARTS_FILE,
    PROVIDERS,
    QUOTAS,
    ROOTS_FILE,
    Watched,
)

_NOT_ENVOYS: Final = frozenset({BOOTSTRAP_FILE, BUNDLE_FILE, ISSUERS_FILE, PARTS_FILE, ROOTS_FILE})


class Rules(msgspec.Struct, frozen=True):
    """A `ResourceSet` whose parts are JSON already. `uids` of the providers are for whoever goes on from there."""

    agents: list[msgspec.Raw]
    providers: list[msgspec.Raw]
    quotas: list[msgspec.Raw]
    secrets: list[msgspec.Raw]
    namespaces: list[msgspec.Raw]
    enforced: list[str]
    uids: Mapping[str, str]


def rules(known: Known, programmed: Mapping[str, str]) -> bytes:
    """The resources as extauthz is to decide by them, JSON: of providers only those that Envoy runs, by name and UID:
    one that was made anew under the name of another may be of another type."""
    providers = {
        name: piece for (_, name), piece in sorted(known.pieces[PROVIDERS].items()) if programmed.get(name) == piece.uid
    }
    found = Rules(
        agents=_texts(known, AGENTS),
        providers=[piece.text for piece in providers.values()],
        quotas=_texts(known, QUOTAS),
        secrets=[],
        namespaces=_texts(known, NAMESPACES),
        enforced=enforced(known),
        uids={name: piece.uid for name, piece in providers.items()},
    )
    return msgspec.json.encode(found)


def enforced(known: Known) -> list[str]:
    """The namespaces whose workloads may call: those with the label, and never Tollway's own."""
    return sorted(
        name
        for (_, name), piece in known.pieces[NAMESPACES].items()
        if piece.resource.meta.labels.get(ENFORCE_LABEL) == ENFORCED and name != known.root_namespace
    )


def _texts(known: Known, watched: Watched) -> list[msgspec.Raw]:
    pieces = known.pieces[watched]
    return [pieces[key].text for key in sorted(pieces)]


@dataclass(frozen=True, slots=True)
class GatewayFiles:
    """`envoy` change under Envoy all at once, and are of `providers`, name -> UID; `bootstrap` it reads at its start;
    extauthz reads `issuers`."""

    envoy: Files = field(repr=False)
    providers: Mapping[str, str]
    bootstrap: bytes = field(repr=False)
    issuers: bytes = field(repr=False)


class _Parts(msgspec.Struct, frozen=True):
    credentials: list[str]
    providers: dict[str, str]
    generation: str = ""


def gateway_files(found: Objects) -> GatewayFiles | str:
    """What to show, or why it is not all there: the ConfigMap says which files of the Secret go with it, and of the two
    one may have come without the other: together they could send a new key to an endpoint of before."""
    config = found.config
    if config is None:
        return "the configuration is not there"
    if missing := sorted({BOOTSTRAP_FILE, ISSUERS_FILE, PARTS_FILE} - config.keys()):
        return f"the configuration has no {', '.join(missing)}"
    try:
        parts = msgspec.json.decode(config[PARTS_FILE], type=_Parts)
    except msgspec.MsgspecError as error:
        return f"the configuration's {PARTS_FILE} cannot be read: {error}"
    secret = found.credentials or {}
    if secret.get(GENERATION_FILE, b"").decode() != parts.generation:
        return "the credentials that are there go with another configuration"
    if missing := sorted(set(parts.credentials) - secret.keys()):
        return f"the credentials that go with the configuration are not there: {', '.join(missing)}"
    envoy = {name: content for name, content in config.items() if name not in _NOT_ENVOYS}
    envoy |= {name: secret[name] for name in parts.credentials}
    return GatewayFiles(envoy, parts.providers, config[BOOTSTRAP_FILE], config[ISSUERS_FILE])


def svid_files(found: Objects) -> Files | str:
    """The SVID as Envoy reads it, or why it is none: a broken one would take the place of one that serves."""
    files = found.svid
    if files is None:
        return "the gateway's SVID is not there"
    if missing := sorted({CERTIFICATE_FILE, KEY_FILE, BUNDLE_FILE} - {name for name, text in files.items() if text}):
        return f"the gateway's SVID has no {', '.join(missing)}"
    return files if _fit(files) else "the gateway's SVID and its key do not fit, or cannot be read"


def _fit(files: Mapping[str, bytes]) -> bool:
    try:
        leaf = x509.load_pem_x509_certificates(files[CERTIFICATE_FILE])[0]
        key = load_pem_private_key(files[KEY_FILE], None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return leaf.public_key().public_bytes(*spki) == key.public_key().public_bytes(*spki)

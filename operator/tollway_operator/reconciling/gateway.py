"""What the gateway's pods read: its SVID, its configuration, the credentials of the providers."""

import base64
from collections.abc import Mapping

from tollway.identity.spiffe_id import gateway_id
from tollway.resources.models import AIProvider, KeyType, SVIDSpec
from tollway_operator.cluster.kinds import AI_PROVIDER, CONFIG_MAP, SECRET, Kind
from tollway_operator.names import (
    BUNDLE_FILE,
    GATEWAY,
    GATEWAY_CREDENTIALS,
    GATEWAY_SVID,
    ISSUERS_FILE,
    OUR_LABELS,
)
from tollway_operator.reconciling.actions import Action, Apply, IssueSVID, Plan
from tollway_operator.reconciling.rendering import gateway_config
from tollway_operator.reconciling.snapshot import Installation, Snapshot, Trust
from tollway_operator.reconciling.svids import bundle_actions, is_due, is_trial_due, renewal_of
from tollway_operator.watching.facts import ConfigFact, ProviderFact, SecretFact, digests
from tollway_operator.watching.store import Store


def plan_gateway(snapshot: Snapshot, now: int) -> Plan:
    trust = snapshot.trust
    if trust is None:
        return Plan()
    secret = snapshot.store.get(SECRET, SecretFact, GATEWAY_SVID, snapshot.installation.root_namespace)
    held = secret.svid if secret is not None else None
    both = [each for each in (held, secret.trial if secret is not None else None) if each is not None]
    again = min((renewal_of(each) for each in both if renewal_of(each) > now), default=None)
    chains = (_svid(snapshot.installation, secret, trust, now), _configuration(snapshot, trust))
    return Plan(tuple(chain for chain in chains if chain), again)


def _svid(installation: Installation, secret: SecretFact | None, trust: Trust, now: int) -> tuple[Action, ...]:
    spiffe_id = str(gateway_id(installation.trust_domain, installation.root_namespace))
    held = secret.svid if secret is not None else None
    is_other = is_due(held, spiffe_id, KeyType.ECDSA_P256, trust, now) or is_trial_due(secret, spiffe_id, trust, now)
    if not is_other:
        return bundle_actions(secret, trust)
    replaces = secret.me.resource_version if secret is not None else ""
    ttl = SVIDSpec().ttl_ms
    return (
        IssueSVID(GATEWAY_SVID, installation.root_namespace, spiffe_id, KeyType.ECDSA_P256, ttl, replaces, owner=None),
    )


def _configuration(snapshot: Snapshot, trust: Trust) -> tuple[Action, ...]:
    """The credentials first: whoever reads of a provider finds its key."""
    store, where = snapshot.store, snapshot.installation.root_namespace
    files = gateway_config(*rendered_from(snapshot))
    config = {**files.config, BUNDLE_FILE: trust.bundle, ISSUERS_FILE: trust.issuers}
    secret = store.get(SECRET, SecretFact, GATEWAY_CREDENTIALS, where)
    found = store.get(CONFIG_MAP, ConfigFact, GATEWAY, where)
    actions: list[Action] = []
    if secret is None or secret.digests != digests(files.credentials):
        actions.append(Apply(SECRET, _secret(where, files.credentials)))
    if found is None or found.digests != digests(config):
        actions.append(Apply(CONFIG_MAP, config_map(GATEWAY, where, config)))
    return tuple(actions)


def rendered_from(
    snapshot: Snapshot,
) -> tuple[Installation, tuple[AIProvider, ...], Mapping[str, bytes], Mapping[str, str]]:
    """What the configuration is rendered from: the providers, their keys, and the UIDs of their objects."""
    store, installation = snapshot.store, snapshot.installation
    providers = sound_providers(store)
    keys = keys_of(store, installation.root_namespace, providers)
    return installation, providers, keys, {fact.me.name: fact.me.uid for fact in store.all(AI_PROVIDER, ProviderFact)}


def sound_providers(store: Store) -> tuple[AIProvider, ...]:
    facts = store.all(AI_PROVIDER, ProviderFact)
    return tuple(fact.provider for fact in facts if fact.provider is not None and not fact.me.being_deleted)


def keys_of(store: Store, root_namespace: str, providers: tuple[AIProvider, ...]) -> Mapping[str, bytes]:
    """Provider name -> its key, for those whose Secret is there."""
    found = {}
    for provider in providers:
        if provider.credential is None:
            continue
        secret = store.get(SECRET, SecretFact, provider.credential.name, root_namespace)
        if secret is not None and provider.credential.key in secret.data:
            found[provider.meta.name] = secret.data[provider.credential.key]
    return found


def config_map(name: str, namespace: str, files: Mapping[str, bytes]) -> Mapping[str, object]:
    data = {file: content.decode() for file, content in files.items()}
    return CONFIG_MAP.new(name, namespace, metadata={"labels": OUR_LABELS}, data=data)


def _secret(namespace: str, files: Mapping[str, bytes]) -> Mapping[str, object]:
    kind: Kind = SECRET
    data = {file: base64.b64encode(content).decode() for file, content in files.items()}
    return kind.new(GATEWAY_CREDENTIALS, namespace, metadata={"labels": OUR_LABELS}, type="Opaque", data=data)

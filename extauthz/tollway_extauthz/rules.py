"""The rules in force: read from files that are replaced atomically, compiled, swapped whole.

A file that cannot be read keeps the last good state; it is said once per change of the file.
"""

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from tollway.deciding.rulebook import RuleBook
from tollway.identity.spiffe_id import TrustDomain
from tollway.pricing.table import PriceBook
from tollway.resources.models import ResourceSet
from tollway_extauthz.peer import PeerValidator
from tollway_extauthz.rule_file import RuleReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything a decision needs that changes rarely; one reference, so that a decision sees one state."""

    generation: int
    book: RuleBook
    peers: PeerValidator
    resources: ResourceSet
    issuers: str = ""
    """SHA-256 of the file of signing CAs, in hexadecimal digits: by which callers are recognised."""


class RuleSource:
    """Follows the rule file and the issuers' file by their stamps."""

    def __init__(self, rules: Path, issuers: Path, trust_domain: str, prices: PriceBook) -> None:
        self._rules_path = rules
        self._issuers_path = issuers
        self._trust_domain = TrustDomain(trust_domain)
        self._prices = prices
        self._reader = RuleReader()
        self._stamps: tuple[object, object] | None = None
        self.current: Rules | None = None

    async def refresh(self) -> bool:
        """Read what changed, beside the calls that are decided meanwhile. True if other rules are in force now."""
        stamps = (_stamp(self._rules_path), _stamp(self._issuers_path))
        if stamps == self._stamps or None in stamps:
            return False
        self._stamps = stamps
        try:
            self.current = await asyncio.to_thread(self._read, self.current)
        except (OSError, ValueError) as problem:
            _log.error("rules not taken, the last good ones stay in force: %s", problem)
            return False
        _log.info("rules of generation %d are in force", self.current.generation)
        return True

    def _read(self, before: Rules | None) -> Rules:
        file = self._reader.read(self._rules_path.read_bytes())
        issuers = self._issuers_path.read_bytes()
        peers = before.peers.with_issuers(issuers) if before is not None else None
        peers = peers or PeerValidator(self._trust_domain, issuers)
        book = RuleBook(file.resources, self._prices)
        return Rules(file.generation, book, peers, file.resources, hashlib.sha256(issuers).hexdigest())


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino

"""Facts that many calls share, kept once in the file and found again by what they say."""

import sqlite3
from hashlib import blake2b
from typing import Final

from tollway.ledger.port import CallFacts, RowKind
from tollway_extauthz.stores.sqlite.rows import content_of, shared_facts

_MOST_CACHED: Final = {RowKind.GRANT: 100_000, RowKind.REFUSE: 1_000}
"""Agents times models; what is refused may name anything."""
_FIND: Final = "SELECT id FROM facts WHERE digest = ?"
_INSERT: Final = "INSERT INTO facts (digest, content) VALUES (?, ?)"


def digest_of(content: str) -> bytes:
    return blake2b(content.encode(), digest_size=16).digest()


class SharedFacts:
    """Inside a transaction that somebody else makes; what it remembers is in the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[RowKind, dict[object, int]] = {kind: {} for kind in _MOST_CACHED}

    def forget(self) -> None:
        for known in self._known.values():
            known.clear()

    def id_of(self, facts: CallFacts, kind: RowKind) -> int:
        """The id under which what calls like this one share is kept, from now on if not before."""
        shared, known = shared_facts(facts), self._known[kind]
        found = known.get(shared)
        if found is None:
            if len(known) >= _MOST_CACHED[kind]:
                known.clear()
            found = known[shared] = self._keep(content_of(shared))
        return found

    def _keep(self, content: str) -> int:
        digest = digest_of(content)
        found = self._connection.execute(_FIND, (digest,)).fetchone()
        if found is not None:
            return int(found[0])
        return self._connection.execute(_INSERT, (digest, content)).lastrowid or 0

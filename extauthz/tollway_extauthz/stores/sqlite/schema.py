"""The file: made whole or not at all, and opened only if it is ours, of a version we know, and undamaged.

A ledger that silently started afresh would hand every budget out a second time. So an existing file is never
replaced: anything wrong with it stops with a sentence that says what to do.
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x746F6C6C
"""`toll` in ASCII, in the file's header."""
VERSION: Final = 3
PAGE_SIZE: Final = 2048
"""Every page that a commit changed is written whole. Smaller ones would not hold a call's longest rows."""
BUSY_TIMEOUT_S: Final = 1.5
"""Below the 2 s after which Envoy no longer waits for a decision."""

# Amounts are 64-bit integers; STRICT makes a sum that overflows an error instead of a float. Facts that many calls
# share are kept once, as JSON, so that a fact more is no new schema; what is asked for has a column. Holds are found by
# id, and by deadline while open, the rows of a call through its hold, refusals by call: no cost grows with the number
# of agents, quotas or ended calls. What a grant costs is mostly the pages it changes, so nearly all goes to the end of
# a table, and indexes are few. A hold is what its rows say: `granted` the one it began with, `ended` the one that says
# how it ended last, `rows` those between, each after a comma. `claims` is NULL while nothing but its end changed it:
# then they are what its grant's entries say.
SCHEMA: Final = """
CREATE TABLE limits (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    quota TEXT NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    window TEXT NOT NULL,
    length_ms INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    per TEXT NOT NULL,
    in_force INTEGER NOT NULL,
    seeded INTEGER NOT NULL,
    UNIQUE (namespace, quota, name, unit, window, length_ms, time_zone, per)
) STRICT;

CREATE TABLE counters (
    id INTEGER PRIMARY KEY,
    limit_id INTEGER NOT NULL,
    per TEXT NOT NULL,
    amount INTEGER NOT NULL,
    UNIQUE (limit_id, per)
) STRICT;

CREATE TABLE buckets (
    counter INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    held INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (counter, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE holds (
    granted INTEGER PRIMARY KEY,
    hold_id TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    ended INTEGER,
    rows TEXT NOT NULL DEFAULT '',
    claims TEXT
) STRICT;
CREATE INDEX holds_open ON holds (deadline) WHERE ended IS NULL;

CREATE TABLE facts (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    content TEXT NOT NULL,
    agent TEXT AS (content ->> 'agent'),
    namespace TEXT AS (content ->> 'namespace'),
    provider TEXT AS (content ->> 'provider'),
    model TEXT AS (content ->> 'model'),
    task TEXT AS (content ->> 'task'),
    on_behalf_of TEXT AS (content ->> 'on_behalf_of'),
    parent_call TEXT AS (content ->> 'parent_call'),
    policy_digest TEXT AS (content ->> 'policy_digest')
) STRICT;
CREATE INDEX facts_agent ON facts (agent);

CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    call_id TEXT NOT NULL,
    entries TEXT NOT NULL,
    size INTEGER NOT NULL,
    source INTEGER,
    requests INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cost INTEGER,
    facts INTEGER,
    input_ceiling INTEGER,
    checks TEXT,
    reason TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    previous_hash TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX journal_refused ON journal (call_id) WHERE kind = 'refuse';
CREATE INDEX journal_facts ON journal (facts) WHERE facts IS NOT NULL;

CREATE TABLE checkpoints (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""


CHECKED_WHOLE: Final = 32 << 20
"""Bytes of a file whose pages are all checked when it is opened: half a second, some 60,000 calls."""
_STANDS_ON: Final = ("limits", "counters", "buckets", "facts", "checkpoints")


class UnusableLedger(Exception):  # noqa: N818 - named for what it is about
    """The ledger's file cannot be used; the message says why and what to do. Nothing in it was changed."""


def open_file(path: Path) -> None:
    """Make the file if there is none, and check it. Raises `UnusableLedger`."""
    wal = path.with_name(path.name + "-wal")
    if not path.exists():
        if wal.exists() and wal.stat().st_size:
            raise UnusableLedger(f"{path} is gone, but its latest changes are still in {wal}. {_RESTORE}")
        _create(path)
    _check(path)


def connect(path: Path) -> sqlite3.Connection:
    """A connection for use by any thread, one at a time, with explicit transactions only."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


_RESTORE: Final = (
    "Restore it from a backup, or move it and its -wal and -shm files away to start with empty counters: "
    "what was spent so far will then be forgotten."
)


def _create(path: Path) -> None:
    """Make the whole file beside its place and link it there: no crash ever leaves a half-made ledger."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(descriptor)
    made = Path(name)
    try:
        with closing(connect(made)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        _flush(made)
        _link(made, path)
    finally:
        made.unlink()
    _flush(path.parent)


def _link(made: Path, path: Path) -> None:
    try:
        path.hardlink_to(made)
    except FileExistsError:
        # Another process made it first; theirs is as good.
        return


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(path: Path) -> None:
    try:
        if path.stat().st_size == 0:
            raise UnusableLedger(f"{path} is empty: a ledger's file never is. {_RESTORE}")
        _check_permissions(path)
        with closing(connect(path)) as connection:
            _check_header(path, connection)
            _check_pages(path, connection)
            _check_writing(path, connection)
    except sqlite3.OperationalError as error:
        raise UnusableLedger(f"{path} cannot be opened: {error}. Check the path and its permissions.") from error
    except sqlite3.DatabaseError as error:
        raise UnusableLedger(f"{path} is no SQLite database, or is damaged: {error}. {_RESTORE}") from error


def _check_permissions(path: Path) -> None:
    """Before SQLite opens it: it would do so for reading only, and make files beside it that stay read-only."""
    # Opening and closing them here would take away the locks that this process has on them.
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")), path.parent):
        if each.exists() and not os.access(each, os.W_OK):
            raise UnusableLedger(_not_writable(each))


def _check_writing(path: Path, connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # then somebody else can write it
            raise UnusableLedger(f"{_not_writable(path)} ({error})") from error


def _not_writable(path: Path) -> str:
    return (
        f"{path} cannot be written. Check its permissions, and those of the ledger's file, of its -wal and -shm files "
        "and of their directory."
    )


def _check_header(path: Path, connection: sqlite3.Connection) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise UnusableLedger(f"{path} is a database, but not a ledger of Tollway. Name another file.")
    if version != VERSION:
        raise UnusableLedger(
            f"{path} has schema version {version}; this Tollway knows version {VERSION}. "
            f"Start the version of Tollway that wrote it, or a newer one."
        )


def _check_pages(path: Path, connection: sqlite3.Connection) -> None:
    """All of a small file. Of a large one what decisions stand on, for looking at every call there ever was would keep
    the next ones waiting for seconds: damage elsewhere is found by who reads it, and refuses its call."""
    if path.stat().st_size <= CHECKED_WHOLE:
        checks = ["PRAGMA quick_check(1)"]  # the first problem is enough
    else:
        checks = [f"PRAGMA quick_check({table})" for table in _STANDS_ON]
    for check in checks:
        (found,) = connection.execute(check).fetchone()
        if found != "ok":
            raise UnusableLedger(f"{path} is damaged: {found}. {_RESTORE}")

"""The database of a review folder: its tables, and how it is opened and written."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fashion.locks import alone

VERSION = 1
APPLICATION = 0x66617368  # marks the file as one of these
WAIT_S = 30  # for another process that writes
TABLES = """
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE photos (
    sha256 TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    first_seen TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('unsure', 'blind')),
    turn TEXT NOT NULL,  -- by which photos wait in the queue
    decided INTEGER NOT NULL DEFAULT 0  -- whether anybody's decision stands
) WITHOUT ROWID;

CREATE TRIGGER added AFTER INSERT ON photos BEGIN
    UPDATE facts SET value = value + new.bytes WHERE key = 'bytes';
END;

CREATE TRIGGER deleted AFTER DELETE ON photos BEGIN
    UPDATE facts SET value = value - old.bytes WHERE key = 'bytes';
END;

CREATE INDEX waiting ON photos (decided, turn);

CREATE TABLE names (
    sha256 TEXT NOT NULL REFERENCES photos ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (sha256, name)
) WITHOUT ROWID;

CREATE INDEX by_name ON names (name);

CREATE TABLE predictions (
    sha256 TEXT NOT NULL REFERENCES photos ON DELETE CASCADE,
    model TEXT NOT NULL,
    threshold REAL NOT NULL,
    labels TEXT NOT NULL,  -- JSON: [[label, probability], ...], the likeliest first
    sure INTEGER NOT NULL,
    rate REAL,  -- of the sure photos that were drawn when this one was; none of unsure ones
    at TEXT NOT NULL,
    PRIMARY KEY (sha256, model, threshold)
) WITHOUT ROWID;

CREATE TABLE decisions (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL REFERENCES photos ON DELETE CASCADE,
    person TEXT NOT NULL,
    at TEXT NOT NULL,  -- UTC, always as long, so that texts are in the order of time
    stored TEXT NOT NULL,  -- the same by this machine's clock
    kind TEXT NOT NULL,
    label TEXT,
    blind INTEGER NOT NULL,  -- whether it was made without a suggestion
    model TEXT,  -- that labelled the photo last
    UNIQUE (person, sha256, at)
);

CREATE INDEX by_photo ON decisions (sha256);
"""


def open_database(path: Path, subject: str) -> sqlite3.Connection:
    """Open the database of a review folder, made where there is none.

    Args:
        path: Its file; the folder is there.
        subject: What names it in messages.

    Returns:
        A connection that several threads may use, one at a time.

    Raises:
        ValueError: The file is of a later release, or something else.
        OSError: It can't be read or written.
    """
    with telling(subject):
        connection = sqlite3.connect(
            path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            if _version(connection, subject) == 0:
                with alone(path, subject):
                    _make(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is written over
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def together(connection: sqlite3.Connection) -> Iterator[None]:
    """Write what the block writes together or not at all; no other process writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def telling(subject: str) -> Iterator[None]:
    """Have an error of the database end in a sentence.

    Raises:
        ValueError: The file is no database.
        OSError: Anything else.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(
            f"{subject} can't be read or written ({error}). See that its disk has room and that "
            "you may write to it, or pass another folder."
        ) from error
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"{subject} holds a damaged database ({error}). Bring it back from a copy, or pass "
            "another folder."
        ) from error


def _version(connection: sqlite3.Connection, subject: str) -> int:
    """Return the version of the tables, 0 where there are none yet.

    Raises:
        ValueError: They are of a later release, or another program's.
    """
    version = _pragma(connection, "user_version")
    if version > VERSION:
        raise ValueError(
            f"{subject} was written by a later release (form {version}, where this one knows "
            f"{VERSION}). Install that release, or pass another folder."
        )
    has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if has_tables and (version == 0 or _pragma(connection, "application_id") != APPLICATION):
        raise ValueError(f"{subject} holds another program's database. Pass another folder.")
    return version


def _make(connection: sqlite3.Connection) -> None:
    if _pragma(connection, "user_version") == VERSION:
        return  # by the process that was waited for
    connection.execute("PRAGMA journal_mode = WAL")
    with together(connection):
        for statement in TABLES.strip().split("\n\n"):
            connection.execute(statement)
        facts = {"salt": secrets.token_hex(16), "bytes": "0", "full": "0", "classes": "[]"}
        connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

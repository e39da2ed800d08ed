"""Hashes of image files, remembered between runs: a file that didn't change isn't decoded again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import PIL

from attar.files import cache_folder
from attar.images.facts import Fact

_DECODER = f"pillow {PIL.__version__}"  # part of the key: another version may give a JPEG slightly different pixels
_TABLE = """
CREATE TABLE IF NOT EXISTS hashes (
    path TEXT, size INTEGER, mtime_ns INTEGER, decoder TEXT, sha256 BLOB NOT NULL, grey INTEGER NOT NULL,
    PRIMARY KEY (path, decoder)
) WITHOUT ROWID
"""
_FIND = "SELECT sha256, grey FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ? AND decoder = ?"
_KEEP = "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?)"

Key = tuple[str, int, int, str]


def key(file: Path) -> Key | None:
    """What a file's facts are remembered under: absolute path, size, time of change; None where it isn't there."""
    try:
        state = file.stat()
    except OSError:
        return None
    return str(file.absolute()), state.st_size, state.st_mtime_ns, _DECODER


def member_key(file: Path, mtime_ns: int, place: int, size: int) -> Key:
    """The key of an image inside of a larger file that changed at `mtime_ns`: its place there, and its size."""
    return f"{file.absolute()}#{place}", size, mtime_ns, _DECODER


def recall(keys: Sequence[Key | None]) -> list[Fact | None]:
    """The facts remembered for each key; None for what isn't known, all None where the database can't be used."""
    found: list[Fact | None] = [None] * len(keys)
    if not any(keys):
        return found
    with contextlib.suppress(sqlite3.Error, OSError, UnicodeError), _database() as database:
        for position, wanted in enumerate(keys):
            row = database.execute(_FIND, wanted).fetchone() if wanted else None
            if row:
                found[position] = Fact(row[0], bool(row[1]))
    return found


def remember(keys: Sequence[Key | None], facts: Sequence[object]) -> None:
    """Keep the facts (what isn't a Fact is passed over); nothing happens where the database can't be used."""
    pairs = zip(keys, facts, strict=True)
    rows = [(*name, fact.sha256, int(fact.grey)) for name, fact in pairs if name and isinstance(fact, Fact)]
    if not rows:
        return
    with contextlib.suppress(sqlite3.Error, OSError, UnicodeError), _database() as database, database:
        database.executemany(_KEEP, rows)


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "hashes.sqlite", timeout=30)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(_TABLE)
        yield database

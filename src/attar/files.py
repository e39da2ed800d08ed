"""The one place that writes: whole files or nothing, hashes, names that are safe as folders, the cache's folder."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import unicodedata
from collections.abc import Callable
from pathlib import Path

import platformdirs


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place: readers see the old file or the new one.

    File and folder are synced before and after the rename, so that a power loss can't leave a half-written file
    under the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    write_atomic(path, lambda temporary: _write_all(temporary, data))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode())


def _write_all(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: object) -> str:
    """Hex SHA-256 of the `repr` of `parts`: a fingerprint of plain values (str, int, float, tuple, None)."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


_RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}


def safe_name(name: str) -> str:
    """A folder name for a class called `name`: letters, digits, `-`, `_`, `.`; never empty, hidden or a path.

    >>> safe_name("../../x"), safe_name("golden retriever"), safe_name("con")
    ('x', 'golden_retriever', '_con')
    """
    text = unicodedata.normalize("NFKC", name)
    text = re.sub(r"[^\w.-]+", "_", text, flags=re.UNICODE).strip("._-")
    # Bytes, because file systems count them: a name has at most 255, and files carry the class's name too.
    text = text.encode()[:80].decode(errors="ignore").rstrip("._-") or "class"
    return f"_{text}" if text.lower().partition(".")[0] in _RESERVED else text


def safe_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """`safe_name` of each, made distinct (also on file systems that ignore case) by a number where two collide."""
    taken: set[str] = set()
    result = []
    for name in names:
        base = candidate = safe_name(name)
        number = 2
        while candidate.lower() in taken:
            candidate, number = f"{base}-{number}", number + 1
        taken.add(candidate.lower())
        result.append(candidate)
    return tuple(result)


def cache_folder() -> Path:
    """Where caches live: the environment variable ATTAR_CACHE, else the platform's cache folder."""
    return Path(os.environ.get("ATTAR_CACHE") or platformdirs.user_cache_dir("attar"))

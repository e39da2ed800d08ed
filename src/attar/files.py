"""The one place that writes: whole files or nothing, hashes, names that are safe as folders, the cache's folder."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from attar.errors import FileError

_STALE_SECONDS = 24 * 3600
_AT_ONCE = 2**24  # bytes a write; a kill or a full disk is noticed between two of them


def write_atomic(path: Path, *parts: bytes | memoryview) -> None:
    """Write `parts`, one after the other, to a temporary file beside `path`, then put it in place.

    Readers see the old file or the new one. File and folder are synced before and after the rename, so that a power
    loss can't leave a half-written file under the final name. FileError where the disk has no room, OSError for all
    else that the system refuses; then the old file is as it was, and nothing lies beside it.
    """
    make_folder(path.parent)
    temporary = _beside(path, "tmp")
    try:
        with _room(path, sum(memoryview(part).nbytes for part in parts)):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                for part in parts:
                    _write_all(descriptor, memoryview(part).cast("B"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)  # noqa: PTH105 (one spelling for all system calls here)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    write_atomic(path, data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_atomic(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Add a line to a log. It is on the disk after the next `sync`; a kill may cut it. Errors as `write_atomic`'s."""
    data = memoryview(f"{line}\n".encode())
    with _room(path, len(data)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)


def replace_folder(new: Path, path: Path) -> None:
    """Put the complete folder `new` at `path`; an older folder there is deleted once the new one is on the disk.

    Where the system can't exchange two folders, the older one steps aside first: for a moment `path` is absent.
    """
    old = _beside(path, "old") if path.exists() else None
    if old is not None and _exchange(new, path):
        new.rename(old)
    else:
        if old is not None:
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old is not None:
                old.rename(path)
            raise
    sync(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def temporary_folder(path: Path) -> Path:
    """The name of a folder beside `path` in which its content can grow, for `replace_folder`."""
    return _beside(path, "tmp")


def make_folder(path: Path) -> None:
    """Create a folder and those above it, and wait until their names are on the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, name: str | None = None) -> None:
    """Delete what killed processes left of their work on `name`, or on anything in `folder`, more than a day ago."""
    work = "*" if name is None else glob.escape(name)
    for leftover in [*folder.glob(f".{work}.*.tmp"), *folder.glob(f".{work}.*.old")]:
        with contextlib.suppress(OSError):  # another process sweeps too
            # When it was renamed, not when it was made: a set that stepped aside may be years old.
            if time.time() - leftover.stat().st_ctime > _STALE_SECONDS:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


@contextlib.contextmanager
def _room(path: Path, needed: int) -> Iterator[None]:
    """A full disk becomes FileError, with the bytes that are needed for `path` and those that are free."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(path.parent).free
        message = f"the disk has no room for {path}: {needed:,} bytes are needed and {free:,} free"
        raise FileError(message, "make room there, or give another place") from error


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap names, so that at no moment one of them is absent; False where the system can't."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, swap = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux' headers
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), swap) == 0


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.{ending}")


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data[:_AT_ONCE]) :]


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

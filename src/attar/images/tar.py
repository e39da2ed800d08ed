"""Where the members of an uncompressed tar file lie, from its headers alone: nothing is extracted, no name is a path.

The standard library's `tarfile` stops in silence at a damaged header, keeps every member in memory, and believes the
sizes it reads; hence this loop around its parser of single headers.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from attar.errors import ImageError
from attar.images.checks import check_inner_name

_BLOCK = tarfile.BLOCKSIZE
_LARGEST_EXTENSION = 2**20  # a header's long name or attributes; real ones have some hundred bytes
_PADDING = 2**20  # GNU tar fills its last record with zeros: 10 KiB, or as much as --blocking-factor says
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_COMPLETE = "Copy or download the shard again."
_PLAIN = "Give uncompressed tar files of regular files, as webdataset and GNU tar write them."

_ATTRIBUTES = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
_SKIPPED = {tarfile.DIRTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Member(NamedTuple):
    """A regular file inside of a tar file: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


def members(file: Path, stream: BinaryIO) -> Iterator[Member]:
    """The regular files in `stream` (the open `file`, which may be read between two members), in order.

    Raises ImageError for what isn't a whole, uncompressed tar file, for links, devices and sparse files, for members
    larger than the file, and for names that are absolute, climb out, are too long or hold control characters.
    """
    length = os.fstat(stream.fileno()).st_size
    position, extended = 0, dict[str, str]()
    while (header := _header(file, stream, position)) is not None:
        kind, size = header.type, _size(file, header, extended)
        data = position + _BLOCK
        position = data + -(-size // _BLOCK) * _BLOCK
        name = extended.get("path", header.name).removeprefix("./")
        if size < 0 or position > length:
            raise ImageError(f"member {name!a} of {file} is cut off, or its size of {size:,} bytes is wrong", _COMPLETE)
        if kind == tarfile.GNUTYPE_LONGNAME or kind in _ATTRIBUTES:
            extended |= _extension(file, stream, kind, data, size)
            continue
        extended = {}
        if kind in _SKIPPED:
            continue
        if kind not in tarfile.REGULAR_TYPES or kind == tarfile.GNUTYPE_SPARSE:
            raise ImageError(f"member {name!a} of {file} is {_KINDS.get(kind, 'of an unknown kind')}", _PLAIN)
        check_inner_name(name, f"member name in {file}")
        yield Member(name, data, size)
    _check_end(file, stream, position)


def _header(file: Path, stream: BinaryIO, position: int) -> tarfile.TarInfo | None:
    """The header at `position`; None for the block of zeros after the last member."""
    stream.seek(position)
    block = stream.read(_BLOCK)
    if position == 0:
        for magic, kind in _COMPRESSED.items():
            if block.startswith(magic):
                raise ImageError(f"{file} is compressed ({kind})", "Unpack it: its images are compressed already.")
    if block == bytes(_BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if len(block) < _BLOCK:
            raise ImageError(f"{file} is truncated: it ends at byte {position + len(block):,}", _COMPLETE) from error
        wrong = "is no tar file" if position == 0 else f"is damaged at byte {position:,}"
        raise ImageError(f"{file} {wrong} ({error})", _PLAIN if position == 0 else _COMPLETE) from error


def _size(file: Path, header: tarfile.TarInfo, extended: dict[str, str]) -> int:
    text = extended.get("size", str(header.size))
    if not (text.isascii() and text.lstrip("-").isdigit() and len(text) < 20):
        raise ImageError(f"member {header.name!a} of {file} has the size {text[:20]!a}", _COMPLETE)
    return int(text)


def _extension(file: Path, stream: BinaryIO, kind: bytes, data: int, size: int) -> dict[str, str]:
    """What a header before the header says of the next member: its path, and in attributes its size and more."""
    if size > _LARGEST_EXTENSION:
        raise ImageError(f"{file} is damaged: the header at byte {data:,} has {size:,} bytes", _COMPLETE)
    stream.seek(data)
    content = stream.read(size)
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    attributes = {}
    while content:
        count, _, _ = content.partition(b" ")
        width = int(count) if count.isdigit() and len(count) < 8 else 0
        record, content = content[len(count) + 1 : width], content[width:]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ImageError(f"{file} is damaged: the attributes at byte {data:,} can't be read", _COMPLETE)
        attributes[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
    if any(key.startswith("GNU.sparse") for key in attributes):
        raise ImageError(f"member {attributes.get('path', '')!a} of {file} is a sparse file", _PLAIN)
    return attributes


def _check_end(file: Path, stream: BinaryIO, position: int) -> None:
    """Refuse data after the end mark: of tar files that were simply appended, all but the first would go unseen."""
    stream.seek(position)
    if stream.read(_PADDING).strip(b"\0"):
        raise ImageError(f"{file} holds data after its end mark at byte {position:,}", "Give its parts one by one.")

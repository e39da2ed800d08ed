"""Faults on purpose, SQLite's way: count the calls that change the disk below a folder, and let the k-th go wrong.

A `Layer` stands between Python and the disk, in a process of its own that ends afterwards; a `Fault` says which call
goes wrong, and how. Calls that C libraries make by themselves (SQLite's) pass unseen.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import attar.files

CALLS = frozenset({"create", "write", "sync", "rename", "mkdir", "unlink", "rmdir"})
_ALIASES = {"remove": "unlink", "replace": "rename"}
_WHERE = {
    errno.ENOSPC: frozenset({"create", "write", "sync", "rename", "mkdir"}),
    errno.EIO: CALLS,
    errno.EROFS: CALLS - {"write", "sync"},  # what was opened before stays writable
    errno.EACCES: CALLS - {"write", "sync"},
}


@dataclass(frozen=True)
class Call:
    """A call that is about to change the disk; `half` does half of it, where it is a write."""

    kind: str
    path: Path
    half: Callable[[], object]


class Fault:
    """Goes wrong at call number `at` among those of `kinds`, and at every later one if `lasting`."""

    at: int
    kinds: frozenset[str] = CALLS
    lasting: bool = False

    def strike(self, call: Call, layer: Layer) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Nothing(Fault):
    """No fault: the calls are counted."""

    at: int = 0


@dataclass(frozen=True)
class Kill(Fault):
    """The process is killed; of a write half has happened."""

    at: int

    def strike(self, call: Call, layer: Layer) -> None:
        call.half()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Fail(Fault):
    """The system refuses with `number`, once or from then on; half of a write has happened all the same."""

    at: int
    number: int
    lasting: bool = False

    @property
    def kinds(self) -> frozenset[str]:
        return _WHERE[self.number]

    def strike(self, call: Call, layer: Layer) -> None:
        if self.number == errno.ENOSPC and call.kind == "write":
            call.half()
        named = [] if call.kind in ("write", "sync") else [str(call.path)]  # those know descriptors only
        raise OSError(self.number, os.strerror(self.number), *named)


@dataclass(frozen=True)
class PowerLoss(Fault):
    """The machine stops. What was not synced is there, or not, or garbled, as `draw` has it.

    Draw 0 keeps no name and no byte that wasn't synced, draw 1 all names and no byte; any other is a seed.
    """

    at: int
    draw: int

    def strike(self, call: Call, layer: Layer) -> None:
        call.half()
        left = _survivors(layer.disk, self.draw)
        layer.restore()
        for entry in layer.root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        _write_out(left, layer.root)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(eq=False)
class File:
    """A file's bytes as programs see them, and as they are surely on the disk."""

    data: bytes
    synced: bytes = b""


@dataclass(eq=False)
class Folder:
    """A folder's entries since it was last synced, the latest last: any of these may be what a power loss leaves.

    That is a journal's promise: changes of a folder arrive in order. Between folders nothing is promised here.
    """

    versions: list[dict[str, File | Folder]] = field(default_factory=lambda: [{}])

    @property
    def entries(self) -> dict[str, File | Folder]:
        return self.versions[-1]


Tree = dict[str, Any]  # bytes or a Tree under each name


def read_tree(folder: Path) -> Tree:
    """All files below a folder."""
    return {path.name: read_tree(path) if path.is_dir() else path.read_bytes() for path in sorted(folder.iterdir())}


def _durable(tree: Tree) -> Folder:
    return Folder([{name: File(x, x) if isinstance(x, bytes) else _durable(x) for name, x in tree.items()}])


def seen(folder: Folder) -> Tree:
    """What programs see of a folder."""
    return {name: x.data if isinstance(x, File) else seen(x) for name, x in sorted(folder.entries.items())}


def _survivors(folder: Folder, draw: int) -> Tree:
    generator = random.Random(draw)

    def names(folder: Folder) -> Tree:
        version = folder.versions[0 if draw == 0 else -1] if draw < 2 else generator.choice(folder.versions)
        return {name: content(x) if isinstance(x, File) else names(x) for name, x in version.items()}

    def content(file: File) -> bytes:
        if file.data == file.synced or draw < 2:
            return file.synced
        same = (one == other for one, other in zip(file.data, file.synced, strict=False))
        kept = sum(itertools.takewhile(bool, same))
        new = file.data[kept:]
        cut = generator.randint(0, len(new))
        tails = [new, new[:cut], new[:cut] + bytes(len(new) - cut), new[:cut] + generator.randbytes(len(new) - cut)]
        return generator.choice([file.synced, *(file.data[:kept] + tail for tail in tails)])

    return names(folder)


def _write_out(tree: Tree, folder: Path) -> None:
    for name, x in tree.items():
        if isinstance(x, bytes):
            (folder / name).write_bytes(x)
        else:
            (folder / name).mkdir()
            _write_out(x, folder / name)


class Layer:
    """Puts itself in the place of `os`'s functions, for what lies below `root`, and asks `fault` at each call.

    With `modelled` it keeps a model of the disk, which `PowerLoss` needs.
    """

    def __init__(self, root: Path, fault: Fault, *, modelled: bool = False):
        self.root = root.resolve()
        self.fault = fault
        self.count = 0
        self.log: list[str] = []
        self.modelled = modelled or isinstance(fault, PowerLoss)
        self.disk = _durable(read_tree(self.root)) if self.modelled else Folder()
        self._descriptors: dict[int, tuple[Path, File | Folder | None]] = {}
        self._exchange = attar.files._exchange
        self._real = {
            name: getattr(os, name)
            for name in ("open", "close", "write", "fsync", "replace", "rename", "mkdir", "unlink", "remove", "rmdir")
        }

    def install(self) -> None:
        """From now on, and for good: for processes that end soon."""
        for name in self._real:
            setattr(os, name, getattr(self, f"_os_{_ALIASES.get(name, name)}"))
        attar.files._exchange = self.exchange

    def end(self) -> None:
        """The command is done: the last moment at which a fault can come."""
        if self.fault.at == self.count + 1 and isinstance(self.fault, PowerLoss):
            self.fault.strike(Call("end", self.root, lambda: None), self)

    def restore(self) -> None:
        """Give `os` its functions back."""
        for name, function in self._real.items():
            setattr(os, name, function)
        attar.files._exchange = self._exchange

    def _path(self, path: Any, folder: int | None = None) -> Path | None:
        """Absolute, of a name or a descriptor; None where it isn't below the root."""
        if isinstance(path, int):
            return self._descriptors[path][0] if path in self._descriptors else None
        base = self._descriptors[folder][0] if folder in self._descriptors else Path.cwd()
        whole = Path(os.path.normpath(base / os.fsdecode(path)))
        return whole if whole.is_relative_to(self.root) else None

    def _strike(self, kind: str, path: Path, half: Callable[[], object] = lambda: None) -> None:
        if kind in self.fault.kinds:
            self.count += 1
            self.log.append(f"{kind} {path.relative_to(self.root)}")
            if self.count == self.fault.at or (self.fault.lasting and self.count > self.fault.at > 0):
                self.fault.strike(Call(kind, path, half), self)

    def _node(self, path: Path) -> File | Folder | None:
        node: File | Folder | None = self.disk
        for part in path.relative_to(self.root).parts:
            node = node.entries.get(part) if isinstance(node, Folder) else None
        return node

    def _changing(self, folder: Path) -> dict[str, File | Folder]:
        """A new version of the entries of a folder of the model, for the caller to change."""
        node = self._node(folder)
        assert isinstance(node, Folder), folder
        node.versions.append(dict(node.entries))
        return node.entries

    def _entry(self, path: Path, node: File | Folder | None) -> None:
        """Put `node` at `path` in the model; None takes away what is there."""
        if self.modelled:
            entries = self._changing(path.parent)
            entries.pop(path.name, None)
            if node is not None:
                entries[path.name] = node

    def _os_open(self, path, flags, mode=0o777, *, dir_fd=None):
        whole = self._path(path, dir_fd)
        if whole is None:
            return self._real["open"](path, flags, mode, dir_fd=dir_fd)
        new = bool(flags & os.O_CREAT) and not os.path.lexists(whole)
        if new:
            self._strike("create", whole)
        descriptor = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if new:
            self._entry(whole, File(b""))
        node = self._node(whole)
        if flags & os.O_TRUNC and isinstance(node, File):
            node.data = b""
        self._descriptors[descriptor] = whole, node
        return descriptor

    def _os_close(self, descriptor):
        self._descriptors.pop(descriptor, None)
        self._real["close"](descriptor)

    def _os_write(self, descriptor, data):
        whole = self._path(descriptor)

        def write(part) -> int:
            count = self._real["write"](descriptor, part)
            node = self._descriptors.get(descriptor, (None, None))[1]
            if isinstance(node, File):
                node.data += bytes(part[:count])
            return count

        if whole is not None:
            self._strike("write", whole, lambda: write(data[: len(data) // 2]))
        return write(data)

    def _os_fsync(self, descriptor):
        whole = self._path(descriptor)
        if whole is not None:
            self._strike("sync", whole)
        # The disk itself is spared: what counts is what was asked of it.
        node = self._descriptors.get(descriptor, (None, None))[1]
        if isinstance(node, File):
            node.synced = node.data
        elif node is not None:
            node.versions = [node.entries]

    def _os_rename(self, old, new, *, src_dir_fd=None, dst_dir_fd=None):
        source, target = self._path(old, src_dir_fd), self._path(new, dst_dir_fd)
        if source is not None and target is not None:
            self._strike("rename", target)
        self._real["replace"](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if self.modelled and source is not None and target is not None:
            assert source.parent == target.parent, "the model knows renames within a folder only, as they are atomic"
            entries = self._changing(target.parent)
            entries[target.name] = entries.pop(source.name)

    def exchange(self, one, other) -> bool:
        """Stands in for `attar.files._exchange`, which asks the C library."""
        first, second = self._path(one), self._path(other)
        assert first is not None and second is not None
        self._strike("rename", second)
        swapped = self._exchange(one, other)
        if swapped and self.modelled:
            entries = self._changing(second.parent)
            entries[first.name], entries[second.name] = entries[second.name], entries[first.name]
        return swapped

    def _os_mkdir(self, path, mode=0o777, *, dir_fd=None):
        whole = self._path(path, dir_fd)
        if whole is not None and not os.path.lexists(whole) and whole.parent.is_dir():
            self._strike("mkdir", whole)
        self._real["mkdir"](path, mode, dir_fd=dir_fd)
        if whole is not None:
            self._entry(whole, Folder())

    def _os_unlink(self, path, *, dir_fd=None):
        self._delete("unlink", path, dir_fd)

    def _os_rmdir(self, path, *, dir_fd=None):
        self._delete("rmdir", path, dir_fd)

    def _delete(self, kind: str, path, folder: int | None) -> None:
        whole = self._path(path, folder)
        if whole is not None and os.path.lexists(whole):
            self._strike(kind, whole)
        self._real[kind](path, dir_fd=folder)
        if whole is not None:
            self._entry(whole, None)

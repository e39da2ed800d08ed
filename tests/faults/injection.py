"""Faults on purpose, SQLite's way: count the calls that change the disk below a folder, and let the k-th go wrong.

A `Layer` stands between Python and the disk, in a process of its own that ends afterwards; a `Fault` says which call
goes wrong, and how. Calls that C libraries make by themselves (SQLite's) pass unseen.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
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
    """A call that is about to change the disk; `half` does half of it (of a write: a file takes any number of bytes)."""

    kind: str
    path: str
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
        named = [] if call.kind in ("write", "sync") else [call.path]  # those know descriptors only
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
        for entry in os.scandir(layer.root):
            shutil.rmtree(entry) if entry.is_dir() else os.unlink(entry)
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

    def changing(self) -> dict[str, File | Folder]:
        """A new version's entries, for the caller to change."""
        self.versions.append(dict(self.entries))
        return self.versions[-1]


Tree = dict[str, Any]  # bytes or a Tree under each name


def read_tree(path: str | os.PathLike[str]) -> Tree:
    """All files below a folder."""
    tree: Tree = {}
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_dir():
            tree[entry.name] = read_tree(entry.path)
        else:
            with open(entry.path, "rb") as file:
                tree[entry.name] = file.read()
    return tree


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
        kept = len(os.path.commonprefix([file.data, file.synced]))
        new = file.data[kept:]
        cut = generator.randint(0, len(new))
        tails = [new, new[:cut], new[:cut] + bytes(len(new) - cut), new[:cut] + generator.randbytes(len(new) - cut)]
        return generator.choice([file.synced, *(file.data[:kept] + tail for tail in tails)])

    return names(folder)


def _write_out(tree: Tree, folder: str) -> None:
    for name, x in tree.items():
        path = os.path.join(folder, name)
        if isinstance(x, bytes):
            with open(path, "wb") as file:
                file.write(x)
        else:
            os.mkdir(path)
            _write_out(x, path)


class Layer:
    """Puts itself in the place of `os`'s functions, for what lies below `root`, and asks `fault` at each call.

    With `modelled` it keeps a model of the disk, which `PowerLoss` needs.
    """

    def __init__(self, root: str | os.PathLike[str], fault: Fault, *, modelled: bool = False):
        self.root = os.path.realpath(root)
        self.fault = fault
        self.count = 0
        self.log: list[str] = []
        self.modelled = modelled or isinstance(fault, PowerLoss)
        self.disk = _durable(read_tree(self.root)) if self.modelled else Folder()
        self._descriptors: dict[int, tuple[str, File | Folder | None]] = {}
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

    def _path(self, path: Any, folder: int | None = None) -> str | None:
        """Absolute, or None where it isn't below the root."""
        if isinstance(path, int):
            return self._descriptors.get(path, (None, None))[0]
        base = os.getcwd() if folder is None else self._descriptors.get(folder, ("/", None))[0]
        whole = os.path.normpath(os.path.join(base, os.fsdecode(path)))
        return whole if whole.startswith(self.root + os.sep) else self.root if whole == self.root else None

    def _strike(self, kind: str, path: str, half: Callable[[], object] = lambda: None) -> None:
        if kind in self.fault.kinds:
            self.count += 1
            self.log.append(f"{kind} {os.path.relpath(path, self.root)}")
            if self.count == self.fault.at or (self.fault.lasting and self.count > self.fault.at > 0):
                self.fault.strike(Call(kind, path, half), self)

    def _node(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self.disk
        for part in os.path.relpath(path, self.root).split(os.sep) if path != self.root else ():
            node = node.entries.get(part) if isinstance(node, Folder) else None
        return node

    def _entry(self, path: str, node: File | Folder | None) -> None:
        """Put `node` at `path` in the model; None takes away what is there."""
        if self.modelled:
            folder = self._node(os.path.dirname(path))
            assert isinstance(folder, Folder), path
            entries = folder.changing()
            entries.pop(os.path.basename(path), None)
            if node is not None:
                entries[os.path.basename(path)] = node

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
            node = self._descriptors.get(descriptor, ("", None))[1]
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
        node = self._descriptors.get(descriptor, ("", None))[1]
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
            parent, place = self._node(os.path.dirname(source)), self._node(os.path.dirname(target))
            assert isinstance(parent, Folder) and parent is place, (
                "a rename is atomic in the model within a folder only"
            )
            entries = parent.changing()
            entries[os.path.basename(target)] = entries.pop(os.path.basename(source))

    def exchange(self, one, other) -> bool:
        """Stands in for `attar.files._exchange`, which asks the C library."""
        first, second = self._path(one), self._path(other)
        assert first is not None and second is not None
        self._strike("rename", second)
        swapped = self._exchange(one, other)
        if swapped and self.modelled:
            entries = self._node(os.path.dirname(first)).changing()
            names = os.path.basename(first), os.path.basename(second)
            entries.update(zip(names, (entries[names[1]], entries[names[0]]), strict=True))
        return swapped

    def _os_mkdir(self, path, mode=0o777, *, dir_fd=None):
        whole = self._path(path, dir_fd)
        if whole is not None and not os.path.lexists(whole) and os.path.isdir(os.path.dirname(whole)):
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

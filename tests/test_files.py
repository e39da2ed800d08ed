"""Writing whole files or nothing, and names that are safe as folders."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attar.files import cache_folder, digest, safe_name, safe_names, sha256, write_atomic, write_bytes, write_text


def test_what_is_written_is_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_text(path, "grün")
    assert path.read_bytes() == "grün".encode()
    write_bytes(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_temporary(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fill(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(path, fill)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", [1, 2])
def test_a_failing_fsync_leaves_a_whole_file(tmp_path, monkeypatch, call: int):
    """The first fsync comes before the rename, the second after it."""
    path = tmp_path / "file"
    path.write_text("old")
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        write_text(path, "new")
    assert path.read_text() == ("old", "new")[call - 1]
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_on_disk_before_its_name_is_and_the_name_after(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(os.fstat(descriptor).st_ino))
    write_text(tmp_path / "file", "new")
    assert events == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_hashes_are_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    assert digest("a", 1) != digest("a1") and digest(1) != digest("1") and len(digest()) == 64


RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}


@given(st.text(max_size=300))
@example("../../x")
@example("con.txt")
@example("😀")
@example("中" * 200)
@example("𠀀" * 200)
@example("a" * 79 + ".b")
@example("..")
def test_a_safe_name_is_one_harmless_part_of_a_path(name: str):
    safe = safe_name(name)
    assert safe and len(safe.encode()) <= 81
    assert not set(safe) & set('/\\:*?"<>|=@ \0\n\t')
    assert safe[0] not in ".-" and safe[-1] not in ". "
    assert safe.partition(".")[0].lower() not in RESERVED
    assert safe_name(safe) == safe


def test_plain_names_stay_as_they_are():
    for name in ("n01440764", "golden_retriever", "10", "été", "a-b.c"):
        assert safe_name(name) == name


@given(st.lists(st.sampled_from(["a", "A", "a-2", "a/2", "b", "con", "😀", "💣", "", ".", "class"]), max_size=9))
def test_safe_names_are_distinct_also_where_case_is_ignored(names: list[str]):
    safe = safe_names(tuple(names))
    assert len({name.lower() for name in safe}) == len(names)


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTAR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ATTAR_CACHE")
    assert cache_folder().name == "attar"

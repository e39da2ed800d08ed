"""Writing whole files or nothing, and names that are safe as folders."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import attar.files
from attar.errors import FileError
from attar.files import (
    append_line,
    cache_folder,
    digest,
    make_folder,
    replace_folder,
    safe_name,
    safe_names,
    sha256,
    sweep,
    temporary_folder,
    write_atomic,
    write_bytes,
    write_text,
)


def test_what_is_written_is_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_text(path, "grün")
    assert path.read_bytes() == "grün".encode()
    write_bytes(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert list(path.parent.iterdir()) == [path]


def test_parts_are_written_one_after_the_other(tmp_path):
    write_atomic(tmp_path / "file", b"ab", memoryview(b"cd"), memoryview(np.arange(3, dtype="<u2")), b"")
    assert (tmp_path / "file").read_bytes() == b"abcd\0\0\1\0\2\0"
    write_atomic(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    write_atomic(tmp_path / "file", b"0123456", b"789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(descriptor, data):
        raise error

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(type(error)):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("write", [write_text, append_line])
def test_a_full_disk_says_what_is_needed_and_what_is_free(tmp_path, monkeypatch, number: int, write):
    def fail(descriptor, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=7_001))
    with pytest.raises(FileError, match=r"no room for .*file: 12,34\d bytes are needed and 7,001 free"):
        write(tmp_path / "file", "x" * 12_345)


def test_lines_are_added_and_a_folder_is_made_with_those_above_it(tmp_path):
    make_folder(tmp_path / "a" / "b")
    for line in ("one", "zwölf"):
        append_line(tmp_path / "a" / "b" / "log", line)
    assert (tmp_path / "a" / "b" / "log").read_text(encoding="utf-8") == "one\nzwölf\n"


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchange: bool):
    if not exchange:  # as on file systems that can't
        monkeypatch.setattr(attar.files, "_exchange", lambda one, other: False)
    for number in range(3):
        new = temporary_folder(tmp_path / "set")
        write_text(new / "part" / "file", str(number))
        replace_folder(new, tmp_path / "set")
        assert [path.name for path in tmp_path.iterdir()] == ["set"]
        assert (tmp_path / "set" / "part" / "file").read_text() == str(number)


@pytest.mark.skipif(sys.platform != "linux", reason="a system call of Linux")
def test_folders_are_exchanged_in_one_step_and_a_missing_one_is_not(tmp_path):
    for name in "ab":
        write_text(tmp_path / name / "file", name)
    assert attar.files._exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "file").read_text() for name in "ab"] == ["b", "a"]
    assert not attar.files._exchange(tmp_path / "a", tmp_path / "c") and (tmp_path / "a").is_dir()


def test_a_sweep_takes_what_killed_processes_left_a_day_ago(tmp_path, monkeypatch):
    old_set = temporary_folder(tmp_path / "set").with_suffix(".old")
    for leftover in (temporary_folder(tmp_path / "set"), old_set, temporary_folder(tmp_path / "s*t")):
        write_text(leftover / "file", "x")
        os.utime(leftover, (1, 1))  # its content is ancient; what counts is when it stepped aside
    (tmp_path / ".set.note").write_text("mine")
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    monkeypatch.setattr(time, "time", lambda: os.stat(tmp_path).st_ctime + 25 * 3600)  # noqa: PTH116
    sweep(tmp_path, "s*t")
    assert len(list(tmp_path.iterdir())) == 3
    sweep(tmp_path, "set")
    assert [path.name for path in tmp_path.iterdir()] == [".set.note"]


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

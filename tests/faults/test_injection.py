"""The harness itself: it sees every call, and it catches those who write carelessly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attar.files import append_line, replace_folder, write_text
from faults.children import Child, Outcome, run
from faults.injection import Fail, Kill, Layer, Nothing, PowerLoss, read_tree, seen

OLD, NEW = "old" * 50, "new" * 50


def put(path: Path, text: str, *, beside: bool = True, sync_file: bool = True, sync_folder: bool = True) -> None:
    """What write_atomic does, with steps to leave out."""
    place = path.with_name("temporary") if beside else path
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, text.encode())
    if sync_file:
        os.fsync(descriptor)
    os.close(descriptor)
    if beside:
        os.replace(place, path)  # noqa: PTH105
    if sync_folder:
        descriptor = os.open(path.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def after(folder: Path, fault, **careless: bool) -> str:
    """What is in a file, once the fault has hit its being written."""
    (folder / "file").write_text(OLD)

    def work() -> None:
        layer = Layer(folder, fault)
        layer.install()
        put(folder / "file", NEW, **careless)
        layer.end()

    assert run(work).killed
    return (folder / "file").read_bytes().decode("latin-1")


def every(folder: Path, fault, **careless: bool) -> set[str]:
    """What may be in a file, whichever call the fault hits."""
    found = set()
    for number in range(1, 6):
        try:
            found.add(after(folder, fault(number), **careless))
        except AssertionError:
            break
    return found


def test_the_careful_writer_leaves_old_or_new(tmp_path):
    assert every(tmp_path, Kill) == {OLD, NEW}
    for draw in range(8):
        assert every(tmp_path, lambda number, draw=draw: PowerLoss(number, draw)) <= {OLD, NEW}
    assert after(tmp_path, PowerLoss(5, 0)) == NEW


def test_one_who_writes_in_place_is_caught_by_a_kill(tmp_path):
    assert not every(tmp_path, Kill, beside=False) <= {OLD, NEW}


def test_one_who_does_not_sync_the_file_is_caught_by_a_power_loss(tmp_path):
    assert "" in every(tmp_path, lambda number: PowerLoss(number, 1), sync_file=False)
    draws = set().union(
        *(every(tmp_path, lambda n, draw=draw: PowerLoss(n, draw), sync_file=False) for draw in range(9))
    )
    assert any(text not in (OLD, NEW, "") for text in draws)


def test_one_who_does_not_sync_the_folder_is_caught_by_a_power_loss(tmp_path):
    assert after(tmp_path, PowerLoss(4, 0), sync_folder=False) == OLD


def test_the_layer_sees_and_numbers_every_call(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("x")

    def work():
        layer = Layer(tmp_path, Nothing(), modelled=True)
        layer.install()
        write_text(tmp_path / "new" / "file", "text")
        append_line(tmp_path / "there" / "log", "line")
        replace_folder(tmp_path / "new", tmp_path / "there")
        (tmp_path / "there" / "file").unlink()
        return layer.count, layer.log, seen(layer.disk)

    count, log, disk = run(work).value
    assert disk == read_tree(tmp_path) == {"there": {}}
    assert count == len(log) and log[0] == "mkdir new" and "write there/log" in log and log[-1] == "unlink there/file"
    assert sum(call.startswith("rename") for call in log) == 3


def test_errors_come_once_or_last(tmp_path):
    def work(fault) -> list[str]:
        layer = Layer(tmp_path, fault)
        layer.install()
        found = []
        for number in range(4):
            try:
                (tmp_path / str(number)).mkdir()
                found.append("made")
            except OSError as error:
                found.append(error.strerror)
        layer.restore()
        for folder in tmp_path.iterdir():
            folder.rmdir()
        return found

    assert run(lambda: work(Fail(2, 28))).value == ["made", "No space left on device", "made", "made"]
    assert run(lambda: work(Fail(3, 30, lasting=True))).value == ["made", "made", *2 * ["Read-only file system"]]


def test_a_child_prints_returns_raises_and_is_killed():
    assert run(lambda: print("said") or 7) == Outcome(False, 7, "said\n", "")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(lambda: 1 / 0)
    child = Child(lambda: os.read(os.pipe()[0], 1))
    child.kill()
    assert child.wait().killed

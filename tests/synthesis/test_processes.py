"""Several processes under torchrun: the same images as one makes; one that dies; others that continue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attar import processes
from attar.tensors import read_tensors
from small import coloured, save_npz

HERE = Path(__file__).parent
RUN = ["--backbone", "py:small:network", "--steps", "12", "--ipc", "2", "--set", "grow_every=3", "--out"]


def launched(*words: object, number: int = 2, options: tuple[str, ...] = (), **environment: str):
    """A command under torchrun, or in one plain process."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", *options]
    command = [sys.executable, *(start if number > 1 else []), *map(str, words)]
    known = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, env=known, capture_output=True, text=True, timeout=240, check=False)


def pixels(out: Path) -> np.ndarray:
    return np.stack([np.array(Image.open(path)) for path in sorted(out.glob("images/*/*.png"))]).astype(int)


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Path:
    return save_npz(coloured(7), tmp_path_factory.mktemp("data") / "train.npz")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, train) -> np.ndarray:
    out = tmp_path_factory.mktemp("alone") / "x.attar"
    assert launched("-m", "attar", "distill", train, *RUN, out, number=1).returncode == 0
    return pixels(out)


def test_two_processes_take_the_steps_of_one(tmp_path):
    """Also where only one of them lacks memory, so that it works in chunks and the other doesn't."""
    found = {}
    for number in (1, 2):
        ended = launched(HERE / "several.py", "exact", tmp_path / f"{number}.safetensors", number=number)
        assert ended.returncode == 0, ended.stderr
        found[number] = read_tensors(tmp_path / f"{number}.safetensors")[0]
    one, two = found[1], found[2]
    assert one.keys() == two.keys() and one["sfm.images"].shape == (15, 3, 17, 17)
    for name in ("means", "within"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-12, atol=1e-14)
    for name in ("batch", "tiny"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)  # float32, in other portions
    for name in ("labels", "sample", "sampled"):
        assert torch.equal(two[name], one[name])
    for name in one.keys() - {"means", "within", "batch", "tiny", "labels", "sample", "sampled"}:
        torch.testing.assert_close(two[name], one[name], rtol=1e-9, atol=1e-9)


def test_a_rank_that_is_killed_ends_in_a_sentence_and_one_process_finishes(tmp_path, train, alone):
    out, marker = tmp_path / "x.attar", tmp_path / "marker"
    words = (HERE / "several.py", "mortal", "distill", train, *RUN, out)
    ended = launched(*words, MARKER=str(marker))
    assert ended.returncode != 0 and marker.exists() and not out.exists()
    assert "attar: Another process of this job has ended" in ended.stderr
    assert "continues from the last checkpoint" in ended.stderr
    finished = launched("-m", "attar", "distill", train, *RUN, out, number=1)
    assert finished.returncode == 0, finished.stderr
    assert np.abs(pixels(out) - alone).max() <= 1


def test_torchrun_restarts_what_was_killed(tmp_path, train, alone):
    out, marker = tmp_path / "x.attar", tmp_path / "marker"
    words = (HERE / "several.py", "mortal", "distill", train, *RUN, out, "--restart")
    ended = launched(*words, options=("--max-restarts=1",), MARKER=str(marker))
    assert ended.returncode == 0 and marker.exists(), ended.stderr
    assert "Continuing after step 7 of 12" in ended.stderr  # --restart begins afresh once, not after each kill
    assert np.abs(pixels(out) - alone).max() <= 1


def test_what_one_process_began_two_finish(tmp_path, train, alone):
    out = tmp_path / "x.attar"
    begun = launched(HERE / "several.py", "interrupted", "distill", train, *RUN, out, number=1)
    assert begun.returncode == 130 and not out.exists()
    ended = launched("-m", "attar", "distill", train, *RUN, out, "--json")
    assert ended.returncode == 0 and "Continuing after step 6 of 12" in ended.stderr
    assert ended.stdout.count('"sets"') == 1  # one process speaks
    assert np.abs(pixels(out) - alone).max() <= 1


def test_processes_that_do_not_see_one_folder_are_told(tmp_path, train):
    """As on two machines whose disks are their own: each has another working folder here."""
    words = ("-m", "attar", "distill", train, *RUN, "x.attar")
    script = tmp_path / "apart.py"
    script.write_text(
        "import os, sys, runpy\n"
        "folder = os.environ['HOME'] + '/' + os.environ['RANK']\n"
        "os.makedirs(folder, exist_ok=True)\n"
        "os.chdir(folder)\n"
        "sys.argv = ['attar', *sys.argv[1:]]\n"
        "runpy.run_module('attar', run_name='__main__')\n"
    )
    ended = launched(script, *words[2:], HOME=str(tmp_path))
    assert ended.returncode != 0 and "Not every process of this job sees" in ended.stderr


def test_statistics_under_torchrun_are_those_of_one_process(tmp_path, train):
    words = ("-m", "attar", "features", train, "--backbone", "py:small:network", "--scatter", "pooled", "--out")
    found = []
    for number in (1, 2):
        ended = launched(*words, tmp_path / f"{number}.safetensors", number=number, ATTAR_CACHE=f"{tmp_path}/{number}")
        assert ended.returncode == 0, ended.stderr
        found.append(read_tensors(tmp_path / f"{number}.safetensors")[0])
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-12, atol=1e-12)


def test_more_processes_than_images_are_one_sentence(tmp_path, train):
    words = ("-m", "attar", "distill", train, *RUN, tmp_path / "x.attar", "--ipc", "1")
    ended = launched(*words, number=4)
    assert ended.returncode != 0 and "4 processes have 3 images to share" in ended.stderr


@pytest.mark.parametrize(("things", "number"), [(0, 1), (1, 3), (7, 3), (11, 11), (1000, 7)])
def test_shares_are_blocks_that_cover_everything(monkeypatch, things: int, number: int):
    monkeypatch.setattr(processes, "count", lambda: number)
    shares = [processes.share(things, process=process) for process in range(number)]
    assert [thing for own in shares for thing in own] == list(range(things))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_is_exchanged():
    rows = torch.arange(6).reshape(3, 2)
    assert processes.gather(rows, things=3) is rows and processes.gather_at_first(rows) is rows
    assert processes.total(rows) is rows and processes.is_first() and processes.any_says(True)
    processes.wait()

"""Several processes under torchrun share the blocks of a recovery, and make the images that one makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

import attar
from attar.backbones.architectures import make_classifier
from attar.backbones.squeezed import write_squeezed
from attar.compression.recover import recover
from attar.compression.recovery_settings import choose_recovery
from frozen import squeezed
from small import coloured, save_npz

TESTS = Path(__file__).parents[1]


def test_two_processes_make_the_images_of_one(tmp_path):
    """Of three blocks one process has one, the other two."""
    made = make_classifier("convnet3", 3, side=8)
    with torch.no_grad():
        made(torch.randn(11, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    network = write_squeezed(tmp_path / "net.safetensors", made, squeezed().record, frozenset())
    train = save_npz(coloured(5), tmp_path / "train.npz")
    alone = recover(attar.open(str(train)), network, tmp_path / "1", settings=choose_recovery(steps=13, ipc=3, block=3))
    words = ["--method", "scdd", "-b", network.name, "--steps", 13, "--ipc", 3, "--set", "block=3"]
    launched("distill", train, *words, "-o", tmp_path / "2")
    together = attar.load(tmp_path / "2")
    assert alone.images.tobytes() == together.images.tobytes() and len(alone) == 9
    assert alone.manifest.settings == together.manifest.settings
    assert alone.manifest.scores["mismatch"] == together.manifest.scores["mismatch"]


def launched(*words: object) -> None:
    """`attar WORDS` in two processes."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "attar"]
    known = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *several, *map(str, words)]
    ended = subprocess.run(command, env=known, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr

"""Bytes that changed on the disk: a cache is made again, a checkpoint and a set are refused, in one sentence."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import attar
from attar.distilled import write
from attar.errors import ArtefactError, FileError, SettingsError
from attar.features import extract
from attar.files import cache_folder
from attar.run import Run
from attar.synthesis.views import CentreView, ViewPolicy
from attar.tensors import read_tensors, write_tensors
from faults.phases import OUT, PHASES, Phase, artefact
from small import coloured, manifest, small_backbone

SETTINGS = {"steps": 4, "lr": 0.5, "data": "pets", "flip": True}


def flipped(data: bytes, every: int = 1) -> Iterator[bytes]:
    """`data` with one bit turned over, in each byte or in every so manieth."""
    for place in range(0, len(data), every):
        yield data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]


def cut(data: bytes) -> Iterator[bytes]:
    """`data` truncated: to nothing, within and behind the length of a header, within header and content, by a byte."""
    for length in sorted({0, 1, 7, 8, 9, len(data) // 4, len(data) // 2, len(data) - 64, len(data) - 1}):
        yield data[: max(0, length)]


def damages(file: Path, every: int = 1) -> Iterator[None]:
    """Damage the file in one way after another; it is whole again at the end."""
    whole = file.read_bytes()
    for damaged in (*flipped(whole, every), *cut(whole), whole + b"\0"):
        file.write_bytes(damaged)
        yield
    file.write_bytes(whole)


def test_no_damaged_file_of_tensors_is_read(tmp_path):
    write_tensors(tmp_path / "x", {"values": torch.arange(15.0).reshape(5, 3), "b": torch.ones(2)}, {"step": "3"})
    for _ in damages(tmp_path / "x"):
        with pytest.raises(FileError, match="damaged"):
            read_tensors(tmp_path / "x")


def test_damaged_shards_are_made_again_without_a_word():
    source, backbone, cut = coloured(3), small_backbone(), CentreView(ViewPolicy(canvas=8, crop=8))
    whole = extract(source, backbone, cut).values
    (shard,) = cache_folder().rglob("*.safetensors")
    content = shard.read_bytes()
    for _ in damages(shard, every=61):
        assert torch.equal(extract(source, backbone, cut).values, whole)
        assert shard.read_bytes() == content


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    run = Run.begin(tmp_path / "x", SETTINGS)
    run.save_checkpoint(2, {"canvas": torch.rand(3, 5), "step": torch.tensor(7.0)}, images=3)
    for path in (*(run.folder / "checkpoint").iterdir(), run.folder / "checkpoint.json"):
        for _ in damages(path):
            with pytest.raises(SettingsError, match="damaged") as caught:
                run.load_checkpoint()
            assert "--restart" in caught.value.hint


def test_damaged_settings_are_one_sentence_or_mean_the_same(tmp_path):
    run = Run.begin(tmp_path / "x", SETTINGS)
    run.save_checkpoint(2, {"canvas": torch.rand(3, 5)}, images=3)
    for _ in damages(tmp_path / "x.run" / "settings.toml"):
        try:
            Run.begin(tmp_path / "x", SETTINGS)
        except SettingsError:
            continue
        assert run.settings() == SETTINGS and run.load_checkpoint()[0] == 2


def test_a_damaged_note_of_places_is_passed_over(tmp_path):
    run = Run.begin(tmp_path / "x", SETTINGS)
    run.note_place(train="photos/grün", chunk="12", device="cpu")
    for _ in damages(tmp_path / "x.run" / "places.toml"):
        for name in ("train", "chunk", "device"):
            assert run.place(name) is None or isinstance(run.place(name), str)


def test_a_damaged_log_loses_lines_and_nothing_else(tmp_path):
    run = Run.begin(tmp_path / "x", SETTINGS)
    for step in range(4):
        run.log(step, {"loss": step / 3})
    log = tmp_path / "x.run" / "log.jsonl"
    lines = log.read_text().splitlines()
    for damaged in flipped(log.read_bytes()):
        log.write_bytes(damaged)
        run.forget_log_from(9)
        kept = log.read_text().splitlines()
        assert all(isinstance(json.loads(line), dict) for line in kept)
        assert len(set(lines) & set(kept)) >= len(lines) - 2  # two where the break between them was hit


@pytest.fixture
def finished(tmp_path) -> Path:
    """A set as `attar.distilled.write` makes it."""
    images = np.random.default_rng(0).integers(0, 255, (3, 3, 7, 7)).astype(np.uint8)
    return write(tmp_path / OUT, images, np.arange(3), manifest=manifest(), train_hashes=[bytes(32)]).path


def test_every_damaged_file_of_a_set_is_named(finished: Path):
    for file in sorted(finished.rglob("*")):
        if file.is_file() and file.name != "attar.json":
            for _ in damages(file, every=1 + file.stat().st_size // 20):
                with pytest.raises(ArtefactError, match=file.name):
                    attar.load(finished).verify()
    attar.load(finished).verify()


def test_a_damaged_manifest_is_one_sentence_or_names_other_files(finished: Path):
    whole = attar.load(finished).manifest
    refused = passed = 0
    for _ in damages(finished / "attar.json", every=3):
        try:
            found = attar.load(finished)
            found.verify()
        except ArtefactError:
            refused += 1
            continue
        passed += 1
        assert found.manifest.files.items() <= whole.files.items()
    assert refused > passed


@pytest.mark.parametrize("file", ["checkpoint", "checkpoint.json", "settings.toml", "places.toml", "log.jsonl"])
def test_the_command_on_a_damaged_run_says_so_or_makes_the_same_set(tmp_path, file: str):
    phase: Phase = PHASES[1]
    start, work = tmp_path / "start", tmp_path / "work"
    phase.prepare(start)
    assert phase.attempt(start).code == 0
    whole = artefact(start)
    shutil.rmtree(start / OUT)
    if file == "checkpoint":
        (part,) = (start / f"{OUT}.run" / file).iterdir()
        file = f"checkpoint/{part.name}"
    size = (start / f"{OUT}.run" / file).stat().st_size
    for place, bit in zip(range(1, size, 1 + size // 3), itertools.cycle((0x80, 0x40)), strict=False):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(start, work)
        damaged = work / f"{OUT}.run" / file
        content = bytearray(damaged.read_bytes())
        content[place] ^= bit
        damaged.write_bytes(content)
        found = phase.attempt(work)
        if found.code == 0:
            assert file in ("places.toml", "log.jsonl") and artefact(work) == whole
        else:
            assert found.code == 2 and "damaged" in found.outcome.err and "Traceback" not in found.outcome.err
            assert file == "settings.toml" or file.startswith("checkpoint")

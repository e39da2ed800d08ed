"""`attar verify`: sound sets are counted, damaged ones named, runs are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from attar.distilled import write
from attar.run import Run
from small import CLASSES, manifest


def make(path: Path) -> Path:
    labels = np.arange(3).repeat(2)
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 7, 7), dtype=np.uint8)
    return write(path, images, labels, manifest=manifest(CLASSES)).path


def test_sound_sets_are_counted(tmp_path, attar):
    first, second = make(tmp_path / "a.attar"), make(tmp_path / "b.attar")
    code, shown, err = attar("verify", first, second)
    assert code == 0 and err == ""
    assert shown == f"{first}: 9 files, all as written\n{second}: 9 files, all as written\n"


def test_a_damaged_set_is_told_and_the_sound_one_still_counted(tmp_path, attar):
    sound, damaged = make(tmp_path / "a.attar"), make(tmp_path / "b.attar")
    (damaged / "preview.png").write_bytes(b"")
    (damaged / "images" / "cow" / "cow-0.png").unlink()
    code, shown, err = attar("verify", damaged, sound)
    assert code == 2 and shown == f"{sound}: 9 files, all as written\n"
    told = "(altered: preview.png; missing: images/cow/cow-0.png)"
    assert err == f"attar: {damaged} is not as it was written {told}.\nRestore the folder or distil again.\n"


def test_several_damaged_sets_are_all_told(tmp_path, attar):
    sets = [make(tmp_path / name) for name in ("a.attar", "b.attar", "c.attar")]
    for each in sets[:2]:
        (each / "README.md").write_text("")
    code, _, err = attar("verify", *sets)
    assert code == 2 and err.startswith("attar: 2 of 3 are not as they were written:\n")
    assert f"{sets[0]} is not" in err and f"{sets[1]} is not" in err and str(sets[2]) not in err


def test_json_holds_every_set(tmp_path, attar):
    sound, damaged = make(tmp_path / "a.attar"), make(tmp_path / "b.attar")
    (damaged / "README.md").write_text("")
    code, shown, _ = attar("verify", sound, damaged, "--json")
    rows = json.loads(shown)["sets"]
    assert code == 2 and [(row["path"], row["ok"]) for row in rows] == [(str(sound), True), (str(damaged), False)]
    assert "altered: README.md" in rows[1]["found"]


def test_what_is_no_set_is_said(tmp_path, attar):
    code, shown, err = attar("verify", tmp_path)
    assert code == 2 and shown == "" and "is not a distilled set" in err


def test_runs_are_read(tmp_path, attar):
    run = Run.begin(tmp_path / "x", {"steps": 3})
    assert attar("verify", run.folder)[:2] == (0, f"{run.folder}: no checkpoint yet\n")
    run.save_checkpoint(2, {"canvas": torch.ones(3)}, images=3)
    assert attar("verify", run.folder)[:2] == (0, f"{run.folder}: its checkpoint after step 2 is whole\n")
    (file,) = (run.folder / "checkpoint").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    code, _, err = attar("verify", run.folder)
    assert code == 2 and "checkpoint.json is damaged" in err

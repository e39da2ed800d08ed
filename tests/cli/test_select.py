"""`attar distill --method` with the methods that choose real images."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from attar import load
from attar.selection import SELECTIONS
from small import coloured

SMALL = ["--backbone", "py:small:network"]


@pytest.fixture
def train(tmp_path) -> Path:
    source = coloured(7)
    images = np.stack([image for _, image in source.read(range(len(source)))])
    np.savez(tmp_path / "train.npz", images=images, labels=source.labels, names=np.array(source.classes))
    return tmp_path / "train.npz"


def test_a_selection_is_made_shown_and_named_for_the_next_command(tmp_path, attar, train):
    out = tmp_path / "herded"
    code, shown, err = attar("distill", train, *SMALL, "--method", "herding", "--ipc", 2, "--out", out)
    made = load(out)
    assert code == 0 and shown == "" and made.manifest.method == "herding" and len(made) == 6
    assert ": 6 images" in err and "cosine" not in err and f"Next: attar evaluate {shlex.quote(str(out))}" in err
    code, _, err = attar("distill", train, *SMALL, "--method", "herding", "--ipc", 2, "--out", out)
    assert code == 0 and "nothing to do" in err.replace("\n", " ")


@pytest.mark.parametrize("method", ["neighbours", "jpeg"])
def test_a_set_can_be_like_another(tmp_path, attar, train, method: str):
    assert attar("distill", train, *SMALL, "--method", "random", "--ipc", 2, "--out", tmp_path / "a")[0] == 0
    code, _, err = attar(
        "distill", train, *SMALL, "--method", method, "--like", tmp_path / "a", "--out", tmp_path / "b"
    )
    assert code == 0 and load(tmp_path / "b").manifest.method == method
    assert ("as JPEG at quality" in err) == (method == "jpeg")


def test_seeds_make_several_draws(tmp_path, attar, train):
    code, shown, _ = attar(
        "distill", train, *SMALL, "--method", "random", "--seed", 5, "--seeds", 3, "--out", tmp_path / "x", "--json"
    )
    made = json.loads(shown)["sets"]
    assert code == 0 and [one["seeds"]["distill"] for one in made] == [5, 6, 7]
    assert len({tuple(load(one["path"]).images.ravel().tolist()) for one in made}) == 3


def test_without_a_seed_the_command_chooses_as_python_does(tmp_path, attar, train):
    attar("distill", train, *SMALL, "--method", "random", "--out", tmp_path / "x")
    assert load(tmp_path / "x").manifest.seeds == {"distill": 0}


def test_classes_limit_and_normalise_count_for_selections_too(tmp_path, attar, train):
    options = ["--classes", "ant,cow", "--limit", 4, "--normalise", "imagenet"]
    code, _, err = attar("distill", train, *SMALL, "--method", "kmeans", *options, "--out", tmp_path / "x")
    made = load(tmp_path / "x").manifest
    assert code == 0 and made.classes == ["ant", "cow"] and made.train_images == 8
    assert "--classes ant,cow" in err and "--normalise imagenet" in err


MISTAKES = {
    "steps": (["--steps", 5, "--lr", 0.1], "Herding takes no --steps, --lr."),
    "views": (["--views", 2], "Herding takes no --views."),
    "a setting": (["--set", "noise=0.5"], "Herding takes no --set."),
    "a settings file": (["--settings", "mine.toml"], "Herding takes no --settings."),
    "a preset": (["--preset", "fast"], "Herding takes no --preset."),
    "memory": (["--memory", "1GB", "--chunk", 3], "Herding takes no --memory, --chunk."),
    "groups": (["--groups", "a.csv"], "Herding takes no --groups."),
    "two backbones": (SMALL, "Herding looks through one backbone, not 2."),
    "seeds": (["--seeds", 2], "Herding chooses the same images for every seed."),
    "like": (["--like", "SET"], "Herding has no use for --like."),
    "nothing to be like": (["--method", "neighbours"], "need a distilled set to be like."),
    "too many": (["--ipc", 8], "Class ant has 7 images, fewer than the 8 asked for."),
    "unknown selection": (["--method", "hearding"], "There is no method 'hearding'.\nDid you mean herding?"),
    "unknown objective": (["--method", "sfm_sub"], "There is no method 'sfm_sub'.\nDid you mean sfm-sub or sfm?"),
    "like for an objective": (["--method", "sfm", "--like", "SET"], "Sfm has no use for --like."),
    "no set": (["--method", "jpeg", "--like", "nowhere"], "nowhere is not a distilled set"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_selection_does_not_take_is_one_sentence_and_nothing_written(tmp_path, attar, train, mistake: str):
    options, sentence = MISTAKES[mistake]
    if "SET" in options:
        attar("distill", train, *SMALL, "--method", "random", "--out", tmp_path / "set")
        options = [tmp_path / "set" if option == "SET" else option for option in options]
    (tmp_path / "mine.toml").write_text("steps = 7\n")
    options = [tmp_path / option if option == "mine.toml" else option for option in options]
    method = [] if "--method" in options else ["--method", "herding"]
    code, shown, err = attar("distill", train, *SMALL, *method, *options, "--out", tmp_path / "x")
    assert code == 2 and shown == "" and sentence in err and "Traceback" not in err
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.run").exists()


def test_the_help_names_every_selection(attar, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    code, shown, _ = attar("distill", "--help")
    assert code == 0 and all(method in shown for method in SELECTIONS)

"""`attar evaluate` over several backbones, and `attar inherit`."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from attar.images import ArraySource
from small import CLASSES, coloured, save_npz, write_folder

SMALL = ["--backbone", "py:small:network"]
BOTH = [*SMALL, *SMALL, "--image-size", 8, "--image-size", 12]
QUICK = ["--steps", "4", "--set", "statistics_views=0"]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def made(tmp_path, attar, train):
    """A set distilled on the first backbone of BOTH."""
    assert attar("distill", train, *SMALL, "--image-size", 8, *QUICK, "--out", tmp_path / "x")[0] == 0
    return tmp_path / "x"


def test_several_backbones_print_a_matrix_and_leave_files(tmp_path, attar, made, test_images):
    out = tmp_path / "out"
    command = [
        "evaluate",
        made,
        "--test",
        test_images,
        *BOTH,
        "-p",
        "probe-v1",
        "-p",
        "inherit-ridge-v1",
        "--out",
        out,
        "--controls",
    ]
    code, shown, err = attar(*command)
    assert code == 0, err
    assert "others" in shown and "py:small:network#2" in shown
    document = json.loads((out / "results.json").read_text())
    assert any("n/a: jpeg" in remark for remark in document["remarks"])  # a few hundred bytes of PNG hold none
    assert {row["evaluated_on"] for row in document["rows"]} == {"py:small:network", "py:small:network#2"}
    with (out / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(document["rows"])
    for name in ("probe-v1", "inherit-ridge-v1"):
        with Image.open(out / f"matrix-{name}.png") as picture:
            assert picture.width > 300
    first = (out / "log.jsonl").read_text().splitlines()
    computed = [line["cell"] for line in map(json.loads, first) if line["computed"]]
    assert len(computed) == len(set(computed)) > 40 and f"{len(computed)} cells computed" in err
    code, _, err = attar(*command)
    assert code == 0 and "0 cells computed" in err
    second = (out / "log.jsonl").read_text().splitlines()[len(first) :]
    assert len(second) == len(first) and not any(json.loads(line)["computed"] for line in second)


def test_a_classifier_is_inherited_and_predicts(tmp_path, attar, made, train):
    code, out, _ = attar("inherit", made, *BOTH)
    assert code == 0 and "py:small:network: full, " in out
    assert "py:small:network#2: inherit-ridge-v1 from py:small:network" in out
    code, out, _ = attar("inherit", made, "--train", train, *BOTH, "--json")
    heads = json.loads(out)["heads"]
    assert code == 0 and {head["protocol"] for head in heads} == {"full", "inherit-ridge-v1"}
    assert attar("verify", made)[0] == 0
    write_folder(coloured(2, seed=3), tmp_path / "photos")
    code, out, _ = attar("predict", made, tmp_path / "photos", *SMALL, "--image-size", 12)
    assert code == 0 and len(out.splitlines()) == 7


def test_inheriting_needs_the_sets_own_backbone(tmp_path, attar, made):
    code, _, err = attar("inherit", made, *SMALL, "--image-size", 12)
    assert code == 2 and "which is not among the backbones given" in err
    made.with_name("x.run").rename(tmp_path / "elsewhere")
    code, _, err = attar("inherit", made, *SMALL, "--image-size", 8)
    assert code == 2 and "--train" in err


def test_the_worst_group_is_shown(tmp_path, attar, made):
    """Half of each class' test images, those of one group, are another class' pictures."""
    test = coloured(40, seed=1)
    pictures = np.stack([image for _, image in test.read(range(120))])
    odd = np.arange(120) // 3 % 2 == 1
    shown = np.where(odd, (np.arange(120) + 1) % 120, np.arange(120))
    write_folder(ArraySource(pictures[shown], test.labels, CLASSES), tmp_path / "test")
    lines = [
        f"{CLASSES[label]}/{index:04d}.png,{'odd' if odd[index] else 'even'}" for index, label in enumerate(test.labels)
    ]
    (tmp_path / "test" / "groups.csv").write_text("file_name,place\n" + "\n".join(lines) + "\n")
    command = ["evaluate", made, "--test", tmp_path / "test", *SMALL, "--image-size", 8, "-p", "probe-v1"]
    code, out, err = attar(*command, "--groups", "groups.csv:place", "--json")
    assert code == 0, err
    full = next(row for row in json.loads(out)["rows"] if row["method"] == "full")["groups"]
    assert {score["attribute"] for score in full["scores"]} == {"even", "odd"}
    assert full["worst"] < 20 < 70 < max(score["accuracy"] for score in full["scores"])
    code, out, _ = attar(*command, "--groups", "groups.csv:place")
    assert code == 0 and "worst group" in out


def test_renamed_folders_are_refused_in_a_sentence(tmp_path, attar, train):
    big = save_npz(coloured(30), tmp_path / "big.npz")
    assert attar("distill", big, *SMALL, *QUICK, "--out", tmp_path / "y")[0] == 0
    turned = save_npz(
        ArraySource(
            np.stack([image for _, image in coloured(30, seed=1).read(range(90))]),
            np.arange(90) % 3,
            ("bee", "cow", "ant"),
        ),
        tmp_path / "turned.npz",
    )
    code, _, err = attar("evaluate", tmp_path / "y", "--test", turned, *SMALL)
    assert code == 2 and "seem to be mixed up" in err and "bee looks like ant" in err

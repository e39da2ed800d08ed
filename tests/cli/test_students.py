"""`attar evaluate` with networks trained from scratch."""

from __future__ import annotations

import json
import re

import pytest

from attar.backbones.squeezed import read_squeezed
from pupils import a_set, a_teacher


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def command(tmp_path, train, test_images) -> list[object]:
    """Students on a set, taught by a network, without a backbone."""
    a_set(tmp_path / "x")
    a_teacher(tmp_path / "t.safetensors")
    images = ["--test", test_images, "--train", train, "--device", "cpu"]
    return ["evaluate", tmp_path / "x", *images, "--student", "convnet3", "--seeds", 1]


def test_a_table_shows_the_last_epoch_and_the_best(tmp_path, attar, command):
    teacher = tmp_path / "t.safetensors"
    code, out, err = attar(*command, "-p", "soft-rded/epochs=2", "--teacher", teacher, "--out", tmp_path / "out")
    assert code == 0, err
    assert "soft-rded/epochs=2 on convnet3" in out and "best %" in out and "random" in out and "gap closed" not in out
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["method"] for row in document["rows"]} == {"sfm", "random"}
    assert document["teacher"]["fingerprint"] == read_squeezed(teacher).fingerprint
    code, out, err = attar(*command, "-p", "soft-rded/epochs=2", "--teacher", teacher, "--json")
    assert code == 0 and "0 cells computed" in err
    assert json.loads(out)["rows"] == document["rows"]


def test_several_students_make_a_matrix(attar, command):
    code, out, err = attar(*command, "--student", "cifar_resnet20", "-p", "hard-rded/epochs=1")
    assert code == 0, err
    assert "convnet3" in out and "cifar_resnet20" in out and "others" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "soft-rded"], "--teacher"),
        (["-p", "hard-rded", "-p", "probe-v1"], "--backbone"),
        (["-p", "hard-rdde"], "hard-rded"),
    ],
)
def test_what_is_missing_is_one_sentence(attar, command, words, said):
    code, _, err = attar(*command, *words)
    assert code == 2 and said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--student", "convnet3"], "probe-v1, probe-v1/std take no --student"),
        (["-p", "knn-v1", "--seeds", 3], "knn-v1 takes no --seeds"),
        (["--teacher", "t.safetensors", "--seeds", 1], "probe-v1, probe-v1/std take no --teacher, --seeds"),
    ],
)
def test_options_of_students_are_refused_without_any(tmp_path, attar, test_images, words, said):
    code, _, err = attar("evaluate", a_set(tmp_path / "x").path, "--test", test_images, "--backbone", "no", *words)
    assert (code, err) == (
        2,
        f"attar: {said}.\nName a protocol that trains students, such as -p soft-rded, or leave that out.\n",
    )


def test_three_students_are_the_default_and_their_spread_is_shown(attar, command):
    code, out, err = attar(*command[:-2], "-p", "hard-rded/epochs=1", "--json")
    assert code == 0, err
    made = next(row for row in json.loads(out)["rows"] if row["method"] == "sfm")
    assert len(made["students"]) == 3 and made["ci95"] is not None
    _, table, _ = attar(*command[:-2], "-p", "hard-rded/epochs=1")
    assert re.search(r"sfm .* [1-9]\d*\.\d +\d+\.\d to \d", table) and "or the students of a single set" in table

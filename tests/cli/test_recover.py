"""`attar distill --method scdd`, sre2l and cda: from a squeezed file to a set."""

from __future__ import annotations

import json

import pytest
import torch

from attar import load
from attar.backbones.architectures import make_classifier
from attar.backbones.squeezed import write_squeezed
from frozen import squeezed


@pytest.fixture
def network(tmp_path):
    """A squeezed file for images of 8 pixels."""
    made = make_classifier("convnet3", 3, side=8)
    with torch.no_grad():
        made(torch.randn(11, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return write_squeezed(tmp_path / "net.safetensors", made, squeezed().record, frozenset()).name


def test_images_are_recovered_shown_and_the_next_command_named(tmp_path, attar, train, network):
    out = tmp_path / "x"
    words = ["distill", train, "--method", "scdd", "--backbone", network, "--steps", 3, "--ipc", 2, "--out", out]
    code, shown, err = attar(*words, "--set", "bn_weight=0.5")
    made = load(out)
    assert code == 0 and shown == "" and made.manifest.method == "scdd" and len(made) == 6
    assert made.manifest.settings["bn_weight"] == 0.5 and made.manifest.settings["steps"] == 3
    assert "the squeezed network is right about" in " ".join(err.split())
    assert f"Next: attar evaluate {out} --test TEST_IMAGES" in err and f"--teacher {network}" in err
    code, _, err = attar(*words, "--set", "bn_weight=0.5")
    assert code == 0 and "nothing to do" in err.replace("\n", " ")


def test_a_preset_names_the_method_and_seeds_make_several_sets(tmp_path, attar, train, network):
    words = ["--preset", "scdd-cifar100", "--steps", 2, "--seed", 5, "--seeds", 2, "--out", tmp_path / "x", "--json"]
    code, shown, _ = attar("distill", train, "--backbone", network, *words)
    made = json.loads(shown)["sets"]
    assert code == 0 and [one["seeds"]["distill"] for one in made] == [5, 6]
    assert {(one["method"], one["settings"]["lr"]) for one in made} == {("scdd", 0.4)}
    assert load(made[0]["path"]).images.tobytes() != load(made[1]["path"]).images.tobytes()


MISTAKES = {
    "weights": (["--weights", "random"], "Scdd takes no --weights."),
    "sizes and memory": (["--image-size", 9, "--memory", "1GB"], "Scdd takes no --image-size, --memory."),
    "like": (["--like", "set"], "Scdd takes no --like."),
    "views": (["--views", 2], "views is no setting of method scdd."),
    "normalise": (["--normalise", "imagenet"], "normalise is no setting of method scdd."),
    "another's setting": (["--set", "w_mean=0.1"], "w_mean is no setting of method scdd."),
    "two networks": (["--backbone", "other.safetensors"], "Scdd recovers from one network, not 2."),
    "a preset of another method": (["--preset", "cda-tiny"], "Preset cda-tiny is of method cda, not scdd."),
    "a preset of another kind": (
        ["--preset", "lgm-imagenet-1k"],
        "There is no preset 'lgm-imagenet-1k' of a recovery.",
    ),
    "no squeezed network": (["--backbone", "NONE"], "There is no squeezed network"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_recovery_does_not_take_is_one_sentence_and_nothing_written(
    tmp_path, attar, train, network, mistake: str
):
    options, sentence = MISTAKES[mistake]
    backbone = [] if "NONE" in options else ["--backbone", network]
    options = [tmp_path / "nowhere" if option == "NONE" else option for option in options]
    code, shown, err = attar("distill", train, *backbone, "--method", "scdd", *options, "--out", tmp_path / "x")
    assert code == 2 and shown == "" and sentence.lower() in " ".join(err.split()).lower() and "Traceback" not in err
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.run").exists()


def test_the_presets_of_recoveries_are_listed(attar):
    code, shown, _ = attar("presets")
    assert code == 0 and "scdd-cifar100" in shown
    code, shown, _ = attar("presets", "--json")
    rows = {row["name"]: row for row in json.loads(shown)["recoveries"]}
    assert rows["cda-in1k"]["settings"]["cda"]["curriculum"] == "cosine"
    assert rows["attar"]["settings"].keys() == {"scdd", "sre2l", "cda"}

"""`attar refine`: a distilled set in, a refined one out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attar import load
from attar.distilled import write
from small import CLASSES, manifest
from tiny_diffusion import dit_pipeline, stable_diffusion

SHORT = ("--steps", 5, "--t-f", 3, "--window", "4,2", "--device", "cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny DiT of three classes, and a tiny Stable Diffusion."""
    place = tmp_path_factory.mktemp("models")
    dit_pipeline(dict(enumerate(CLASSES))).save_pretrained(place / "dit")
    stable_diffusion().save_pretrained(place / "sd")
    return place


@pytest.fixture
def distilled(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (3, 3, 7, 7), dtype=np.uint8)
    return write(tmp_path / "photos.attar", pixels, np.arange(3), manifest=manifest(ipc=1)).path


def test_a_set_is_refined_shown_and_the_next_command_named(tmp_path, attar, distilled, models):
    out = tmp_path / "x"
    words = ["refine", distilled, "--model", models / "dit", "--out", out, *SHORT, "--gamma", 0.2, "--set", "seed=5"]
    code, shown, err = attar(*words, "--json")
    made, told = load(out), " ".join(err.split())
    assert code == 0 and made.manifest.method == "diver" and len(made) == 3
    record = json.loads(shown)["sets"][0]
    assert record["path"] == str(out) and record["settings"]["gamma"] == 0.2 and record["seeds"] == {"distill": 5}
    assert (record["settings"]["window_high"], record["settings"]["window_low"]) == (4, 2)
    assert "3 images of 3 classes, 5 steps (10 passes) each" in told and "before-after.png" in told
    assert (tmp_path / "x.run" / "before-after.png").is_file()
    assert (
        f"Next: attar evaluate {distilled} {out} --protocol hard-minimax --student resnet18 --test TEST_IMAGES" in err
    )
    assert not any(word in told for word in ("%|", "it/s", "Loading", "Warning"))  # others' bars and log lines
    code, _, err = attar(*words)
    assert code == 0 and "nothing to do" in err.replace("\n", " ")
    code, _, err = attar(*words[:-1], "seed=6")
    assert code == 2 and "seed 5 -> 6" in err


def test_controls_and_images_by_prompt(tmp_path, attar, train, models):
    words = ["--model", models / "sd", *SHORT, "--replicas", 2, "--out-size", 9, "--batch", 4]
    code, _, _ = attar("refine", train, *words, "--no-si", "--no-sg", "--no-sf", "--out", tmp_path / "x")
    record = load(tmp_path / "x").manifest
    assert code == 0 and record.ipc == 10 and record.image_side == 9 and record.settings["cfg"] == 7.5
    assert [record.settings[name] for name in ("si", "sg", "sf", "vae_only")] == [False, False, False, False]
    code, _, err = attar("refine", train, "--model", models / "sd", "--vae-only", "--out", tmp_path / "y")
    assert code == 0 and load(tmp_path / "y").manifest.settings["vae_only"] and "encoded and decoded" in err


MISTAKES = {
    "a window of one number": (["--window", "40"], "--window '40' is not two numbers."),
    "a window beyond the steps": (["--window", "60,25"], "Window [60, 25] is not inside 1..50 with 60 > 25."),
    "a setting that isn't": (["--set", "gama=1"], "Gama is no setting of a refinement."),
    "no preset": (["--preset", "quick"], "There is no preset 'quick' of a refinement."),
    "a size that isn't": (["--memory", "much"], "--memory 'much' is not a size."),
    "no such device": (["--device", "tpu"], "Device 'tpu' can't be used here."),
    "variances that aren't told": (["--sigma", "learned", "--device", "cpu"], "tells no variances to learn σ from."),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_done_is_one_sentence_and_nothing_written(tmp_path, attar, distilled, models, mistake: str):
    options, sentence = MISTAKES[mistake]
    code, shown, err = attar("refine", distilled, "--model", models / "sd", *options, "--out", tmp_path / "x")
    assert code == 2 and shown == "" and sentence in " ".join(err.split()) and "Traceback" not in err
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.run").exists()


def test_weights_that_are_not_here_are_named(tmp_path, attar, distilled, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # it reads the environment at its first import, for good
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    code, _, err = attar("refine", distilled, "--out", tmp_path / "x")
    assert code == 2 and 'DIVER needs the diffusion weights "facebook/DiT-XL-2-256"' in " ".join(err.split())

"""`attar import`: from a published file to a set that other commands take."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from attar import load


@pytest.fixture
def published(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (6, 3, 5, 5))
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(6) % 3)
    return tmp_path / "set.npz"


def test_the_network_and_a_missing_file_are_told(tmp_path, attar):
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 3, 11, 11)), labels=np.arange(2))
    code, shown, _ = attar(
        "import", tmp_path / "set.npz", "--architecture", "convnet3", "--out", tmp_path / "x", "--json"
    )
    assert code == 0 and json.loads(shown)["set"]["backbones"][0]["architecture"] == "convnet3"
    code, _, err = attar("import", "nonexist", "--out", tmp_path / "y")
    assert code == 2 and err.startswith("attar: There is no file nonexist.")


def test_a_set_is_written_told_and_the_next_command_named(tmp_path, attar, published):
    words = ["import", published, "--mean", ".5,.5,.5", "--std", ".5,.5,.5", "--classes", "ant,bee,cow"]
    code, shown, err = attar(*words, "--method", "dm", "--out", tmp_path / "x", "--json")
    made = load(tmp_path / "x")
    assert code == 0 and made.classes == ("ant", "bee", "cow") and len(made) == 6
    assert "6 images of 3 classes, 5 x 5 pixels" in err and f"Next: attar evaluate {tmp_path / 'x'} --test" in err
    told = json.loads(shown)["set"]
    assert (told["path"], told["method"]) == (str(tmp_path / "x"), "dm") and "files" not in told
    assert attar("verify", tmp_path / "x")[0] == 0


def test_folders_keep_their_images_whatever_the_order_of_the_names(tmp_path, attar):
    for number, name in enumerate("abc"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (5, 5), (number,) * 3).save(tmp_path / "set" / name / "0.png")
    assert attar("import", tmp_path / "set", "--classes", "c,b,a", "--out", tmp_path / "x")[0] == 0
    made = load(tmp_path / "x")
    assert made.classes == ("c", "b", "a") and made.images[:, 0, 0, 0].tolist() == (2 - made.labels).tolist()
    code, _, err = attar("import", tmp_path / "set", "--classes", "x,y,z", "--out", tmp_path / "y")
    assert code == 2 and "only there: a, b, c; only given: x, y, z" in err and not (tmp_path / "y").exists()


def test_what_does_not_fit_is_one_sentence(tmp_path, attar, published):
    code, shown, err = attar("import", published, "--out", tmp_path / "x")
    assert code == 2 and shown == "" and not (tmp_path / "x").exists()
    assert (
        err.startswith("attar: Images must lie in [0, 1] after de-normalisation; found [-") and "Traceback" not in err
    )
    assert "would be clipped" in attar("import", published, "--clip", "--out", tmp_path / "x")[2]
    code, _, err = attar("import", published, "--mean", "1", "--out", tmp_path / "x")
    assert code == 2 and "--mean '1' is not three numbers." in err

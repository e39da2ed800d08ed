"""`attar relabel`: what it writes, what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attar.backbones.architectures import make_classifier
from attar.backbones.squeezed import write_squeezed
from attar.distilled import write
from small import manifest, squeeze_record

SIDE = 32


@pytest.fixture
def made(tmp_path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, SIDE, SIDE), dtype=np.uint8)
    labels = np.array([0, 0, 1, 1, 2])
    return write(tmp_path / "x.attar", images, labels, manifest=manifest(image_side=SIDE)).path


@pytest.fixture
def teacher(tmp_path) -> Path:
    network = make_classifier("convnet3", 3, side=SIDE, stem="native", seed=0).eval()
    record = squeeze_record(side=SIDE)
    write_squeezed(tmp_path / "net.safetensors", network, record, frozenset())
    return tmp_path / "net.safetensors"


def test_labels_lie_with_the_set_and_the_next_command_is_told(attar, made, teacher):
    asked = [
        "relabel",
        made,
        "--teacher",
        teacher,
        "--protocol",
        "soft-sre2l-cifar",
        "--epochs",
        "2",
        "--device",
        "cpu",
    ]
    code, out, err = attar(*asked, "--json")
    assert code == 0
    told, folder = json.loads(out)["labels"], made / "labels" / "soft-sre2l-cifar"
    assert told["path"] == str(folder) and told["bytes"] == sum(
        file.stat().st_size for file in folder.iterdir() if file.name != "teacher.safetensors"
    )
    assert (told["epochs"], told["batch"], told["seed"], told["recipe"]["mix"]) == (2, 5, 42, "mixup")
    assert "2 of 2 epochs to label: 60 bytes" in err and "2 epochs, " in err
    assert (
        f"Next: attar evaluate {made} --test TEST_IMAGES --protocol soft-sre2l-cifar/epochs=2 --student convnet3 "
        f"--teacher {teacher}\n" in err
    )
    assert attar(*asked, "--seed", "7") == (
        2,
        "",
        f"attar: {folder} holds labels made otherwise: seed 42 -> 7.\nUse --restart.\n",
    )
    assert attar(*asked, "--seed", "7", "--restart")[0] == 0


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ("hard-fkd", "--protocol soft-fkd learns from a teacher"),
        ("soft-fdk", "Did you mean soft-fkd"),
        ("soft-fkd/epochs=x", "doesn't say how long to train"),
    ],
)
def test_protocols_without_a_teacher_are_refused(attar, made, teacher, protocol, told):
    code, _, err = attar("relabel", made, "--teacher", teacher, "--protocol", protocol)
    assert code == 2 and told in err


def test_what_is_no_set_and_what_is_no_network_is_told(attar, made, teacher, tmp_path):
    for paths, told in [
        ((tmp_path, teacher), "is not a distilled set"),
        ((made, made), "there is no squeezed network"),
    ]:
        code, _, err = attar("relabel", paths[0], "--teacher", paths[1], "--protocol", "soft-fkd")
        assert code == 2 and told.lower() in err.lower()

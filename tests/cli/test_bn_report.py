"""`attar bn-report`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from attar.backbones.architectures import make_classifier
from attar.backbones.squeezed import read_squeezed, write_squeezed
from small import squeeze_record


def write_network(path: Path, seed: int, architecture: str = "convnet3") -> Path:
    network = make_classifier(architecture, 3, side=8, seed=seed)
    network(torch.rand(13, 3, 8, 8, generator=torch.Generator().manual_seed(seed)))  # gives statistics
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean *= 1 + seed
    record = squeeze_record(architecture=architecture, data_fingerprint=str(seed))
    write_squeezed(path, network, record, frozenset())
    return path


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    return write_network(tmp_path / "ssl.safetensors", 2), write_network(tmp_path / "sup.safetensors", 0)


def test_it_prints_layers_sums_caveat_and_verdict(attar, pair, tmp_path):
    code, shown, _ = attar("bn-report", *pair, "--out", tmp_path / "report")
    assert code == 0
    for told in ("ssl | sup", "H(v)", "D(ln v)", "|dR/dx|", "BatchNorm divides it out", "different images"):
        assert told in shown
    verdict = "ssl has higher entropy than sup on 3 of 3 layers in the means (p = 0.25)"
    assert verdict in shown and "too few layers to tell them from chance" in shown
    document = json.loads((tmp_path / "report" / "bn-report.json").read_text())
    assert document["items"]["spread_mean"]["first_higher"] == 3 and document["layers"][0] == "body.1"
    with Image.open(tmp_path / "report" / "bn-report.png") as picture:
        assert picture.format == "PNG"


def test_json_is_one_document_and_images_can_give_the_statistics(attar, pair, train):
    code, shown, _ = attar("bn-report", *pair, "--json")
    assert code == 0
    code, of_images, _ = attar("bn-report", *pair, "--json", "--data", train)
    assert code == 0
    trained, measured = (json.loads(text)["items"] for text in (shown, of_images))
    assert trained["entropy_mean"] != measured["entropy_mean"] and trained["mismatch"] == measured["mismatch"]


def test_the_control_has_the_scales_of_the_first_and_the_weights_of_the_second(attar, pair, tmp_path):
    control = tmp_path / "control.safetensors"
    code, _, err = attar("bn-report", *pair, "--rescale-to", control)
    assert code == 0 and str(control) in err
    first, second, made = (read_squeezed(path) for path in (*pair, control))
    images = torch.rand(2, 3, 8, 8)
    assert torch.allclose(made.logits(images), second.logits(images), rtol=1e-3, atol=1e-4)
    assert made.network.body[1].running_var.mean().item() == pytest.approx(
        first.network.body[1].running_var.mean().item()
    )
    assert made.record.settings["rescaled_like"] == first.fingerprint


def test_other_architectures_and_overwriting_are_refused(attar, pair, tmp_path):
    deeper = write_network(tmp_path / "other.safetensors", 1, "cifar_resnet20")
    code, shown, err = attar("bn-report", pair[0], deeper)
    assert code == 2 and shown == "" and "compared one by one" in err
    code, _, err = attar("bn-report", *pair, "--rescale-to", pair[1])
    assert code == 2 and "one of the two networks" in err
    code, _, err = attar("bn-report", pair[0], tmp_path / "missing.safetensors")
    assert code == 2 and "attar squeeze" in err


def test_no_file_is_replaced_by_a_rescaled_network(tmp_path, attar, pair):
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"mine")
    for target in (mine, tmp_path / "mine.pth"):
        code, _, err = attar("bn-report", *pair, "--rescale-to", target)
        assert code == 2 and "name a new one" in err.lower()
    assert mine.read_bytes() == b"mine" and not (tmp_path / "mine.pth").exists()

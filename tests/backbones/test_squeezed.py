"""Squeezed networks: one file that is a backbone for every command."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import attar
from attar.backbones.architectures import make_classifier
from attar.backbones.load import body_of
from attar.backbones.squeezed import (
    Squeezed,
    is_squeezed,
    read_squeezed,
    state_hash,
    write_squeezed,
)
from attar.errors import BackboneError, EvaluationError
from small import coloured, squeeze_record


def squeezed(path: Path, seed: int = 0) -> Squeezed:
    """A convnet3 for 9 pixels whose BatchNorm layers have seen noise."""
    network = make_classifier("convnet3", 3, side=9, seed=seed)
    with torch.no_grad():
        network.train()(torch.randn(11, 3, 9, 9, generator=torch.Generator().manual_seed(seed)))
    record = squeeze_record(
        side=9, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), titles=("Ant", "Bee", "Cow"), held_out_accuracy=90.0
    )
    return write_squeezed(path, network, record, frozenset({hashlib.sha256(b"pixels").digest()}))


def test_a_file_gives_back_weights_statistics_and_record(tmp_path):
    written = squeezed(tmp_path / "net.safetensors")
    read = read_squeezed(tmp_path / "net.safetensors")
    assert read.record == written.record
    assert state_hash(read.network) == state_hash(written.network)
    assert read.fingerprint == written.fingerprint
    assert read.train_hashes == {hashlib.sha256(b"pixels").digest()[:8]}
    assert not any(part.training for part in read.network.modules())
    assert not any(parameter.requires_grad for parameter in read.network.parameters())


def test_the_file_is_a_backbone_without_the_head(tmp_path):
    net = squeezed(tmp_path / "net.safetensors")
    backbone = attar.backbone(str(tmp_path / "net.safetensors"))
    images = torch.rand(5, 3, 9, 9, generator=torch.Generator().manual_seed(3))
    assert (backbone.name, backbone.image_size, backbone.dim) == ("net.safetensors", 9, 128)
    torch.testing.assert_close(backbone(images), net.network.body(net.normalised(images)))
    torch.testing.assert_close(net.network.head(backbone(images)), net.logits(images))
    by_hand = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    torch.testing.assert_close(net.normalised(images), by_hand)


def test_the_body_is_known_by_the_fingerprint_of_the_backbone(tmp_path):
    net = squeezed(tmp_path / "net.safetensors")
    backbone = attar.backbone(str(tmp_path / "net.safetensors"))
    assert body_of(net).fingerprint == backbone.fingerprint
    assert backbone.train_hashes == net.train_hashes
    assert attar.backbone(str(tmp_path / "net.safetensors"), weights="random").train_hashes == frozenset()


def test_a_backbone_that_learned_from_test_images_is_refused_by_evaluate(tmp_path):
    test = coloured(4, seed=8)
    net = squeezed(tmp_path / "net.safetensors")
    write_squeezed(tmp_path / "net.safetensors", net.network, net.record, frozenset(test.hashes()[:3]))
    backbone = attar.backbone(str(tmp_path / "net.safetensors"))
    made = attar.select(coloured(5), backbone, tmp_path / "set", method="random", ipc=1)
    with pytest.raises(EvaluationError, match="3 of 12 test images are exact copies"):
        attar.evaluate([made], test=test, train=None, backbone=backbone, protocols=["probe-v1/centre"])


def test_random_weights_are_not_those_of_the_file(tmp_path):
    squeezed(tmp_path / "net.safetensors", seed=5)
    path = str(tmp_path / "net.safetensors")
    assert attar.backbone(path).fingerprint != attar.backbone(path, weights="random").fingerprint


def test_the_fingerprint_covers_running_statistics(tmp_path):
    net = squeezed(tmp_path / "net.safetensors")
    before = net.fingerprint
    other = net.to()
    other.network.body[1].running_var[3] *= 1.001
    assert other.fingerprint != before
    assert net.fingerprint == before


def test_other_files_are_refused_in_a_sentence(tmp_path):
    save_file({"conv1.weight": torch.ones(2)}, tmp_path / "plain.safetensors")
    assert not is_squeezed(tmp_path / "plain.safetensors")
    with pytest.raises(BackboneError, match=r"is no squeezed network.*\n.*attar squeeze DATA --arch NAME --weights"):
        attar.backbone(str(tmp_path / "plain.safetensors"))
    with pytest.raises(BackboneError, match="no squeezed network"):
        read_squeezed(tmp_path / "absent.safetensors")


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    squeezed(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BackboneError, match="damaged"):
        read_squeezed(path)

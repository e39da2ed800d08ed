"""Squeezing: networks learn the images, keep to their classes, and come out of a file that others read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import attar
from attar.backbones.architectures import make_classifier
from attar.backbones.squeezed import read_squeezed, state_hash
from attar.compression import training
from attar.compression.squeeze_settings import SqueezeSettings
from attar.errors import BackboneError, SettingsError
from compression.test_training import stopping_after
from small import CLASSES, coloured

QUICK = SqueezeSettings("convnet3", epochs=4, batch=16, lr=0.05)
SSL = SqueezeSettings("convnet3", ssl="simclr", epochs=2, batch=16)


def test_a_supervised_network_knows_the_classes(tmp_path):
    made = attar.squeeze(coloured(31), tmp_path / "net.safetensors", QUICK)
    assert made.classes == CLASSES
    assert made.record.head == "trained"
    assert made.record.held_out_accuracy > 50
    assert len(made.train_hashes) == 93
    test = coloured(9, seed=4)
    images = torch.stack([torch.from_numpy(image)[..., 1:10] for _, image in test.read(range(len(test)))]).float() / 255
    right = made.logits(images).argmax(1) == torch.from_numpy(test.labels)
    assert float(right.float().mean()) > 0.6


@pytest.mark.parametrize("kind", ["simclr", "moco-v2"])
def test_a_self_supervised_network_gets_a_head_and_no_label_before(tmp_path, kind: str):
    settings = SqueezeSettings("convnet3", ssl=kind, epochs=2, batch=16)
    source, shuffled = coloured(11), coloured(11)
    shuffled.labels[:] = (shuffled.labels + 1) % 3
    made = attar.squeeze(source, tmp_path / "net.safetensors", settings)
    other = attar.squeeze(shuffled, tmp_path / "other.safetensors", settings)
    assert made.record.head.startswith("softmax regression")
    assert state_hash(made.network.body) == state_hash(other.network.body)
    assert state_hash(made.network.head) != state_hash(other.network.head)


def test_a_finished_network_is_not_squeezed_again(tmp_path, monkeypatch):
    attar.squeeze(coloured(11), tmp_path / "net.safetensors", QUICK)
    monkeypatch.setattr("attar.compression.pretraining.train", None)
    attar.squeeze(coloured(11), tmp_path / "net.safetensors", QUICK)
    monkeypatch.undo()
    with pytest.raises(SettingsError, match=r"squeezed otherwise: epochs 4 -> 5"):
        attar.squeeze(
            coloured(11), tmp_path / "net.safetensors", SqueezeSettings("convnet3", epochs=5, batch=16, lr=0.05)
        )


def test_a_started_run_with_other_settings_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "deferred_interrupt", stopping_after(2))
        with pytest.raises(KeyboardInterrupt):
            attar.squeeze(coloured(11), tmp_path / "net.safetensors", QUICK)
    other = SqueezeSettings("convnet3", epochs=4, batch=16, lr=0.01)
    with pytest.raises(SettingsError, match=r"holds a run with other settings: lr 0.05 -> 0.01"):
        attar.squeeze(coloured(11), tmp_path / "net.safetensors", other)
    made = attar.squeeze(coloured(11), tmp_path / "net.safetensors", other, restart=True)
    assert made.record.settings["lr"] == 0.01


def test_an_interrupted_squeeze_continues_to_the_same_file(tmp_path, monkeypatch):
    whole = attar.squeeze(coloured(11), tmp_path / "whole.safetensors", SSL)
    with monkeypatch.context() as patch:
        patch.setattr(training, "deferred_interrupt", stopping_after(2))
        with pytest.raises(KeyboardInterrupt):
            attar.squeeze(coloured(11), tmp_path / "cut.safetensors", SSL)
    assert not (tmp_path / "cut.safetensors").exists()
    cut = attar.squeeze(coloured(11), tmp_path / "cut.safetensors", SSL)
    assert state_hash(cut.network) == state_hash(whole.network)


@pytest.mark.parametrize(
    ("settings", "weights", "out", "word"),
    [
        (SqueezeSettings("vit_tiny_patch16_224", side=224), None, "a.safetensors", "needs BatchNorm statistics"),
        (QUICK, None, "a.pth", "should end in .safetensors"),
        (SqueezeSettings("convnet3", ssl="simclr"), Path("w.safetensors"), "a.safetensors", "--ssl trains a network"),
        (QUICK, Path("absent.safetensors"), "a.safetensors", "no weights file"),
    ],
)
def test_what_cannot_be_squeezed_is_refused_in_a_sentence(tmp_path, settings, weights, out: str, word: str):
    with pytest.raises((BackboneError, SettingsError), match=word):
        attar.squeeze(coloured(11), tmp_path / out, settings, weights=weights)
    assert not (tmp_path / out).exists()


def test_another_file_is_never_replaced(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"mine")
    with pytest.raises(SettingsError, match="no squeezed network"):
        attar.squeeze(coloured(11), tmp_path / "net.safetensors", QUICK)
    assert (tmp_path / "net.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("settings", [{"ssl": "byol"}, {"epochs": 0}, {"lr": -1.0}, {"lr": float("nan")}, {"batch": 1}])
def test_impossible_settings_are_refused(settings: dict):
    with pytest.raises(SettingsError):
        SqueezeSettings("convnet3", **settings)


def test_a_published_network_is_imported_with_its_statistics(assets, tmp_path):
    source = attar.open(assets / "data" / "cifar10" / "train.npz", limit=40)
    weights = assets / "weights" / "cifar_resnet20.safetensors"
    settings = SqueezeSettings("cifar_resnet20")
    with pytest.raises(SettingsError, match="doesn't say which mean and std"):
        attar.squeeze(source, tmp_path / "net.safetensors", settings, weights=weights)
    pixels = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    made = attar.squeeze(source, tmp_path / "net.safetensors", settings, weights=weights, **pixels)
    backbone = attar.backbone("cifar_resnet20", weights=weights)
    assert made.record.ssl == "imported"
    assert made.record.held_out_accuracy > 80
    known = {name: value for name, value in backbone.module.state_dict().items() if "num_batches" not in name}
    found = read_squeezed(tmp_path / "net.safetensors").network.body.state_dict()
    assert all(torch.equal(found[name], value) for name, value in known.items())


@pytest.mark.parametrize("prefix", ["", "module.encoder_q.", "backbone."])
def test_small_checkpoints_must_say_their_mean_and_std(tmp_path, prefix: str):
    body = make_classifier("resnet18", 3, side=32, stem="small").body
    torch.save({f"{prefix}{name}": value for name, value in body.state_dict().items()}, tmp_path / "w.pth")
    settings = SqueezeSettings("resnet18", side=32, stem="small")
    with pytest.raises(SettingsError, match=r"which mean and std its images had.*\n.*0.485,0.456,0.406"):
        attar.squeeze(coloured(3), tmp_path / "net.safetensors", settings, weights=tmp_path / "w.pth")


def test_an_untrained_checkpoint_is_refused(tmp_path):
    body = make_classifier("convnet3", 3, side=9).body
    torch.save(body.state_dict(), tmp_path / "w.pth")
    pixels = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    with pytest.raises(BackboneError, match="was never trained"):
        attar.squeeze(coloured(3), tmp_path / "n.safetensors", QUICK, weights=tmp_path / "w.pth", **pixels)
    old = {name: value for name, value in body.state_dict().items() if "num_batches" not in name}
    torch.save(old, tmp_path / "w.pth")  # files from before the counters
    made = attar.squeeze(coloured(3), tmp_path / "n.safetensors", QUICK, weights=tmp_path / "w.pth", **pixels)
    assert made.record.ssl == "imported"
    with pytest.raises(SettingsError, match=r"std \(0\.2, 0\.0, 0\.2\) can't be right\.\n.*a std above 0"):
        pixels["std"] = (0.2, 0.0, 0.2)
        attar.squeeze(coloured(3), tmp_path / "m.safetensors", QUICK, weights=tmp_path / "w.pth", **pixels)

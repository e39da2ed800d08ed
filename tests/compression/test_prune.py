"""Pruning takes the channels that matter least, and rebuilds a network that computes with the rest."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attar.backbones.architectures import Classifier, make_classifier
from attar.backbones.cifar_resnet import Block
from attar.backbones.squeezed import state_hash, write_squeezed
from attar.compression.prune import pruned
from attar.distilled import write
from attar.errors import BackboneError, SettingsError
from attar.features import read_squares
from small import CLASSES, coloured, manifest, save_npz, squeeze_record


def drawn(network: Classifier, seed: int = 0) -> Classifier:
    """In eval mode, with drawn statistics and BatchNorm weights."""
    random = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(generator=random)
            part.running_var.uniform_(0.5, 2, generator=random)
            part.weight.data.uniform_(0.5, 2, generator=random)
            part.bias.data.normal_(generator=random)
    return network.eval().requires_grad_(False)


def two_layers() -> Classifier:
    """Two channels, then three, and a head that reads each of these at four places."""
    layers = (nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
    return drawn(Classifier(nn.Sequential(*layers, nn.Flatten()), 12, 5))


def set_weights(network: Classifier, *weights: list[float]) -> None:
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm, values in zip(norms, weights, strict=True):
        norm.weight.copy_(torch.tensor(values))


def test_the_smallest_of_all_layers_go_by_hand():
    network = two_layers()
    set_weights(network, [0.3, -0.9], [-0.2, 0.8, 0.1])
    small = pruned(network, 0.6)  # three of five: .1, .2 and .3
    assert torch.equal(small.body[0].weight, network.body[0].weight[[1]])
    assert torch.equal(small.body[0].bias, network.body[0].bias[[1]])
    assert torch.equal(small.body[3].weight, network.body[3].weight[[1]][:, [1]])
    assert torch.equal(small.body[4].running_var, network.body[4].running_var[[1]])
    assert torch.equal(small.body[4].bias, network.body[4].bias[[1]])
    assert torch.equal(small.head.weight, network.head.weight[:, 4:8])
    assert torch.equal(small.head.bias, network.head.bias)
    images = torch.rand(7, 3, 2, 2)
    first = torch.einsum("nchw,c->nhw", images, network.body[0].weight[1, :, 0, 0]) + network.body[0].bias[1]
    middle = normalised(first, network.body[1]).clamp(min=0)
    last = normalised(middle * network.body[3].weight[1, 1] + network.body[3].bias[1], network.body[4]).clamp(min=0)
    wanted = last.flatten(1) @ network.head.weight[:, 4:8].T + network.head.bias
    assert torch.allclose(small(images), wanted, rtol=1e-5, atol=1e-5)


def normalised(values: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    """What the BatchNorm layer makes of the second of its channels."""
    deviation = (norm.running_var[1] + norm.eps).sqrt()
    return (values - norm.running_mean[1]) / deviation * norm.weight[1] + norm.bias[1]


def test_every_layer_keeps_its_largest_channel():
    network = two_layers()
    set_weights(network, [0.01, 0.02], [5.0, 6.0, 7.0])
    small = pruned(network, 0.8)
    assert [small.body[0].out_channels, small.body[3].out_channels] == [1, 1]
    assert torch.equal(small.body[1].weight, network.body[1].weight[[1]])


@pytest.mark.parametrize("architecture", ["convnet3", "cifar_resnet20"])
def test_channels_without_weight_and_bias_are_not_missed(architecture):
    network = drawn(make_classifier(architecture, 3, side=16, seed=1)).double()
    blocks = [part for part in network.modules() if isinstance(part, Block)]
    norms = [block.bn1 for block in blocks] or [p for p in network.modules() if isinstance(p, nn.BatchNorm2d)]
    silent, total = 0, sum(norm.num_features for norm in norms)
    for number, norm in enumerate(norms):
        norm.weight[: 3 + number] = 0
        norm.bias[: 3 + number] = 0
        silent += 3 + number
    before = state_hash(network)
    small = pruned(network, silent / total)
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(small(images), network(images), rtol=1e-12, atol=1e-12)
    assert sum(each.numel() for each in small.parameters()) < sum(each.numel() for each in network.parameters())
    assert state_hash(network) == before


def test_a_pruned_network_can_be_trained():
    small = pruned(drawn(make_classifier("convnet3", 3, side=8)), 0.7).requires_grad_().train()
    small(torch.rand(2, 3, 8, 8)).sum().backward()
    assert all(each.grad is not None for each in small.parameters())
    assert small.body[1].running_mean.shape == (small.body[0].out_channels,)


def test_nothing_pruned_is_the_same_network():
    network = two_layers()
    assert state_hash(pruned(network, 0.0)) == state_hash(network)


def test_other_networks_and_shares_are_refused_in_one_sentence():
    for network in (make_classifier("convnet3", 3, side=8, norm="instance"), make_classifier("resnetap10", 3, side=32)):
        with pytest.raises(BackboneError, match="can't be pruned"):
            pruned(network, 0.5)
    for share in (-0.1, 1.0):
        with pytest.raises(SettingsError, match="can't be pruned"):
            pruned(two_layers(), share)


def test_the_example_runs_and_tells_what_pruning_costs_and_what_repairs_it(tmp_path, monkeypatch):
    record = squeeze_record(CLASSES[::-1])
    network = drawn(make_classifier("convnet3", 3, side=8))
    whole = write_squeezed(tmp_path / "net.safetensors", network, record, frozenset())
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    write(tmp_path / "set.attar", images, np.arange(6) % 3, manifest=manifest(CLASSES, image_side=8))
    train, test = (save_npz(coloured(5, seed=seed), tmp_path / f"{seed}.npz") for seed in (0, 1))
    named = {"--train": train, "--test": test, "--out": tmp_path / "out.json", "--share": 0.6, "--device": "cpu"}
    named |= {"--protocol": "soft-scdd-cifar/epochs=1"}
    arguments = [whole.name, tmp_path / "set.attar", *(word for option in named.items() for word in option)]
    monkeypatch.setattr(sys, "argv", ["data_free_pruning.py", *map(str, arguments)])
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "data_free_pruning.py"), run_name="__main__")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["images"] for row in found["repaired"]] == [6, 6, 6, 15]
    assert found["parameters"]["pruned"] < found["parameters"]["before"] / 2
    shown = torch.from_numpy(read_squares(coloured(5, seed=1), 8, range(15))).float() / 255
    right = whole.logits(shown).argmax(1) == 2 - torch.arange(15) % 3  # the network counts its classes backwards
    assert found["before"] == pytest.approx(100 * right.float().mean().item())

"""The linear head: its fit leaves the network bit by bit as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attar.backbones.architectures import Classifier
from attar.backbones.squeezed import state_hash
from attar.compression import align as module
from attar.compression.align import Head, align, hold_out
from attar.errors import BackboneError
from small import coloured

PIXELS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def body() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        made.train()(torch.randn(17, 3, 7, 7))
    return made


def test_aligning_leaves_every_bit_of_the_network():
    network = body()
    before = state_hash(network)
    head = align(network, coloured(21), side=7, device=torch.device("cpu"), **PIXELS)
    assert state_hash(network) == before
    assert head.weights.shape == (3, 5)
    assert head.accuracy > 50


def test_a_network_that_learns_while_aligned_is_refused(monkeypatch):
    network = body()
    real = module.extract

    def careless(source, backbone, cut, **options):
        network.train()  # the classic mistake: running statistics move
        network(torch.randn(11, 3, 7, 7))
        return real(source, backbone, cut, **options)

    monkeypatch.setattr(module, "extract", careless)
    with pytest.raises(BackboneError, match="changed the network's statistics"):
        align(network, coloured(21), side=7, device=torch.device("cpu"), **PIXELS)


def test_the_head_works_on_raw_features():
    network, source = body(), coloured(21)
    head = align(network, source, side=7, device=torch.device("cpu"), **PIXELS)
    whole = Classifier(network, 5, 3).eval()
    head.put_into(whole.head)
    images = torch.stack([torch.from_numpy(image) for _, image in source.read(range(len(source)), shorter_side=7)])
    images = images[..., :7].float() / 255  # 7 x 9 after the resize; any crop will do
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in PIXELS.values())
    with torch.no_grad():
        predicted = whole((images - mean) / std).argmax(1)
    assert float((predicted == torch.from_numpy(source.labels)).float().mean()) > 0.6


def test_a_head_of_another_width_is_refused():
    head = Head(np.zeros((4, 5)), np.zeros(4), 0.0, 50.0)
    with pytest.raises(BackboneError, match=r"\(4, 5\) doesn't fit \(3, 5\)"):
        head.put_into(nn.Linear(5, 3))


@given(st.lists(st.integers(2, 90), min_size=2, max_size=5), st.integers(0, 99))
def test_one_in_twenty_of_each_class_is_held_out(counts: list[int], seed: int):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    kept, held = hold_out(labels, seed)
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(len(labels)))
    assert torch.bincount(labels[held]).tolist() == [max(1, round(0.05 * count)) for count in counts]

"""Self-supervised lessons by lightly: wired as published, seeded, and whole in their state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from attar.compression import ssl
from attar.compression.ssl import nearest_neighbours, self_supervised
from attar.errors import SettingsError

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (13, 3, 9, 9), dtype=np.uint8))


def body() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def lesson(kind: str):
    return self_supervised(kind, body(), 6, IMAGES, lambda images: images - 0.5, 9, 3)


def nt_xent(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    """Chen et al. 2020, equation 1, in float64."""
    z = np.concatenate([a, b]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similar = z @ z.T / temperature
    np.fill_diagonal(similar, -np.inf)
    count = len(a)
    partner = (np.arange(2 * count) + count) % (2 * count)
    return float((np.log(np.exp(similar).sum(1)) - similar[np.arange(2 * count), partner]).mean())


def test_simclr_is_nt_xent_over_both_views():
    taught = lesson("simclr").eval()
    ids = torch.arange(11)
    first, second = taught._views(ids, 4)
    with torch.no_grad():
        a, b = (taught.projector(taught.body(views)).numpy() for views in (first, second))
        found = float(taught.loss(ids, 4, 0))
    np.testing.assert_allclose(found, nt_xent(a, b, 0.2), rtol=1e-5)


def test_moco_compares_each_query_with_the_other_view_and_the_queue():
    taught = lesson("moco-v2").eval()  # running statistics: grouping and permuting the keys must not matter
    ids = torch.arange(12)
    first, second = taught._views(ids, 1)
    queue = taught.criterion.memory_bank.bank.double().numpy().copy()
    unit = nn.functional.normalize
    with torch.no_grad():
        q = [unit(taught.projector(taught.body(views)).double()).numpy() for views in (first, second)]
        k = [unit(taught.key_projector(taught.key_body(views)).double()).numpy() for views in (second, first)]
    losses = []
    for queries, keys in zip(q, k, strict=True):
        positive, negative = (queries * keys).sum(1, keepdims=True), queries @ queue.T
        logits = np.concatenate([positive, negative], axis=1) / 0.1
        losses.append(np.log(np.exp(logits).sum(1)) - logits[:, 0])
    found = taught.loss(ids, 1, 0).detach()  # with a gradient, else the keys aren't queued
    np.testing.assert_allclose(float(found), np.mean(losses), rtol=1e-4)
    held = taught.criterion.memory_bank.bank[:24].double().numpy()
    np.testing.assert_allclose(held, np.concatenate(k), atol=1e-5)


def test_keys_follow_slowly_and_learn_nothing():
    taught = lesson("moco-v2").train()
    taught.loss(torch.arange(12), 0, 0).backward()
    assert all(parameter.grad is None for parameter in taught.key_body.parameters())
    before = taught.key_body[0].weight.clone()
    with torch.no_grad():
        taught.body[0].weight += 1
    taught.after_step()
    torch.testing.assert_close(taught.key_body[0].weight, 0.99 * before + 0.01 * taught.body[0].weight)


def test_the_queue_belongs_to_the_state():
    first, second = lesson("moco-v2").train(), lesson("moco-v2").train()
    first.loss(torch.arange(12), 0, 0)
    assert not torch.equal(first.criterion.memory_bank.bank, second.criterion.memory_bank.bank)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.criterion.memory_bank.bank, second.criterion.memory_bank.bank)
    assert int(second.criterion.memory_bank.bank_ptr) == 24


def test_views_depend_on_seed_epoch_and_image_alone():
    views = lesson("simclr")._views
    views(torch.tensor([1]), 0)  # imports what it needs
    np.random.seed(1), torch.manual_seed(1)
    first = views(torch.tensor([3, 5]), 7)
    untouched = np.random.rand(), torch.rand(1)  # beartype itself draws from Python's generator
    again = views(torch.tensor([5, 3]), 7)
    assert torch.equal(first[0], again[0].flip(0))
    assert torch.equal(first[1], again[1].flip(0))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], views(torch.tensor([3, 5]), 8)[0])
    np.random.seed(1), torch.manual_seed(1)
    assert (np.random.rand(), torch.rand(1)) == untouched


def test_neighbours_vote():
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    found = nearest_neighbours(torch.tensor([[2.0, 0.1], [0.1, 3.0]]), bank, torch.tensor([1, 1, 0]), 2)
    assert found.tolist() == [1, 0]


def test_without_lightly_it_is_one_sentence(monkeypatch):
    def absent(name: str):
        raise ImportError("No module named 'lightly'")

    monkeypatch.setattr(ssl.importlib, "import_module", absent)
    with pytest.raises(SettingsError, match=r"needs lightly.*\n.*pip install attar\[ssl\]"):
        lesson("simclr")

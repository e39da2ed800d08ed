"""The probes of other papers: linear classifiers trained on a few images' features (evaluation.md 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.linear import LinearClassifier


def adam_probe(
    view: Callable[[int, Int[Tensor, " batch"]], Float[Tensor, "batch dim"]],
    labels: Int[Tensor, " images"],
    classes: int,
    dim: int,
    *,
    seed: int,
    epochs: int = 1000,
    batch: int = 100,
) -> LinearClassifier:
    """`lgm-probe`: Adam without decay on one fresh view of each image an epoch, as LGM's authors run it.

    `view(epoch, images)` gives features of a view of each of the images. The learning rate is 0.001 · batch / 256,
    falling to 0 along a cosine over the epochs; weights start from N(0, 0.01²); the last iterate is returned.
    Source: src/distillation/eval.py of linear-gradient-matching, on one GPU, in fp32.
    """
    random = torch.Generator().manual_seed(seed)
    weights, bias = new_classifier(classes, dim, random)

    def loss(epoch: int, images: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        return torch.nn.functional.cross_entropy(view(epoch, images) @ weights.T + bias, labels[images])

    train(loss, [weights, bias], len(labels), rate=0.001, random=random, epochs=epochs, batch=batch)
    return LinearClassifier(weights.detach().numpy(), bias.detach().numpy(), iterations=epochs)


def new_classifier(
    classes: int, dim: int, random: torch.Generator
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """Weights and bias to train, as the authors start them."""
    weights = 0.01 * torch.randn(classes, dim, generator=random)
    return weights.requires_grad_(), torch.zeros(classes, requires_grad=True)


def train(
    loss: Callable[[int, Int[Tensor, " batch"]], Float[Tensor, ""]],
    parameters: Sequence[Tensor],
    images: int,
    *,
    rate: float,
    random: torch.Generator,
    epochs: int,
    batch: int,
) -> None:
    """Minimise `loss(epoch, images)` as the authors do: every image once an epoch, shuffled, and Adam.

    The learning rate is `rate` · batch / 256, falling to 0 along a cosine over the epochs.
    """
    size = min(batch, images)
    optimiser = torch.optim.Adam(parameters, lr=rate * size / 256, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for epoch in range(epochs):
        for chosen in torch.randperm(images, generator=random).split(size):
            value = loss(epoch, chosen)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        schedule.step()


def bank_views(
    bank: Float[Tensor, "images views dim"], seed: int
) -> Callable[[int, Int[Tensor, " batch"]], Float[Tensor, "batch dim"]]:
    """For `adam_probe`: each time a random one of an image's cached views."""
    random = torch.Generator().manual_seed(seed + 2**32)

    def view(epoch: int, images: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        del epoch
        return bank[images, torch.randint(bank.shape[1], (len(images),), generator=random)]

    return view


def nearest_mean(
    means: Float[np.ndarray, "classes dim"], features: Float[np.ndarray, "rows dim"]
) -> Int[np.ndarray, " rows"]:
    """`ncm`: the class whose mean has the largest cosine with each feature."""
    return np.argmax(features @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T, axis=1)

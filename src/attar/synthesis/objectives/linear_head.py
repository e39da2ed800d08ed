"""A random linear head, and the gradient of its cross-entropy: of features, and expected of all real images.

Source: lgm.md 2; the expansion at class means is ours (lgm.md 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """Logits are features @ weight.T + bias."""

    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]


def head_gradient(
    features: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"], head: Head, weights: Float[Tensor, " rows"]
) -> Float[Tensor, "classes dim+1"]:
    """Gradient of the weighted cross-entropy with respect to the head's weight (first `dim` columns) and bias."""
    chances = torch.softmax(features @ head.weight.T + head.bias, dim=1)
    return (residual_of(chances, labels) * weights[:, None]).T @ with_one(features)


def expected_gradient(
    means: Float[Tensor, "classes dim"],
    within: Float[Tensor, "dim dim"],
    shares: Float[Tensor, " classes"],
    head: Head,
) -> Float[Tensor, "classes dim+1"]:
    """The head's gradient on all real images, from class means and the covariance within classes (lgm.md 2.1).

    An expansion of the softmax around the class means; `shares` sum to 1.
    """
    chances = torch.softmax(means @ head.weight.T + head.bias, dim=1)
    gradient = head_gradient(means, torch.arange(len(means), device=means.device), head, shares)
    weighted = shares[:, None] * chances
    curvature = torch.diag(weighted.sum(0)) - chances.T @ weighted
    gradient[:, :-1] += curvature @ head.weight @ within
    return gradient


def residual_of(chances: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
    """Softmax less the one-hot labels."""
    residual = chances.clone()
    residual[torch.arange(len(labels), device=labels.device), labels] -= 1
    return residual


def with_one(features: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim+1"]:
    """Features with a column of ones, which belongs to the bias."""
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)

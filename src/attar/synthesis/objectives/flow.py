"""What the objectives that match flows have in common: the flat cosine and its regularisers, in closed form."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.errors import SettingsError


@dataclass(frozen=True)
class FlowLoss:
    """A loss of flows and class means, its gradients, and figures for the log.

    `to_flows` is the gradient with respect to the synthetic flows. The regulariser of the common mean also acts on
    the class means directly: `to_mean` is its gradient with respect to each of them, the same for every class.
    """

    loss: float
    to_flows: Float[Tensor, "classes *count dim"]
    to_mean: Float[Tensor, " dim"]
    log: dict[str, float]


def match_flows(
    real: Float[Tensor, "classes *count dim"],
    synthetic: Float[Tensor, "classes *count dim"],
    real_means: Float[Tensor, "classes dim"],
    means: Float[Tensor, "classes dim"],
    *,
    w_mean: float,
    w_scale: float,
    per_class: bool = False,
) -> FlowLoss:
    """1 - cos(F_r, F_s) + w_mean · L_mean + w_scale · L_scale of real and synthetic flows (sfm.md 5, 7).

    With class means T_r, T_s: L_mean = C |mean(T_s) - mean(T_r)|² / |T_r - mean(T_r)|², L_scale = ln(|F_s| / |F_r|)².
    A factor common to both flows leaves everything but `to_flows` as it is. With `per_class` the cosine is the mean
    of those of the classes, each of which counts the same however long its flow is.
    """
    floor = 1e-12 * (1 + _norm(means.mean(0)))
    n_real, n = _norm(real), _norm(synthetic)
    if n < floor:
        warnings.warn("All synthetic class means are equal; the flow's direction is arbitrary.", stacklevel=3)
        n = floor
    cosine, pull = _cosine(real, synthetic, floor, whole=not per_class)
    log_scale = torch.log(n / n_real)
    scale_pull = 2 * log_scale * synthetic / n**2

    common = means.mean(0) - real_means.mean(0)
    spread = _norm(centred(real_means)) ** 2
    mean_loss = len(means) * common.square().sum() / spread

    loss = 1 - cosine + w_mean * mean_loss + w_scale * log_scale.square()
    of_classes = torch.nn.functional.cosine_similarity(real.flatten(1), synthetic.flatten(1))
    log = {
        "cosine": float(cosine),
        "scale": float(n / n_real),
        "mean": float(mean_loss),
        "worst_class": float(of_classes.min()),
        "median_class": float(of_classes.median()),
    }
    return FlowLoss(float(loss), pull + w_scale * scale_pull, w_mean * 2 * common / spread, log)


def class_means(
    features: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"], classes: int
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """Mean feature and number of rows of each class, as one matrix product; refuses classes without rows."""
    membership = torch.nn.functional.one_hot(labels, classes).to(features)
    counts = membership.sum(0)
    if (counts == 0).any():
        raise SettingsError(
            f"class {int(counts.argmin())} has no synthetic image", "Give each class an image at least."
        )
    return membership.T @ features / counts[:, None], counts


def check_means(means: Float[Tensor, "classes dim"]) -> None:
    """SettingsError where real class means have no flow."""
    if len(means) < 2:
        raise SettingsError(
            "flow matching needs at least two classes",
            "Give images of two classes or more: a flow points from one to others.",
        )
    if not torch.isfinite(means).all():
        raise SettingsError("the real class means are not finite", "Check the backbone's weights and mean/std.")
    if _norm(centred(means)) == 0:
        raise SettingsError(
            "all real class means are equal",
            "Check the backbone's weights, mean and std, or use another: this one sees no difference between classes.",
        )


def exactly(features: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """The features in the precision in which flows are computed: float64 but on devices without it."""
    return features.to(torch.float32 if features.device.type == "mps" else torch.float64)


def centred(means: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes dim"]:
    """Class means less their mean, in which every class counts the same."""
    return means - means.mean(0)


def _cosine(
    real: Float[Tensor, "classes *count dim"],
    synthetic: Float[Tensor, "classes *count dim"],
    floor: Float[Tensor, ""],
    *,
    whole: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, "classes *count dim"]]:
    """The cosine, of all entries as one vector or the mean of each class's own, and minus its gradient."""
    dims = tuple(range(0 if whole else 1, real.ndim))
    n_real = torch.linalg.vector_norm(real, dim=dims, keepdim=True)
    n = torch.linalg.vector_norm(synthetic, dim=dims, keepdim=True).clamp(min=floor)
    cosine = (real * synthetic).sum(dims, keepdim=True) / (n_real * n)
    return cosine.mean(), -(real / n_real - cosine * synthetic / n) / n / cosine.numel()


def _norm(values: Tensor) -> Float[Tensor, ""]:
    return torch.linalg.vector_norm(values)

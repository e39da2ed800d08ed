"""Flow matching towards sub-centres: at several images a class each stands for a cluster of real images (sfm.md 10).

The published loss sees class means only, so nothing asks the images of a class to differ. Here image k of class c is
pulled towards m_{c,k}, the mean of the k-th of the class's clusters, and its flow leads from there to the mean of the
other classes: f_{c,k} = n_c - m_{c,k}. With one image a class this is `StatisticalFlowMatching`. The target may also be
vectors that a probe learns best from, which begin as the clusters' means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from attar.errors import SettingsError
from attar.features import RealFeatures
from attar.synthesis.objectives.base import FeatureLoss, Objective, Options, Rows
from attar.synthesis.objectives.flow import check_means, exactly, match_flows
from attar.synthesis.objectives.targets import learned_vectors


@final
class SubCentreOptions(Options):
    """Settings of flow matching towards sub-centres."""

    target: Literal["clusters", "learned"] = Field("clusters", description="clusters' means, or what teaches a probe")
    w_mean: float = Field(0.0, ge=0, description="weight of the common mean")
    w_scale: float = Field(0.0, ge=0, description="weight of the scale")
    equal_clusters: bool = Field(True, description="clusters of equal size; else images carry weights")


@final
@dataclass(frozen=True, eq=False)
class SubCentreFlowMatching(Objective):
    """1 - cos(F_real, F_synthetic) + w_mean · L_mean + w_scale · L_scale, with F the flows of all sub-centres.

    Row (c, k) of F is sqrt(share) · (n_c - m_{c,k}): `shares` say how much of its class each sub-centre stands for
    and sum to 1 within it, t_c = sum of share · m_{c,k}, and n_c is the mean of t over the other classes. Synthetic
    m_{c,k} is the mean over the views of image number k of class c, in ascending image id. L_mean and L_scale are
    those of `StatisticalFlowMatching`, of t and of F. With `weighted` the images carry their shares as weights.
    """

    Options = SubCentreOptions

    centres: Float[Tensor, "classes count dim"]
    shares: Float[Tensor, "classes count"]
    w_mean: float = 0.0
    w_scale: float = 0.0
    weighted: bool = False

    def __post_init__(self) -> None:
        sums = self.shares.sum(1)
        if (self.shares <= 0).any() or not torch.allclose(sums, torch.ones_like(sums)):
            raise SettingsError(
                "the shares of a class's sub-centres must be positive and sum to 1", "divide them by their sum"
            )
        check_means(_class_means(self.centres, self.shares))

    @classmethod
    def build(cls, real: RealFeatures, options: SubCentreOptions, *, ipc: int, seed: int) -> SubCentreFlowMatching:
        """The objective of a run: `ipc` sub-centres a class, of equal size or with weights; learned ones count 1."""
        del seed  # nothing is drawn
        centres, shares = real.sub_centres(ipc, equal=options.equal_clusters)
        weighted = not options.equal_clusters
        if options.target == "learned":
            centres, shares, weighted = learned_vectors(real, centres), torch.full_like(shares, 1 / ipc), False
        return cls(centres, shares, options.w_mean, options.w_scale, weighted)

    @classmethod
    def check(cls, options: SubCentreOptions, counts: Mapping[str, int], *, ipc: int) -> None:
        """Each sub-centre needs an image."""
        del options
        fewest = min(counts, key=lambda name: counts[name])
        if counts[fewest] < ipc:
            raise SettingsError(
                f"class {fewest} has {counts[fewest]} images for {ipc} sub-centres",
                "choose a smaller --ipc, or --method sfm, which needs no such number",
            )

    @property
    def image_weights(self) -> Float[Tensor, " images"] | None:
        """Number of sub-centres · share of each image, class by class; None where the shares are equal by design."""
        return (self.shares.shape[1] * self.shares).flatten() if self.weighted else None

    def at(self, step: int) -> Callable[[Tensor, Rows], FeatureLoss]:
        del step  # the target never changes
        return self._loss

    def _loss(self, features: Float[Tensor, "rows dim"], rows: Rows) -> FeatureLoss:
        exact = exactly(features)
        centres, shares = self.centres.to(exact), self.shares.to(exact)
        classes, count = shares.shape
        cells, views = _cells(rows, classes, count)
        synthetic = exact[cells.argsort(stable=True)].unflatten(0, (classes, count, views)).mean(2)

        match = match_flows(
            _flows(centres, shares),
            _flows(synthetic, shares),
            _class_means(centres, shares),
            _class_means(synthetic, shares),
            w_mean=self.w_mean,
            w_scale=self.w_scale,
        )
        gradient = _to_centres(match.to_flows, shares) + shares[:, :, None] * match.to_mean
        return FeatureLoss(match.loss, (gradient.flatten(0, 1) / views)[cells], match.log)


def _class_means(
    centres: Float[Tensor, "classes count dim"], shares: Float[Tensor, "classes count"]
) -> Float[Tensor, "classes dim"]:
    return (shares[:, :, None] * centres).sum(1)


def _flows(
    centres: Float[Tensor, "classes count dim"], shares: Float[Tensor, "classes count"]
) -> Float[Tensor, "classes count dim"]:
    """sqrt(share) · (n_c - m_{c,k})."""
    means = _class_means(centres, shares)
    common = means.mean(0)
    others = common + (common - means) / (len(means) - 1)  # n_c; no sum of C means, which would round at C = 1000
    return shares.sqrt()[:, :, None] * (others[:, None] - centres)


def _to_centres(
    to_flows: Float[Tensor, "classes count dim"], shares: Float[Tensor, "classes count"]
) -> Float[Tensor, "classes count dim"]:
    """The gradient with respect to m_{c,k} of what has the gradient `to_flows` with respect to `_flows`."""
    rows = shares.sqrt()[:, :, None] * to_flows
    own = rows.sum(1)
    through_others = (own.sum(0) - own) / (len(own) - 1)
    return shares[:, :, None] * through_others[:, None] - rows


def _cells(rows: Rows, classes: int, count: int) -> tuple[Int[Tensor, " rows"], int]:
    """For each row class · count + k, its image being number k of the class in ascending id; and views an image."""
    images, place = rows.image.unique(return_inverse=True)
    labels = torch.empty_like(images)
    labels[place] = rows.label
    if torch.bincount(labels, minlength=classes).tolist() != [count] * classes:
        raise SettingsError(
            f"sub-centres need {count} synthetic images in each of {classes} classes", "show them all in every step"
        )
    views = len(rows) // len(images)
    if (torch.bincount(place) != views).any():
        raise SettingsError("sub-centres need the same number of views of every image", "show each image equally often")
    cells = torch.empty_like(images)
    cells[labels.argsort(stable=True)] = torch.arange(len(images), device=cells.device)
    return cells[place], views

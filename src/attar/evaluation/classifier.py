"""From a distilled set and a backbone to a classifier: one module from images to logits."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attar.backbones.record import Backbone
from attar.devices import pick_device, pick_dtype
from attar.distilled import DistilledSet, Head
from attar.errors import ArtefactError, EvaluationError, expect
from attar.evaluation.protocols import Protocol
from attar.evaluation.protocols import protocol as known_protocol
from attar.features import extract
from attar.linear import ConvergedProbe, converged_probe
from attar.progress import SILENT, Progress
from attar.synthesis.draws import Stream
from attar.synthesis.views import RandomViews, canvas_side, may_mirror, probe_policy

_DEFAULT = "probe-v1"
_SEED = 0  # of the views: the first of those that `evaluate` averages over


@final
class Classifier(nn.Module):
    """RGB images in 0..1 to logits: resize where needed, normalise, backbone, scaling of the features, linear map.

    `classes` and `titles` name the logits in order, `protocol` says how the linear map was fitted, and `backbone` is
    the record it stands on. In eval mode, and frozen. Logits are float32.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        backbone: Backbone,
        probe: ConvergedProbe,
        *,
        classes: tuple[str, ...],
        titles: tuple[str, ...],
        protocol: str,
    ):
        super().__init__()
        self.backbone, self.classes, self.titles, self.protocol = backbone, classes, titles, protocol
        self.network = backbone.module  # the record is no module: this registers its weights
        self.scaling = probe.scaling.kind
        dim = backbone.dim
        shift, scale = probe.scaling.shift, probe.scaling.scale
        self.register_buffer("shift", torch.zeros(dim) if shift is None else torch.from_numpy(shift).float())
        self.register_buffer("scale", torch.ones(dim) if scale is None else torch.from_numpy(scale).float())
        self.linear = nn.Linear(dim, len(classes))
        self.linear.load_state_dict(
            {
                "weight": torch.from_numpy(probe.classifier.weights).float(),
                "bias": torch.from_numpy(probe.classifier.bias).float(),
            }
        )
        self.to(backbone.device).eval().requires_grad_(False)

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the backbone takes as they are."""
        return self.backbone.image_size

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n classes"]:
        """Logits of RGB images in 0..1; other sizes than `image_size` are resized to it."""
        features = self.backbone(images).float()
        if self.scaling == "l2":
            features = nn.functional.normalize(features, eps=1e-12)
        else:
            features = (features - self.shift) * self.scale
        return self.linear(features)


def classifier(
    distilled: DistilledSet,
    backbone: Backbone,
    *,
    protocol: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> Classifier:
    """A classifier of the set's classes on `backbone`: its stored head where it has one, else a probe on its images.

    `protocol` names which: "full" and "inherit-ridge-v1" are heads that the set carries, "probe-v1" and "probe-v1/std"
    are fitted on its images (20 views each, the first seed of `evaluate`). By default a head of this very backbone is
    taken, one of all real images before an inherited one, and `probe-v1` where there is none. EvaluationError where
    the set has no head of that name for the backbone.

    >>> flowers = attar.classifier(attar.load("flowers.attar"), backbone)      # doctest: +SKIP
    >>> flowers(torch.rand(2, 3, 224, 224)).shape                              # doctest: +SKIP
    torch.Size([2, 102])
    """
    expect(distilled, DistilledSet, "distilled")
    expect(backbone, Backbone, "backbone")
    backbone = backbone.to(device=pick_device(device), dtype=pick_dtype(precision))
    head = _stored(distilled, backbone, protocol, progress)
    if head is not None:
        probe, name = head.probe, head.protocol
    else:
        wanted = known_protocol(protocol or _DEFAULT)
        probe = _fitted(distilled, backbone, wanted, progress)
        name = wanted.id if backbone.normalise == "native" else f"{wanted.id}/imagenet"
    return Classifier(backbone, probe, classes=distilled.classes, titles=distilled.titles, protocol=name)


def _stored(distilled: DistilledSet, backbone: Backbone, wanted: str | None, progress: Progress) -> Head | None:
    """The set's head for this backbone; None where one has to be fitted."""
    if wanted is not None and _can_fit(wanted):
        return None
    fitting = [head for head in distilled.heads if head.fingerprint == backbone.fingerprint]
    chosen = [head for head in fitting if wanted in (None, head.protocol)]
    if chosen:
        best = min(chosen, key=lambda head: head.teacher is not None)
        if (dim := best.probe.classifier.weights.shape[1]) != backbone.dim:
            message = f"the head for {backbone.name} in {distilled.path} is of {dim} features instead of {backbone.dim}"
            raise ArtefactError(message, "Don't use this set's heads.")
        return best
    others = [f"{head.protocol} on {head.backbone}" for head in distilled.heads if wanted in (None, head.protocol)]
    if others and wanted is None:
        here = f"{backbone.name} with these weights and preprocessing"
        progress.note(f"The set's heads ({', '.join(others)}) don't fit {here}: a {_DEFAULT} is fitted on its images.")
    if wanted is None:
        return None
    has = f"It has {', '.join(others)}." if others else "It carries none of that name."
    message = f"{distilled.path} has no head {wanted!r} for {backbone.name} with these weights and preprocessing"
    raise EvaluationError(message, f"{has} {_DEFAULT} is fitted on its images.")


def _can_fit(name: str) -> bool:
    try:
        return known_protocol(name).probe == "converged"
    except EvaluationError:
        return False


def _fitted(distilled: DistilledSet, backbone: Backbone, wanted: Protocol, progress: Progress) -> ConvergedProbe:
    """The probe that `evaluate` fits on the set's images, from the same cached features."""
    source, side = distilled.source, canvas_side(backbone.image_size)
    # What the run knew of the real images counts: synthetic digits are hardly ever grey to the last bit.
    flip = bool(distilled.manifest.settings.get("flip", True)) and may_mirror(source, side)
    policy = probe_policy(backbone.image_size, flip=flip)
    cut = RandomViews(policy, wanted.views, _SEED, Stream.PROBE, centre_first=True)
    return converged_probe(
        extract(source, backbone, cut, progress=progress, task="probe views").values,
        torch.from_numpy(distilled.labels),
        len(distilled.classes),
        transform=wanted.transform,
        penalty=wanted.penalty,
        weights=distilled.weights,
    )

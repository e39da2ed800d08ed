"""Heads: linear classifiers of all training images on one backbone, trained once and kept in the cache.

They are the `full` row of a table, and what classifier inheritance carries over to other backbones. By recipe:

    probe-v1, probe-v1/std    softmax regression on the centre crops' features, to convergence
    lgm                       10 epochs of Adam, batch 128, on 8 cached views an image (SFM's inherited classifier)
    ridge, lda                in closed form from merged statistics (sfm.md 12)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.backbones.record import Backbone
from attar.errors import EvaluationError, FileError
from attar.evaluation.probes import adam_probe, bank_views
from attar.evaluation.protocols import PROTOCOLS
from attar.features import ClassStatistics, extract
from attar.files import cache_folder, digest
from attar.images.source import ImageSource
from attar.linear import (
    ConvergedProbe,
    LinearClassifier,
    Scaling,
    converged_probe,
    lda_classifier,
    ridge_classifier,
    temperature,
)
from attar.progress import Progress
from attar.synthesis.draws import Stream
from attar.synthesis.views import CentreView, RandomViews, ViewPolicy
from attar.tensors import read_tensors, write_tensors

_VERSION = "heads-2"  # counts up when the same key would give another head, recipes and grids included
_TENTH = 10
_VIEWS = 8
_RIDGE_PENALTIES = tuple(10.0**exponent for exponent in range(-6, 4))  # of the mean eigenvalue
_LDA_SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.5, 0.9)

RECIPES = ("probe-v1", "probe-v1/std", "lgm", "ridge", "lda")


@dataclass(frozen=True)
class FullHead:
    """A classifier of all training images, and its accuracy in percent on a tenth of them held out by the same recipe
    (None where some class is too small to hold any out). Its logits divided by `temperature` give probabilities that
    fit that tenth; `fingerprint` is of everything that decided it."""

    recipe: str
    probe: ConvergedProbe
    accuracy: float | None
    temperature: float
    fingerprint: str


def full_head(
    train: ImageSource,
    labels: Int[Tensor, " images"],
    classes: Sequence[str],
    backbone: Backbone,
    policy: ViewPolicy,
    recipe: str,
    progress: Progress,
) -> FullHead:
    """The head of `train` on `backbone` by `recipe`, its logits in the order of `classes` (which `labels` follow)."""
    fingerprint = head_fingerprint(train, labels, classes, backbone, policy, recipe)
    file = cache_folder() / "heads" / f"{fingerprint}.safetensors"
    known = _read(file, recipe, fingerprint)
    if known is not None:
        return known
    views = RandomViews(policy, _VIEWS, 0, Stream.PROBE)
    task = f"real images, {backbone.name}"
    centres = extract(train, backbone, CentreView(policy), progress=progress, task=task).values
    features = extract(train, backbone, views, progress=progress, task=task).values if recipe == "lgm" else centres
    fit = _fitter(recipe, len(classes))
    head = FullHead(recipe, fit(features, labels), *_held_out(centres, features, labels, fit), fingerprint)
    _write(file, head)
    return head


def head_fingerprint(
    train: ImageSource,
    labels: Int[Tensor, " images"],
    classes: Sequence[str],
    backbone: Backbone,
    policy: ViewPolicy,
    recipe: str,
) -> str:
    """Of everything that decides the head."""
    return digest(
        _VERSION,
        recipe,
        train.hashes(),
        labels.tolist(),
        tuple(classes),
        backbone.fingerprint,
        str(backbone.dtype),
        policy.fingerprint,
    )


_Fit = Callable[[Float[Tensor, "images views dim"], Int[Tensor, " images"]], ConvergedProbe]


def _fitter(recipe: str, classes: int) -> _Fit:
    """What makes a classifier of `classes` classes from features and labels."""
    if recipe == "lgm":
        return lambda features, labels: _authors(features, labels, classes)
    if recipe in ("ridge", "lda"):
        return lambda features, labels: _closed_form(recipe, features[:, 0], labels, classes)
    if recipe in PROTOCOLS and PROTOCOLS[recipe].probe == "converged":
        settings = PROTOCOLS[recipe]
        return lambda features, labels: converged_probe(
            features, labels, classes, transform=settings.transform, penalty=settings.penalty
        )
    raise EvaluationError(f"there is no recipe {recipe!r} for a head", f"choose one of {', '.join(RECIPES)}")


def _authors(
    features: Float[Tensor, "images views dim"], labels: Int[Tensor, " images"], classes: int
) -> ConvergedProbe:
    views, dim = bank_views(features, 0), features.shape[2]
    return ConvergedProbe(Scaling("none"), adam_probe(views, labels, classes, dim, seed=0, epochs=10, batch=128))


def _closed_form(
    recipe: str, features: Float[Tensor, "images dim"], labels: Int[Tensor, " images"], classes: int
) -> ConvergedProbe:
    """Ridge or LDA on features of length 1; of its settings the one that is best on a tenth held out within."""
    scaling = Scaling("l2")
    rows = torch.from_numpy(scaling(features.double().numpy()))
    kept, held_out = hold_out(labels)

    def fit(chosen: Int[Tensor, " chosen"], setting: float) -> LinearClassifier:
        statistics = ClassStatistics.of(rows[chosen], labels[chosen], classes, scatter="pooled")
        if recipe == "lda":
            return lda_classifier(statistics, setting)
        return ridge_classifier(statistics, setting * float(rows[chosen].var(0).sum()) * len(chosen) / rows.shape[1])

    settings = _LDA_SHRINKAGES if recipe == "lda" else _RIDGE_PENALTIES
    right = [
        float(np.mean(fit(kept, setting).predict(rows[held_out].numpy()) == labels[held_out].numpy()))
        for setting in settings
    ]
    best = settings[int(np.argmax(right))]
    return ConvergedProbe(scaling, fit(torch.arange(len(rows)), best))


def hold_out(labels: Int[Tensor, " images"]) -> tuple[Int[Tensor, " kept"], Int[Tensor, " held_out"]]:
    """Positions of all but every tenth image of each class, and of those; a class of one image keeps it."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        held_out[(labels == label).nonzero()[1::_TENTH, 0]] = True
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def _held_out(
    centres: Float[Tensor, "images 1 dim"],
    features: Float[Tensor, "images views dim"],
    labels: Int[Tensor, " images"],
    fit: _Fit,
) -> tuple[float | None, float]:
    """(percent right, temperature) on a tenth of each class of what the others teach; (None, 1) without that tenth."""
    kept, held_out = hold_out(labels)
    if not len(held_out):
        return None, 1.0
    logits = fit(features[kept], labels[kept]).logits(centres[held_out][:, 0].numpy())
    known = labels[held_out].numpy()
    return float(100 * np.mean(logits.argmax(1) == known)), temperature(logits, known)


def _read(file: Path, recipe: str, fingerprint: str) -> FullHead | None:
    """What lies in `file`; a damaged file counts as absent."""
    try:
        tensors, metadata = read_tensors(file)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        about = json.loads(metadata["head"])
        scaling = Scaling(about["scaling"], arrays.get("shift"), arrays.get("scale"))
        classifier = LinearClassifier(arrays["weights"], arrays["bias"])
        return FullHead(
            recipe, ConvergedProbe(scaling, classifier), about["accuracy"], about["temperature"], fingerprint
        )
    except (OSError, FileError, KeyError, ValueError):
        return None


def _write(file: Path, head: FullHead) -> None:
    scaling, classifier = head.probe.scaling, head.probe.classifier
    arrays = {
        "weights": classifier.weights,
        "bias": classifier.bias,
        "shift": scaling.shift,
        "scale": scaling.scale,
    }
    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items() if array is not None}
    about = {"scaling": scaling.kind, "accuracy": head.accuracy, "temperature": head.temperature}
    try:
        write_tensors(file, tensors, {"head": json.dumps(about)})
    except (OSError, FileError):
        return  # the head is at hand; the next run trains it again

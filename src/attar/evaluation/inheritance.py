"""Classifier inheritance: a head of all real images on one backbone, carried over to another by views of a few images.

The views align the two backbones; nothing is asked of their labels, except by `kd` and `joint`. `x` are features on the
evaluation backbone, `y` of the same views on the distillation backbone, where the head lives (sfm.md 12).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from attar.evaluation.probes import bank_views, new_classifier, train
from attar.linear import AffineMap, ConvergedProbe, LinearClassifier, Ridge, Scaling, ridge

PairedViews = Callable[[int, Int[Tensor, " batch"]], tuple[Float[Tensor, "batch dim_e"], Float[Tensor, "batch dim_d"]]]
"""`views(epoch, images)`: x and y of one view of each of the images."""

_EPOCHS = 1000
_BATCH = 100
_TEMPERATURE = 4.0


@dataclass(frozen=True)
class Inherited:
    """A probe for the evaluation backbone, and the regression behind it."""

    probe: ConvergedProbe
    ridge: Ridge


def ridge_projector(
    x: Float[Tensor, "images views dim_e"], y: Float[Tensor, "images views dim_d"], head: ConvergedProbe
) -> Inherited:
    """`inherit-ridge-v1`: ridge regression of the head's logits on `x`, both sides scaled as the head's features are.

    Being linear in its targets, that is the ridge projector of `y` itself at the same penalty, followed by the head.
    The penalty is the one that predicts best the logits of images left out. EvaluationError where there is one image
    only, or where nothing varies in `x`.
    """
    images, views, _ = x.shape
    rows = x.flatten(0, 1).double().numpy()
    scaling = Scaling.fit(head.scaling.kind, rows)
    scaled, logits = scaling(rows), head.logits(y.flatten(0, 1).numpy())
    # Leaving out an image leaves out a class where there is one a class; judged on logits that cost nothing we could
    # measure: on 200 held-out training images of Imagewoof, ViT-Ti and MobileNetV2 in both directions, 3 draws of one
    # real image a class: by images 73.8 %, by rows 74.0, the grid's best in hindsight 74.6; judged on features 69.8 by
    # images and 73.3 by rows. With five images a class (one draw) by images and by rows were both 88.5.
    fitted = ridge(scaled, logits, groups=np.repeat(np.arange(images), views))
    classifier = LinearClassifier(fitted.map.weights.T, fitted.map.bias)
    return Inherited(ConvergedProbe(scaling, classifier), fitted)


def authors_projector(
    views: PairedViews, images: int, dim_e: int, dim_d: int, *, seed: int, epochs: int = _EPOCHS, batch: int = _BATCH
) -> AffineMap:
    """`inherit-authors`: raw features of `x` to raw features of `y`, by Adam on the squared error, as SFM's authors do.

    The learning rate is 0.01 · batch / 256, falling to 0 along a cosine; weights start as torch.nn.Linear's; the last
    iterate is returned. `.then(head)` is the classifier. Source: mode CI of eval_syn.py in SFM's repository; in fp32.
    """
    random = torch.Generator().manual_seed(seed)
    weights, bias = _new_projector(dim_e, dim_d, random)

    def loss(epoch: int, chosen: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        x, y = views(epoch, chosen)
        return mse_loss(x @ weights.T + bias, y)

    train(loss, [weights, bias], images, rate=0.01, random=random, epochs=epochs, batch=batch)
    return AffineMap(weights.detach().numpy().T, bias.detach().numpy())


def kd(
    views: PairedViews,
    labels: Int[Tensor, " images"],
    head: LinearClassifier,
    dim_e: int,
    *,
    seed: int,
    epochs: int = _EPOCHS,
    batch: int = _BATCH,
) -> LinearClassifier:
    """A new classifier of raw `x` that learns from labels and from the head's logits on raw `y`.

    The loss is ½ T² KL(head ‖ classifier), both softened by T = 4, and ½ cross-entropy; the rest is `adam_probe`'s.
    Source: mode KD of eval_syn.py in SFM's repository.
    """
    random = torch.Generator().manual_seed(seed)
    head_weights, head_bias = _tensors(head)
    weights, bias = new_classifier(len(head_bias), dim_e, random)

    def loss(epoch: int, chosen: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        x, y = views(epoch, chosen)
        logits, taught = x @ weights.T + bias, y @ head_weights.T + head_bias
        soft, target = (log_softmax(each / _TEMPERATURE, dim=1) for each in (logits, taught))
        divergence = kl_div(soft, target, reduction="batchmean", log_target=True)
        return 0.5 * _TEMPERATURE**2 * divergence + 0.5 * cross_entropy(logits, labels[chosen])

    train(loss, [weights, bias], len(labels), rate=0.001, random=random, epochs=epochs, batch=batch)
    return LinearClassifier(weights.detach().numpy(), bias.detach().numpy(), iterations=epochs)


def joint(
    views: PairedViews,
    labels: Int[Tensor, " images"],
    head: LinearClassifier,
    dim_e: int,
    *,
    seed: int,
    epochs: int = _EPOCHS,
    batch: int = _BATCH,
) -> LinearClassifier:
    """A new projector and the head behind it, trained together on the labels; `y` is not looked at.

    Source: mode JT of eval_syn.py in SFM's repository. Its learning rate is not known: it is `adam_probe`'s here.
    """
    random = torch.Generator().manual_seed(seed)
    head_weights, head_bias = (tensor.requires_grad_() for tensor in _tensors(head))
    weights, bias = _new_projector(dim_e, head.weights.shape[1], random)

    def loss(epoch: int, chosen: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        x, _ = views(epoch, chosen)
        return cross_entropy((x @ weights.T + bias) @ head_weights.T + head_bias, labels[chosen])

    parameters = [weights, bias, head_weights, head_bias]
    train(loss, parameters, len(labels), rate=0.001, random=random, epochs=epochs, batch=batch)
    projector = AffineMap(weights.detach().numpy().T, bias.detach().numpy())
    tuned = LinearClassifier(head_weights.detach().numpy(), head_bias.detach().numpy(), iterations=epochs)
    return projector.then(tuned)


def paired_bank_views(
    x: Float[Tensor, "images views dim_e"], y: Float[Tensor, "images views dim_d"], seed: int
) -> PairedViews:
    """Views for the projectors: each time a random one of an image's cached views, the same in `x` and `y`."""
    both = bank_views(torch.cat([x, y], dim=2), seed)

    def views(
        epoch: int, images: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch dim_e"], Float[Tensor, "batch dim_d"]]:
        drawn = both(epoch, images)
        return drawn[:, : x.shape[2]], drawn[:, x.shape[2] :]

    return views


def _new_projector(
    inputs: int, outputs: int, random: torch.Generator
) -> tuple[Float[Tensor, "outputs inputs"], Float[Tensor, " outputs"]]:
    """Weights and bias to train, drawn as torch.nn.Linear draws them."""
    bound = inputs**-0.5
    weights = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=random)
    return weights.requires_grad_(), torch.empty(outputs).uniform_(-bound, bound, generator=random).requires_grad_()


def _tensors(classifier: LinearClassifier) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """Copies of its weights and bias in float32."""
    return torch.tensor(classifier.weights, dtype=torch.float32), torch.tensor(classifier.bias, dtype=torch.float32)

"""Published self-supervised checkpoints as a body's weights: which layout, and what is kept (scdd.md 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from attar.backbones.weights import one_tower, rename_keys
from attar.errors import BackboneError

_PARALLEL = {"module.": ""}  # what training on several devices puts before every name
_STEM, _BLOCK = "conv1.weight", "layer1.0.conv1.weight"  # in every residual network, bare or inside a layout


@dataclass(frozen=True)
class Layout:
    """How a training script names the weights of the network that it trained."""

    name: str
    sign: str
    """A prefix of names that no layout further down has."""
    body: str
    """The prefix of the body's names; what doesn't start with it is dropped. Empty where the body stands bare."""
    heads: tuple[str, ...]
    """Prefixes, behind the body's, of projectors and classifiers: dropped."""


# "module." is taken away before. Looked through from the top.
LAYOUTS = (
    # beside the body: encoder_k. (the slow copy), queue. The first files of MoCo v3 are named so too, with predictor.
    Layout("moco-v2", sign="encoder_q.", body="encoder_q.", heads=("fc.",)),
    # beside it: momentum_encoder., predictor.
    Layout("moco-v3", sign="base_encoder.", body="base_encoder.", heads=("fc.",)),
    Layout("swav", sign="projection_head.", body="", heads=("projection_head.", "prototypes.")),
    # beside it: head.; also Barlow Twins, VICReg and solo-learn, with projector. and others beside it
    Layout("dino", sign="backbone.", body="backbone.", heads=("fc.",)),
    # torchvision's and timm's; a classifier is left for `fit_weights`, which knows the network's own
    Layout("plain", sign="", body="", heads=()),
)


def body_weights(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """(name of the layout, weights under torchvision's and timm's names) of what `read_weights` read.

    Of DINO's two networks `read_weights` takes the teacher. Raises BackboneError where a residual network stands under
    a prefix of no known layout.

    >>> from torch import ones
    >>> one = ones(1)
    >>> body_weights({"module.encoder_q.conv1.weight": one, "module.encoder_q.fc.0.weight": one, "module.queue": one})
    ('moco-v2', {'conv1.weight': tensor([1.])})
    """
    bare = rename_keys(weights, _PARALLEL)
    layout = next(layout for layout in LAYOUTS if any(key.startswith(layout.sign) for key in bare))
    body = one_tower(bare, layout.body)
    body = {key: tensor for key, tensor in body.items() if not key.startswith(layout.heads)}
    _check_bare(body)
    return layout.name, body


def _check_bare(body: Mapping[str, Tensor]) -> None:
    prefixes = (key.removesuffix(_BLOCK) for key in body if key.endswith(_BLOCK))
    hidden = next((prefix for prefix in prefixes if prefix and prefix + _STEM in body), None)
    if hidden is not None:
        known = ", ".join(f"{layout.sign} ({layout.name})" for layout in LAYOUTS if layout.sign)
        message = f"this layout of weights is unknown: the network stands under {hidden!r}"
        raise BackboneError(message, f"Take that prefix away, or save it under one that is known: {known}.")

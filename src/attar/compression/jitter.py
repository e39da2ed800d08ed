"""Jitter of colours and lighting, one draw for each image (evaluation.md 6).

Source: the authors' transforms of efficient dataset condensation (arXiv 2205.14959), which Minimax diffusion took over.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32
from torch import Tensor

_STRENGTH = 0.4
_LIGHTING = 0.1
_GREY = (0.299, 0.587, 0.114)
# Principal components of ImageNet's colours, each column times the root of its variance (Krizhevsky et al. 2012).
_COMPONENTS = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_DEVIATIONS = torch.tensor([0.2175, 0.0188, 0.0045])


def jittered(
    images: Float32[Tensor, "n 3 h w"], uniform: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]
) -> Float32[Tensor, "n 3 h w"]:
    """Brightness, contrast and saturation by up to 40 %, then light along the principal colours; not clamped to 0..1.

    The authors shuffle the first three; they commute, so here they have one order.
    """
    strength = _STRENGTH * (2 * uniform - 1)
    brightness, contrast, saturation = strength.to(images)[:, :, None, None, None].unbind(1)
    weights = torch.tensor(_GREY, device=images.device).view(3, 1, 1)
    grey = (images * weights).sum(1, keepdim=True)
    images = images + saturation * (grey - images)
    images = images + contrast * (grey.mean((2, 3), keepdim=True) - images)
    images = images * (1 - brightness)
    light = (_LIGHTING * normal).to(images) * _DEVIATIONS.to(images) @ _COMPONENTS.T.to(images)
    return images + light[:, :, None, None]

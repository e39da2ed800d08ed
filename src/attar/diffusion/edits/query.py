"""Global Semantic Query: each image of a class asks all captions of it, and what they answer joins its features."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from attar.errors import SettingsError

Fusion = Literal["query", "concat", "image", "vae"]


def attend(
    images: Float[Tensor, "n dim"],
    texts: Float[Tensor, "n dim"],
    temperature: float,
    *,
    normalise: bool = True,
    rows: int = 1024,
) -> Float[Tensor, "n dim"]:
    """W T with W = softmax of the rows of I Tᵀ / τ: what the captions of a class answer to each of its images.

    `images` I and `texts` T are CLIP's features; with `normalise` their rows get length 1 first. The authors' code
    means to do so and loses the result, and then each image asks one caption alone: raw products are of order 10, and
    τ is .01. `rows` images ask at a time, so that W is never whole. SettingsError where τ isn't above 0. Source:
    EDITS; edits.md 3.

    >>> images, texts = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> attend(images, texts, 0.001)
    tensor([[1., 0.],
            [0., 1.]])
    """
    if temperature <= 0:
        raise SettingsError(
            f"a temperature of {temperature:g} isn't above 0", "Use --set temperature=0.01, as the authors."
        )
    if normalise:
        images, texts = normalize(images), normalize(texts)
    return torch.cat([(block @ texts.T / temperature).softmax(1) @ texts for block in images.split(rows)])


def fuse(
    kind: Fusion,
    images: Float[Tensor, "n dim"] | None,
    texts: Float[Tensor, "n dim"] | None,
    latents: Float[Tensor, "n c s s"] | None,
    temperature: float,
    normalise: bool = True,
) -> Float[Tensor, "n fused"]:
    """What the images of a class are clustered by (edits.md 3); each kind needs only what it names.

    query    [I, W T]: an image and what the captions answer it (EDITS)
    concat   [I, T]: an image and its own caption
    image    I
    vae      the latents, flat (VLCP, D4M)
    """
    if kind == "vae":
        return _given(latents, kind).flatten(1)
    seen = _given(images, kind)
    rows = normalize(seen) if normalise else seen
    if kind == "image":
        return rows
    told = _given(texts, kind)
    if kind == "concat":
        return torch.cat([rows, normalize(told) if normalise else told], 1)
    return torch.cat([rows, attend(seen, told, temperature, normalise=normalise)], 1)


def _given(features: Tensor | None, kind: Fusion) -> Tensor:
    if features is None:
        raise ValueError(f"fusion {kind!r} lacks its features")
    return features

"""Backbones that attar knows by name: numbers, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True)
class Entry:
    """What a network is and expects."""

    name: str
    loader: str
    """Loader and what it loads: `timm:vit_small_patch16_224.dino`, `hf:owner/repository:network`, `py:module:function`.

    Where it is `py:`, the weights are a file that the user passes; else they are fetched from the hub.
    """
    image_size: int
    """Side in pixels."""
    dim: int
    """Number of features."""
    mean: tuple[float, float, float]
    """Of RGB in 0..1, as the weights were trained."""
    std: tuple[float, float, float]
    feature: Literal["pooled", "projected"]
    licence: str
    """Of the weights, as an SPDX identifier."""
    source: str
    """Where the weights come from, with their numbers."""


_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _family(
    *members: tuple[str, str, int],
    pixels: tuple[tuple[float, float, float], tuple[float, float, float]],
    licence: str,
    source: str,
    image_size: int = 224,
    feature: Literal["pooled", "projected"] = "pooled",
) -> list[Entry]:
    """Entries of (name, loader, dim) that share the rest; `pixels` are mean and standard deviation."""
    mean, std = pixels
    return [Entry(name, loader, image_size, dim, mean, std, feature, licence, source) for name, loader, dim in members]


ENTRIES = {
    entry.name: entry
    for family in (
        # The normed class token, at 224 pixels as LGM and SFM feed it: timm's own size is 518.
        _family(
            ("dinov2_vits14", "timm:vit_small_patch14_dinov2.lvd142m", 384),
            ("dinov2_vitb14", "timm:vit_base_patch14_dinov2.lvd142m", 768),
            ("dinov2_vitl14", "timm:vit_large_patch14_dinov2.lvd142m", 1024),
            pixels=_IMAGENET,
            licence="Apache-2.0",
            source="https://github.com/facebookresearch/dinov2",
        ),
        _family(  # the normed class token
            ("dino_vits16", "timm:vit_small_patch16_224.dino", 384),
            ("dino_vits8", "timm:vit_small_patch8_224.dino", 384),
            ("dino_vitb16", "timm:vit_base_patch16_224.dino", 768),
            ("dino_vitb8", "timm:vit_base_patch8_224.dino", 768),
            pixels=_IMAGENET,
            licence="Apache-2.0",
            source="https://github.com/facebookresearch/dino",
        ),
        # OpenAI's image towers with their projection, not normalised. The transformers were trained with QuickGELU:
        # timm's networks of the same name without it take the same weights and give other features.
        _family(
            ("clip_vitb16", "timm:vit_base_patch16_clip_quickgelu_224.openai", 512),
            ("clip_vitb32", "timm:vit_base_patch32_clip_quickgelu_224.openai", 512),
            ("clip_vitl14", "timm:vit_large_patch14_clip_quickgelu_224.openai", 768),
            ("clip_resnet50", "timm:resnet50_clip.openai", 1024),
            ("clip_resnet101", "timm:resnet101_clip.openai", 512),
            pixels=_CLIP,
            feature="projected",
            licence="MIT",
            source="https://github.com/openai/CLIP",
        ),
        _family(  # the mean of the patch tokens, normed afterwards
            ("eva02_vitt14", "timm:eva02_tiny_patch14_224.mim_in22k", 192),
            ("eva02_vits14", "timm:eva02_small_patch14_224.mim_in22k", 384),
            ("eva02_vitb14", "timm:eva02_base_patch14_224.mim_in22k", 768),
            ("eva02_vitl14", "timm:eva02_large_patch14_224.mim_in22k", 1024),
            pixels=_CLIP,
            licence="MIT",
            source="https://github.com/baaivision/EVA/tree/master/EVA-02",
        ),
        # The normed class token. The repositories hold weights for timm's plain transformers; the fixed sine and
        # cosine positions are among them.
        _family(
            ("mocov3_vitb16", "hf:nyu-visionx/moco-v3-vit-b:vit_base_patch16_224", 768),
            ("mocov3_vitl16", "hf:nyu-visionx/moco-v3-vit-l:vit_large_patch16_224", 1024),
            pixels=_IMAGENET,
            licence="CC-BY-NC-4.0",
            source="https://github.com/facebookresearch/moco-v3",
        ),
        _family(
            ("cifar_resnet20", "py:attar.backbones.cifar_resnet:resnet20", 64),
            ("cifar_resnet56", "py:attar.backbones.cifar_resnet:resnet56", 64),
            pixels=_IMAGENET,
            image_size=32,
            licence="BSD-2-Clause",
            source="https://github.com/akamaster/pytorch_resnet_cifar10",
        ),
        _family(
            ("taef2_encoder", "py:attar.backbones.taef2:pooled_encoder", 32),
            pixels=_UNIT,
            licence="MIT",
            source="https://github.com/madebyollin/taesd",
        ),
    )
    for entry in family
}

AMBIGUOUS = {
    "clip_vitb": "Say clip_vitb16 or clip_vitb32: SFM means B/16 by clip_vitb, and LGM's released code loads B/32.",
}
"""Names that the papers use and that two networks answer to, with what to say instead."""


def list_backbones(pattern: str = "*") -> list[Entry]:
    """The catalogue's entries whose name fits `pattern` (as file names do: `*`, `?`, `[abc]`), sorted by name.

    >>> [entry.name for entry in list_backbones("dinov2_*")]
    ['dinov2_vitb14', 'dinov2_vitl14', 'dinov2_vits14']
    """
    return [entry for name, entry in sorted(ENTRIES.items()) if fnmatchcase(name, pattern)]

"""Diffusion and language-image models of a few thousand random weights, in the hub's layout, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn


def vae(channels: int = 4) -> Any:
    """Images of 16 x 16 pixels to latents of 8 x 8."""
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.18215,
    ).eval()


def dit(classes: int = 1000, *, learned: bool = True) -> Any:
    """A diffusion transformer over those latents; with `learned` it tells variances too, as DiT does."""
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(2)
    model = DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8 if learned else 4,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=classes,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    ).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def dit_pipeline(names: dict[int, str] | None = None, *, learned: bool = True) -> Any:
    """DiT with 1000 classes, or with those of `names`."""
    from diffusers import DDIMScheduler, DiTPipeline

    scheduler = DDIMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False)
    pipeline = DiTPipeline(dit(len(names) if names else 1000, learned=learned), vae(), scheduler)
    if names:
        pipeline.register_to_config(id2label=names)
    return pipeline


def tokenizer() -> Any:
    """CLIP's tokenizer with bytes for a vocabulary and no merges."""
    from transformers import CLIPTokenizer

    letters = _bytes_as_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77)


def _bytes_as_letters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


_TEXT = {
    "vocab_size": 514,
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 77,
    "bos_token_id": 512,
    "eos_token_id": 513,
}


def stable_diffusion() -> Any:
    """Stable Diffusion in the layout of version 1.5, its scheduler PNDM as released."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=4,
        attention_head_dim=2,
    ).eval()
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**_TEXT)).eval(),
        tokenizer=tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_clip(folder: Path) -> Path:
    """A CLIP of 32-pixel images and 16 dimensions, with its tokenizer, as a folder."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(4)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    CLIPModel(CLIPConfig(text_config=_TEXT, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder

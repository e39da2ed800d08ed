"""P12: what refining a set costs beside plain samples of the same diffusion model.

    python benchmarks/refine.py              # a DiT of 12 blocks of 384, 16 x 16 latents, two images, 50 steps, fp32

One side is the whole of `attar refine` with everything on: encode, noise, 50 steps with classifier-free guidance and
the pull in its window, decode, PNG files, the set. The other is `DiTPipeline(...)` of diffusers with as many steps and
images, to arrays. Both alternate in one process; the ratio is of the medians. Weights are random. The autoencoder is
small, as it is beside the network in DiT-XL/2, where encoding takes 1 % of the arithmetic of 50 steps.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

import attar
from attar.devices import keep_freed_memory
from attar.diffusion.latent import LatentDiffusion
from attar.diffusion.models import open_diffusion
from attar.distilled import Manifest, Origin, write
from bars import Bar, arguments, report
from step import alternate

CLASSES = ("tench", "goldfish")
LAYERS, HEADS, LATENT_SIDE = 12, 6, 16
PIXELS = 8 * LATENT_SIDE


def main() -> None:
    given = arguments(__doc__).parse_args()
    rounds, images = (3, 1) if given.quick else (7, 2)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline().save_pretrained(folder / "dit")
        model = open_diffusion(str(folder / "dit"))
        times = alternate({"refine": refined(model, folder, images), "plain": plain(model, images)}, rounds)
        share = attar.load(folder / "out").manifest.scores["plain_share"]
    seconds = {task: statistics.median(values) for task, values in times.items()}
    detail = f"DiT {LAYERS} x {64 * HEADS}, {images} image{'s' * (images > 1)} of {PIXELS} px, 50 steps, fp32, medians "
    detail += f"of {rounds}: {seconds['refine']:.1f} s, plain {seconds['plain']:.1f} s; its own account {1 / share:.3f}"
    report([Bar("P12", seconds["refine"] / seconds["plain"], 1.1, "x", detail)], given.json)


def pipeline() -> DiTPipeline:
    """A DiT of ImageNet's classes in the middle of its published sizes, with an autoencoder eight times as coarse."""
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        sample_size=LATENT_SIDE,
        num_layers=LAYERS,
        patch_size=2,
        attention_head_dim=64,
        num_attention_heads=HEADS,
        in_channels=4,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=PIXELS,
    )
    scheduler = DDIMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False)
    return DiTPipeline(transformer.eval(), vae.eval(), scheduler)


def refined(model: LatentDiffusion, folder: Path, images: int) -> Callable[[], object]:
    """A function that refines a set of `images` images, one a class, from start to end."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, 64, 64), dtype=np.uint8)
    given = write(folder / "given", pixels, np.arange(images), manifest=manifest(CLASSES[:images]))
    settings = attar.choose_refinement("paper")

    def run() -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        attar.refine(given, model, folder / "out", settings=settings, batch=images, restart=True)

    return run


def plain(model: LatentDiffusion, images: int) -> Callable[[], object]:
    """A function that draws as many samples with diffusers' own call."""
    model.pipeline.set_progress_bar_config(disable=True)
    return lambda: model.pipeline(
        list(range(images)),
        guidance_scale=4.0,
        num_inference_steps=50,
        generator=torch.manual_seed(0),
        output_type="np",
    )


def manifest(classes: tuple[str, ...]) -> Manifest:
    """What a set of noise says of itself."""
    return Manifest(
        attar_version="0",
        created="",
        method="noise",
        classes=list(classes),
        titles=list(classes),
        folders=[],
        ipc=1,
        image_side=64,
        settings={},
        seeds={},
        backbones=[],
        data=Origin(name="noise", fingerprint=""),
        train_images=0,
        scores={},
        files={},
    )


if __name__ == "__main__":
    main()

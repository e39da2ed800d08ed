"""Train a small class-conditional diffusion transformer, with an autoencoder of its own, on any labelled images.

    python examples/train_tiny_dit.py digits --side 16 --out tiny-digits --vae-steps 600 --steps 3000
    python examples/train_tiny_dit.py photos/train --side 32 --out tiny-dit

The large models that `attar refine` is made for cannot be had everywhere. This one is a folder in the same layout
(diffusers' `DiTPipeline`: an `AutoencoderKL` down to 8 x 8 latents of 8 channels, a `DiTTransformer2DModel` of 8
million parameters that looks at patches of 2 x 2), so that the whole road can be walked on a CPU. It is no match for
them: what it has learnt, it has learnt from the images given here. A folder that holds an autoencoder is gone on with.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional

import attar
from attar.cli.show import Shown
from attar.devices import keep_freed_memory, pick_device
from attar.features import read_squares
from attar.progress import Progress

LATENT_SIDE, LATENT_CHANNELS = 8, 8
VAE_BATCH = 32
DROPPED = 0.1  # of the labels, so that the model knows images without one too, for classifier-free guidance
SNR = 5.0  # min-SNR weighting (Hang et al. 2023): steps with little noise count no more than this
KL = 1e-3
EMA = 0.999


def autoencoder(side: int) -> AutoencoderKL:
    """Halves the side until it is 8."""
    levels = round(math.log2(side / LATENT_SIDE)) + 1
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(16, 32, 64, 64, 64, 64)[
            :levels
        ],  # few where the images are large: that is where the time goes
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=side,
    )


def transformer(classes: int) -> DiTTransformer2DModel:
    """Every block starts as the identity (adaLN-Zero), and the whole as zero: DiT, section 3.2."""
    model = DiTTransformer2DModel(
        sample_size=LATENT_SIDE,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=6,
        num_attention_heads=4,
        attention_head_dim=64,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=classes,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    for layer in (*(block.norm1.linear for block in model.transformer_blocks), model.proj_out_1, model.proj_out_2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def ddim() -> DDIMScheduler:
    """DiT's schedule: linear betas, the last step arrives at the clean image."""
    return DDIMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False)


def snr_weights(scheduler: DDIMScheduler) -> Tensor:
    """How much the error of the noise counts at each timestep."""
    signal = scheduler.alphas_cumprod
    return (SNR * (1 - signal) / signal).clamp(max=1)


def optimise(
    model: nn.Module,
    loss: Callable[[], Tensor],
    steps: int,
    rate: float,
    task: str,
    progress: Progress,
    keep: Callable[[nn.Module], None],
) -> nn.Module:
    """AdamW with warm-up and a cosine; returns the moving average of the weights, kept every 1000 steps on the way."""
    parameters = [value for value in model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    warm = max(1, min(500, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / warm) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
    )
    average = copy.deepcopy(model)
    for step in range(steps):
        value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        share = 1 - min(EMA, (step + 1) / (step + 10))
        with torch.no_grad():
            for own, new in zip(average.parameters(), model.parameters(), strict=True):
                own.lerp_(new, share)
        if (step + 1) % 20 == 0:
            progress.advance(task, step + 1, steps, {"loss": float(value.detach())})
        if (step + 1) % 1000 == 0:
            keep(average)
    keep(average)
    return average


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Numbers of images without end, every image once before any comes again."""
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count - count % size or count].split(size)


def train_autoencoder(images: Tensor, steps: int, device: torch.device, out: Path, progress: Progress) -> AutoencoderKL:
    """Absolute error with a weak pull of the latents towards N(0, 1); their scale is measured at the end."""
    model = autoencoder(images.shape[-1]).to(device)
    generator = torch.Generator().manual_seed(0)
    order = batches(len(images), VAE_BATCH, generator)

    def loss() -> Tensor:
        pixels = flipped(images[next(order)], generator).to(device) / 127.5 - 1
        with torch.autocast(device.type, dtype=torch.bfloat16):
            posterior = model.encode(pixels).latent_dist
            made = model.decode(posterior.sample()).sample.float()
        spread = posterior.logvar.float()
        kl = (posterior.mean.float().square() + spread.exp() - 1 - spread).mean() / 2
        return functional.l1_loss(made, pixels) + KL * kl

    trained = optimise(model, loss, steps, 1e-3, "autoencoder", progress, lambda average: None).eval()
    trained.register_to_config(scaling_factor=float(1 / latents_of(trained, images[:2000], scaled=False).std()))
    trained.save_pretrained(out)
    return trained


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images mirrored."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


@torch.inference_mode()
def latents_of(vae: AutoencoderKL, images: Tensor, *, scaled: bool = True) -> Tensor:
    """The modes of the latents, [n, 8, 8, 8]."""
    pieces = [vae.encode(piece.to(vae.device) / 127.5 - 1).latent_dist.mode() for piece in images.split(250)]
    return torch.cat(pieces).cpu() * (vae.config.scaling_factor if scaled else 1)


def train_transformer(
    latents: Tensor, labels: Tensor, names: dict[int, str], vae: AutoencoderKL, arguments: argparse.Namespace, device
) -> None:
    """Noise prediction on latents [versions, n, 8, 8, 8]; the pipeline is saved to the folder every 1000 steps."""
    model = transformer(len(names)).to(device).eval()  # in train mode each block would drop labels on its own
    generator = torch.Generator().manual_seed(1)
    order = batches(len(labels), arguments.batch, generator)
    scheduler = ddim()
    weight = snr_weights(scheduler)

    def loss() -> Tensor:
        ids = next(order)
        version = torch.randint(len(latents), (len(ids),), generator=generator)
        clean = latents[version, ids]
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(len(weight), (len(ids),), generator=generator)
        nothing = torch.rand(len(ids), generator=generator) < DROPPED
        wanted = torch.where(nothing, len(names), labels[ids])
        noisy = scheduler.add_noise(clean, noise, times)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            told = model(noisy.to(device), timestep=times.to(device), class_labels=wanted.to(device)).sample
        error = (told.float() - noise.to(device)).square().mean((1, 2, 3))
        return (error * weight[times].to(device)).mean()

    def keep(average: nn.Module) -> None:
        pipeline = DiTPipeline(average, vae, scheduler)
        pipeline.register_to_config(id2label=names)  # where DiT's own folder says what its classes are called
        pipeline.save_pretrained(arguments.out)

    with Shown() as progress:
        optimise(model, loss, arguments.steps, arguments.rate, "transformer", progress, keep)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="what attar.open takes: a folder with a subfolder a class, arrays, or digits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, choices=[16, 32, 64, 128, 256], default=32)
    parser.add_argument("--vae-steps", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    device = pick_device(arguments.device)
    source = attar.open(arguments.data)
    images = torch.from_numpy(read_squares(source, arguments.side, range(len(source))))
    folder = arguments.out / "vae"
    if (folder / "config.json").is_file():
        vae = AutoencoderKL.from_pretrained(folder).to(device).eval()
    else:
        with Shown() as progress:
            vae = train_autoencoder(images, arguments.vae_steps, device, folder, progress)
    digits = arguments.data == "digits"
    latents = torch.stack([latents_of(vae, each) for each in ([images] if digits else [images, images.flip(-1)])])
    titles = dict(enumerate(source.titles))
    train_transformer(latents, torch.from_numpy(source.labels), titles, vae, arguments, device)


if __name__ == "__main__":
    main()

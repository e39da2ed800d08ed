"""One batch of images through a diffusion model and back: DIVER's algorithm (diver.md 3) with its clocks and seeds."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from attar.diffusion.models import LatentDiffusion
from attar.diffusion.refine_settings import RefineSettings
from attar.diffusion.sampling import Pull, Steer, noised, sample
from attar.diffusion.schedule import Schedule


class Dived(NamedTuple):
    """Refined images, and what is worth knowing of each; `seconds` and `plain_seconds` are of the whole batch."""

    images: UInt8[np.ndarray, "n 3 side side"]
    moved: list[float]
    stds: list[dict[str, float]]
    seconds: float
    plain_seconds: float


def image_seed(run_seed: int, label: int, place: int, replica: int) -> int:
    """The seed of an image's noise (diver.md 8): it doesn't hang on batches, order or device.

    >>> image_seed(0, 1, 2, 0)
    1053592440835383461
    """
    text = f"diver|{run_seed}|{label}|{place}|{replica}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 2**63


def dive(
    model: LatentDiffusion,
    images: Sequence[UInt8[np.ndarray, "3 _ _"]],
    conditions: Sequence[int | str],
    seeds: Sequence[int],
    settings: RefineSettings,
) -> Dived:
    """Refine square images, each with the noise of its seed and guided by its condition."""
    clock = _Clock(model.device)
    with clock.on("all"):
        inherited = torch.cat([model.encode(torch.tensor(image[None]).float() / 255) for image in images])
        end, seen = _refined(model, inherited, conditions, seeds, settings, clock)
        with clock.on("decode"):
            decoded = model.decode(end)
        pixels = _pixels(decoded, settings.out_size)
    moved = (end - inherited).flatten(1).norm(dim=1) / math.sqrt(inherited[0].numel())
    return Dived(
        pixels,
        moved.tolist(),
        [dict(zip(seen, values, strict=True)) for values in zip(*seen.values(), strict=True)],
        clock.seconds["all"],
        clock.seconds["sample"] - clock.seconds["pull"] + clock.seconds["decode"],
    )


def _refined(
    model: LatentDiffusion,
    inherited: Float[Tensor, "n c s s"],
    conditions: Sequence[int | str],
    seeds: Sequence[int],
    settings: RefineSettings,
    clock: _Clock,
) -> tuple[Float[Tensor, "n c s s"], dict[str, list[float]]]:
    """The latents at the end, and the standard deviation of each at the ends of the window and at 0."""
    if settings.vae_only:
        return inherited, {"0": _stds(inherited)}
    schedule = Schedule(model.alphas, model.final_alpha, model.offset, settings.steps)
    noise = torch.stack([_noise(model.latent, seed) for seed in seeds]).to(inherited)
    start = noised(inherited, noise, schedule.alpha(settings.t_f)) if settings.si else noise
    pull = Pull(
        schedule, inherited, noise, settings.gamma, *settings.window, sigma=settings.sigma, target=settings.target
    )
    watched, seen = {settings.window_high, settings.window_low, 0}, {}

    def watch(k: int, latents: Tensor) -> None:
        if k in watched:
            seen[str(k)] = _stds(latents)

    with clock.on("sample"):
        end = sample(
            model,
            start,
            conditions,
            schedule,
            guidance=model.guidance if settings.cfg is None else settings.cfg,
            first=settings.first,
            steer=_timed(pull, clock),
            watch=watch,
        )
    return end, seen


def _noise(latent: tuple[int, int, int], seed: int) -> Float[Tensor, "c s s"]:
    """Drawn on the CPU, so that every device sees the same."""
    return torch.randn(latent, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def _stds(latents: Float[Tensor, "n c s s"]) -> list[float]:
    return latents.flatten(1).std(dim=1).tolist()


def _pixels(images: Float[Tensor, "n 3 h h"], side: int | None) -> UInt8[np.ndarray, "n 3 side side"]:
    """Images in 0..1 as bytes, resized first (bicubic, antialiased) where a side is given."""
    if side is not None and side != images.shape[-1]:
        images = functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
    return (images * 255).round().to(torch.uint8).cpu().numpy()


class _Clock:
    """Wall seconds by task, of work that the device has really done."""

    def __init__(self, device: torch.device):
        self._device = device
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def on(self, task: str) -> Iterator[None]:
        started = self._now()
        yield
        self.seconds[task] += self._now() - started

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _timed(steer: Steer, clock: _Clock) -> Steer:
    def timed(k: int, latents: Tensor, clean: Tensor, variance: Tensor | None) -> Tensor | None:
        with clock.on("pull"):
            return steer(k, latents, clean, variance)

    return timed

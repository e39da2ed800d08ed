"""Which scale of classifier-free guidance gives latents as spread as those of real images: plain samples of a model.

python benchmarks/guidance.py MODEL TRAIN
"""

from __future__ import annotations

import sys

import numpy as np
import torch

import attar
from attar.diffusion.models import open_diffusion
from attar.diffusion.sampling import sample
from attar.diffusion.schedule import Schedule
from attar.features import read_squares

SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
SAMPLES, REAL = 20, 500


def main() -> None:
    name, data = sys.argv[1:]
    model, source = open_diffusion(name), attar.open(data)
    chosen = np.random.default_rng(0).choice(len(source), REAL, replace=False)
    images = torch.from_numpy(read_squares(source, model.side, chosen)).float() / 255
    print("| guidance scale | std of the latents | of the pixels |\n|---|---|---|")
    print(f"| real images | {model.encode(images).std():.3f} | {images.std():.3f} |")
    conditions = model.conditions(source.classes, source.titles)
    wanted = [conditions[number % len(conditions)] for number in range(SAMPLES)]
    start = torch.randn(SAMPLES, *model.latent, generator=torch.Generator().manual_seed(0)).to(model.device)
    schedule = Schedule(model.alphas, model.final_alpha, model.offset, 50)
    for scale in SCALES:
        latents = sample(model, start, wanted, schedule, guidance=scale)
        print(f"| {scale:g} | {latents.std():.3f} | {model.decode(latents).std():.3f} |")


if __name__ == "__main__":
    main()

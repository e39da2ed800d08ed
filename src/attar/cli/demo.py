"""`attar demo`: the whole road in about a minute, without downloads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from attar.cli.options import Json

_SIDE = 32


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the distilled digits and pictures.")] = Path(
        "demo"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Distillation seeds.")] = 3,
    json: Json = False,
) -> None:
    """Distil handwritten digits into one image a class, and measure it: no downloads, about a minute.

    **attar demo**

    Trains a small encoder without labels, distils on it, and compares with real images.
    """
    import attar
    from attar.backbones import train_encoder
    from attar.cli.show import Shown, print_json, show_evaluation
    from attar.features import read_squares

    started = time.perf_counter()
    train, test = attar.open("digits:train"), attar.open("digits:test")
    with Shown() as progress:
        progress.note(f"{len(train)} digits to learn from, {len(test)} to test on.")
        images = _floats(read_squares(train, _SIDE, range(len(train))))
        encoder = train_encoder(images, progress=lambda done, total: progress.advance("encoder", done, total))
        settings = attar.choose_settings("fast", steps=1000)
        sets = [
            attar.distill(
                train,
                encoder,
                out / f"digits-{seed}.attar",
                settings=settings.model_copy(update={"seed": settings.seed + seed}),
                restart=True,
                progress=progress,
            )
            for seed in range(seeds)
        ]
        result = attar.evaluate(sets, test=test, train=train, backbone=encoder, progress=progress)
        progress.note(f"{time.perf_counter() - started:.0f} seconds. Look at {sets[0].path / 'preview.png'}.")
        progress.note("Next: attar distill PHOTOS/train --backbone vit_tiny_patch16_224 --out photos.attar")
    if json:
        print_json(result.as_json())
    else:
        show_evaluation(result)


def _floats(images):
    import torch

    return torch.from_numpy(images).float() / 255

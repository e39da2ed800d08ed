"""Class means or learned targets: the demo's digits and encoder, judged by a quarter of the training images.

    python benchmarks/digits.py

One and ten images a class, 400 steps of `fast`; the test images are measured beside it and decide nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import attar
from attar.backbones import train_encoder
from attar.features import read_squares

SIDE = 32


def main() -> None:
    images, test = attar.open("digits:train"), attar.open("digits:test")
    train, held_out = attar.split(images, fraction=0.25, seed=0)
    squares = read_squares(images, SIDE, range(len(images)))
    encoder = train_encoder(torch.from_numpy(squares).float() / 255)
    print(
        "| target | images a class | seeds | held out: probe-v1 / std | test: probe-v1 / std |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for ipc, seeds in ((1, 2), (10, 1)):
            for target in ("means", "learned"):
                sets = []
                for seed in range(seeds):
                    settings = attar.choose_settings("fast", target=target, ipc=ipc, seed=seed)
                    sets.append(
                        attar.distill(train, encoder, Path(folder) / f"{target}-{ipc}-{seed}", settings=settings)
                    )
                cells = [accuracies(sets, part, encoder) for part in (held_out, test)]
                print(f"| {target} | {ipc} | {seeds} | " + " | ".join(cells) + " |", flush=True)


def accuracies(sets: list[attar.DistilledSet], test: attar.ImageSource, encoder: attar.Backbone) -> str:
    rows = attar.evaluate(sets, test=test, train=None, backbone=encoder).rows
    return " / ".join(f"{row.accuracy:.1f} ± {row.std:.1f}" for row in rows)


if __name__ == "__main__":
    main()

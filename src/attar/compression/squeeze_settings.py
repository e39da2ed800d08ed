"""Settings of a squeeze: which network learns how, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attar.compression.training import Course
from attar.errors import SettingsError


@dataclass(frozen=True)
class SqueezeSettings:
    """What decides the squeezed network; None stands for the usual value of `ssl` or of the images' side.

    Epochs 200; batch 128, 256 (SimCLR) or 512 (MoCo v2); lr .1, .3 or .06; weight decay 5e-4 (scdd.md 2).
    """

    arch: str
    ssl: str = "none"
    side: int | None = None
    stem: str | None = None
    epochs: int = 200
    batch: int | None = None
    lr: float | None = None
    weight_decay: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ssl not in _USUAL:
            raise SettingsError(f"there is no --ssl {self.ssl!r}", f"choose one of {', '.join(_USUAL)}")
        if self.stem not in (None, "native", "small"):
            raise SettingsError(f"there is no stem {self.stem!r}", "choose native or small")
        counts = {"side": (self.side, 1), "epochs": (self.epochs, 1), "batch": (self.batch, 2)}
        small = [f"{name} = {value}" for name, (value, least) in counts.items() if value is not None and value < least]
        if small:
            raise SettingsError(f"{small[0]} is too small", "sides and epochs start at 1, batches at 2")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise SettingsError(f"lr = {self.lr} is no learning rate", "give a positive number")

    def course(self, count: int) -> Course:
        """The training on `count` images."""
        batch, lr, warm_up = _USUAL[self.ssl]
        size = min(self.batch or batch, count)
        return Course(self.epochs, size, self.lr or lr, self.weight_decay, warm_up, self.seed)


_USUAL = {"none": (128, 0.1, 0.0), "simclr": (256, 0.3, 0.05), "moco-v2": (512, 0.06, 0.0)}
"""Batch, learning rate and share of warm-up."""

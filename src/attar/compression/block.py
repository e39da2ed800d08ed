"""A block of images on the way from noise to what a frozen network knows (scdd.md 3).

Blocks have nothing to do with each other: noise and views are drawn by (seed, block, step).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attar.backbones.squeezed import Squeezed
from attar.compression.block_views import draw_view
from attar.compression.canvas import NormalisedPixels
from attar.compression.matching import MatchedNetwork, Passed
from attar.compression.recovery_settings import RecoverySettings
from attar.errors import SettingsError
from attar.synthesis.draws import Stream, generator


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of the block, and the weighted mismatch of its statistics: their sum is what is minimised."""

    cross_entropy: Float[Tensor, ""]
    weighted: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        return self.cross_entropy + self.weighted


def recovery_loss(passed: Passed, labels: Int[Tensor, " n"], settings: RecoverySettings) -> Loss:
    """The loss of scdd.md 3.1 of images that passed through the network; `labels` are places in its logits."""
    mismatches = passed.mismatches
    weighted = settings.bn_weight * (mismatches.sum() + (settings.first_weight - 1) * mismatches[0])
    return Loss(F.cross_entropy(passed.logits, labels), weighted)


def block_noise(seed: int, block: int, count: int, side: int) -> Float[Tensor, "{count} 3 {side} {side}"]:
    """What a block of `count` images begins as: N(0, 1) in normalised space."""
    random = generator(seed, Stream.RECOVERY, image=block)
    return torch.from_numpy(random.standard_normal((count, 3, side, side), dtype="float32"))


@final
class Block:
    """The state of block number `number`: its canvas, its optimiser, and how many steps it has taken.

    `labels` are places in the logits of `squeezed`, whose network `network` is.
    """

    def __init__(
        self,
        number: int,
        labels: Int[Tensor, " n"],
        squeezed: Squeezed,
        network: MatchedNetwork,
        settings: RecoverySettings,
    ):
        self.number, self.settings, self.steps = number, settings, 0
        record, place = squeezed.record, squeezed.device
        noise = block_noise(settings.seed, number, len(labels), record.side)
        self.canvas = NormalisedPixels(noise.to(place), record.mean, record.std)
        self._labels, self._network = labels.to(place), network
        self._adam = self._new_adam()
        self._last: tuple[Loss, Passed] | None = None
        self._ratio: Tensor | None = None

    def step(self) -> None:
        """Draw the view, pass it, move the pixels, clip them."""
        for group in self._adam.param_groups:
            group["lr"] = self.settings.rate(self.steps)
        view = draw_view(self.settings, self.canvas.side, block=self.number, step=self.steps)
        passed = self._network(view(self.canvas.pixels))
        loss = recovery_loss(passed, self._labels, self.settings)
        self._fill_gradient(loss)
        self._adam.step()
        self.canvas.after_step()
        self._last = loss, passed
        self.steps += 1

    def _fill_gradient(self, loss: Loss) -> None:
        """The gradient of the whole; at the first, the middle and the last step term by term, to compare them."""
        pixels, self._ratio = self.canvas.pixels, None
        if self.steps not in (0, self.settings.steps // 2, self.settings.steps - 1) or not self.settings.bn_weight:
            (pixels.grad,) = torch.autograd.grad(loss.total, pixels)
            return
        (one,) = torch.autograd.grad(loss.cross_entropy, pixels, retain_graph=True)
        (other,) = torch.autograd.grad(loss.weighted, pixels)
        pixels.grad = one + other
        self._ratio = torch.linalg.vector_norm(one) / torch.linalg.vector_norm(other)

    def figures(self) -> dict[str, float]:
        """Of the last step, for the log; SettingsError where pixels or loss aren't finite any more.

        `mismatch` is the sum of R over the layers and `stem` the first one's; `weighted` is what of it is in the loss;
        `right` the share of the block that the network classifies as wanted; `ratio` |gradient of the
        cross-entropy| / |that of the weighted mismatch|, where it was taken.
        """
        assert self._last is not None, "before the first step there are no figures"
        loss, passed = self._last
        right = (passed.logits.detach().argmax(1) == self._labels).to(loss.total.dtype).mean()
        finite = self.canvas.pixels.isfinite().all().to(right)
        told = [finite, loss.cross_entropy, passed.mismatches.sum(), passed.mismatches[0], loss.weighted, right]
        told += [] if self._ratio is None else [self._ratio]
        finite, *numbers = torch.stack([value.detach() for value in told]).tolist()  # one copy from the device
        names = ("cross_entropy", "mismatch", "stem", "weighted", "right", "ratio")
        figures = dict(zip(names, numbers, strict=False))
        if not (finite and math.isfinite(figures["cross_entropy"] + figures["weighted"])):
            raise SettingsError(
                f"the images of block {self.number} are not finite after step {self.steps - 1}, or their loss isn't",
                "the last checkpoint is whole; try --precision fp32 or a lower --lr",
            )
        step = self.steps - 1
        return {
            "loss": figures["cross_entropy"] + figures["weighted"],
            **figures,
            "lr": self.settings.rate(step),
            "crop": self.settings.crop_bound(step) if self.settings.crop == "random" else 1.0,
        }

    def by_layer(self) -> dict[str, float]:
        """R of each layer, at the steps whose figures have a `ratio`."""
        assert self._last is not None, "before the first step there are no figures"
        if self._ratio is None:
            return {}
        mismatches = self._last[1].mismatches.detach().tolist()
        return {f"R {layer}": value for layer, value in zip(self._network.layers, mismatches, strict=True)}

    def refuse_unknown(self) -> None:
        """SettingsError where, after a tenth of the steps, guessing would be as good (scdd.md 13)."""
        assert self._last is not None, "before the first step there are no figures"
        entropy, classes = self.figures()["cross_entropy"], self._last[1].logits.shape[1]
        if entropy >= math.log(classes):
            raise SettingsError(
                f"after {self.steps} steps the network knows the images of block {self.number} no better than by "
                f"guessing: cross-entropy {entropy:.2f}, and ln {classes} is {math.log(classes):.2f}",
                "lower bn_weight (--set), or squeeze a better network",
            )

    @torch.no_grad()
    def images(self) -> UInt8[Tensor, "n 3 side side"]:
        """As they are stored: 8 bits a channel, on the CPU."""
        images = self.canvas.images(torch.arange(self.canvas.count, device=self.canvas.pixels.device))
        return (images * 255).round().to(torch.uint8).cpu()

    def state_dict(self) -> dict[str, Tensor]:
        """Pixels, Adam's moments and the number of steps, not copied: the next step changes them."""
        moments = {f"adam.{name}": value for name, value in self._adam.state[self.canvas.pixels].items()}
        return {"steps": torch.tensor(self.steps), **self.canvas.state_dict(), **moments}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state_dict` returned."""
        self.steps = int(state["steps"])
        self.canvas.load_state_dict(state)
        self._adam = self._new_adam()
        moments = {name[5:]: value.clone() for name, value in state.items() if name.startswith("adam.")}
        place = self.canvas.pixels.device
        if moments:
            self._adam.state[self.canvas.pixels] = {name: value.to(place) for name, value in moments.items()}

    def _new_adam(self) -> torch.optim.Adam:
        betas = (self.settings.beta1, self.settings.beta2)
        pixels = self.canvas.pixels
        return torch.optim.Adam([pixels], lr=self.settings.lr, betas=betas, fused=pixels.device.type != "mps")

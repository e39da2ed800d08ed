"""Linear gradient matching as its authors run it, written anew from a description of their loop (lgm.md 1, 4, 5).

    python benchmarks/authors_lgm.py FOLDER --backbone vit_small_patch16_224 --weights FILE --out OUT

It is the rival that benchmarks/rivals.py times, so it spends what theirs spends: one graph over all views of all
images, a backbone whose weights collect gradients that nobody uses, real images decoded and encoded anew in each step,
with their graph, double backward through the head's gradient, and all levels of the pyramid decoded and stacked at
once. It needs nothing of attar but the backbone. Differences: one process in place of data-parallel GPUs and of
workers that decode ahead, and fp32 unless `--half`, where theirs is fp16 under autocast.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator, Sized
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

import attar

STEPS = 5001
_COLOUR = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]]) / 0.461952
_LOSS_SCALE = 1024.0  # against underflow in fp16; a power of two, which changes nothing in fp32
_HEAD_STD = 0.01


class AuthorsLoop:
    """The state of a run: levels of the pyramid, Adam, and the shuffled real images.

    `real` gives pairs (float tensor [3, side, side] in 0..1, label); `copies` views are shown of each of `classes` ·
    `ipc` images, and as many real images, in one step. `start` is the side of the largest level at first.
    """

    def __init__(
        self,
        backbone: attar.Backbone,
        real: Sized,
        classes: int,
        *,
        side: int,
        ipc: int = 1,
        copies: int = 10,
        smallest_crop: float = 0.08,
        lr: float = 2e-3,
        grow_every: int = 200,
        start: int = 1,
        seed: int = 3407,
        half: bool = False,
    ):
        self.backbone, self.classes, self.copies, self.side = backbone, classes, copies, side
        self.smallest_crop, self.lr, self.grow_every, self.half = smallest_crop, lr, grow_every, half
        self.device, self.random = backbone.device, torch.Generator(backbone.device).manual_seed(seed)
        self.network = copy.deepcopy(backbone.module).requires_grad_()
        self.labels = torch.arange(classes, device=self.device).repeat_interleave(ipc)
        sides = [level for level in pyramid_sides(side) if level <= start]
        self.levels = [self._noise(level) / len(sides) for level in sides]
        self._restart_adam()
        shuffle = torch.Generator().manual_seed(seed)
        size = len(self.labels) * copies
        if size > len(real):
            raise SystemExit(f"{size} real images are wanted in a step; there are only {len(real)}")
        self._loader = DataLoader(real, size, shuffle=True, drop_last=True, generator=shuffle)
        self._batches: Iterator = iter(self._loader)

    def step(self, number: int) -> float:
        """Grow, backward, Adam; returns the loss."""
        if number > 1 and (number - 1) % self.grow_every == 0 and len(self.levels) < len(pyramid_sides(self.side)):
            self._grow()
        self.adam.zero_grad()
        loss = self.backward()
        for group in self.adam.param_groups:
            group["lr"] = self.lr
        self.adam.step()
        return loss

    def backward(self) -> float:
        """Add the gradient of one step to the levels', and to that of the weights; returns the loss."""
        weight = _HEAD_STD * torch.randn(self.classes, self.backbone.dim, generator=self.random, device=self.device)
        head = (weight.requires_grad_(), torch.zeros(self.classes, device=self.device, requires_grad=True))
        images, labels = self.real_batch()
        real = self.encode(images)  # its graph lives until this function returns
        wanted = [part.detach() for part in head_gradient(real, labels, head, create_graph=False)]
        synthetic = self.encode(self.images().repeat(self.copies, 1, 1, 1))
        given = head_gradient(synthetic, self.labels.repeat(self.copies), head, create_graph=True)
        loss = distance(wanted, given)
        (_LOSS_SCALE * loss).backward()
        for level in self.levels:
            level.grad /= _LOSS_SCALE
        return float(loss.detach())

    def real_batch(self) -> tuple[Tensor, Tensor]:
        """Real images and labels, decoded now; a new shuffle where the last is used up."""
        try:
            images, labels = next(self._batches)
        except StopIteration:
            self._batches = iter(self._loader)
            images, labels = next(self._batches)
        return images.to(self.device), labels.to(self.device)

    def encode(self, images: Tensor) -> Tensor:
        """Features of one augmented view of each image."""
        known = self.backbone.mean, self.backbone.std
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in known)
        views = (self._augmented(images) - mean) / std
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            return self.network(views).float()

    def images(self) -> Tensor:
        """All synthetic images, [n, 3, side, side] in 0..1."""
        size = (self.side, self.side)
        enlarged = [F.interpolate(level, size, mode="bilinear", align_corners=False) for level in self.levels]
        values = torch.stack(enlarged).sum(0)
        return torch.sigmoid(2 * torch.einsum("dc,nchw->ndhw", _COLOUR.to(values), values))

    def _augmented(self, images: Tensor) -> Tensor:
        count = len(images)
        mirrored = torch.where(self._uniform(count, 1, 1, 1) < 0.5, images.flip(3), images)
        area = self.smallest_crop + (1 - self.smallest_crop) * self._uniform(count)
        low, high = torch.tensor([3 / 4, 4 / 3]).log().tolist()
        ratio = (low + (high - low) * self._uniform(count)).exp()
        width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
        left, top = self._uniform(count) * (1 - width), self._uniform(count) * (1 - height)
        views = crop(mirrored, left, top, width, height, self.backbone.image_size)
        noise = 0.5 + 0.2 * torch.randn(views.shape, generator=self.random, device=self.device)
        return torch.where(self._uniform(count, 1, 1, 1) < 0.5, views + noise, views)

    def _grow(self) -> None:
        count, side = len(self.levels), pyramid_sides(self.side)[len(self.levels)]
        scaled = [level.detach() * count / (count + 1) for level in self.levels]
        self.levels = [*scaled, self._noise(side) / (count + 1)]
        self._restart_adam()

    def _restart_adam(self) -> None:
        self.levels = [level.detach().requires_grad_() for level in self.levels]
        self.adam = torch.optim.Adam(self.levels, lr=self.lr)

    def _noise(self, side: int) -> Tensor:
        return torch.randn(len(self.labels), 3, side, side, generator=self.random, device=self.device)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=self.device)


def head_gradient(
    features: Tensor, labels: Tensor, head: tuple[Tensor, Tensor], *, create_graph: bool
) -> tuple[Tensor, ...]:
    """Gradient of the mean cross-entropy with respect to the head's weight [classes, dim] and bias [classes]."""
    entropy = F.cross_entropy(features @ head[0].T + head[1], labels)
    return torch.autograd.grad(entropy, head, create_graph=create_graph)


def distance(first: list[Tensor] | tuple[Tensor, ...], second: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """1 - cosine of two gradients, weight and bias together."""
    flat = [torch.cat([part.flatten() for part in gradient]) for gradient in (first, second)]
    return 1 - F.cosine_similarity(flat[0], flat[1], dim=0)


def crop(images: Tensor, left: Tensor, top: Tensor, width: Tensor, height: Tensor, size: int) -> Tensor:
    """Windows, given in fractions of the side, resized to `size` pixels; black outside of the image."""
    zero = torch.zeros_like(left)
    rows = [torch.stack([width, zero, 2 * left + width - 1], 1), torch.stack([zero, height, 2 * top + height - 1], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def pyramid_sides(side: int) -> list[int]:
    """1, 2, 4, ... and `side`."""
    return [*(2**level for level in range((side - 1).bit_length())), side]


def image_folder(folder: Path, side: int) -> Sized:
    """A random square of each image of a folder of classes, the shorter side resized to `side`."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize(side), transforms.RandomCrop(side), transforms.ToTensor()]
    return ImageFolder(str(folder), transforms.Compose(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="training images, one folder a class")
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--out", type=Path, required=True, help="where images go, one folder a class")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--half", action="store_true", help="fp16 under autocast, as the authors run it")
    given = parser.parse_args()
    from torchvision.utils import save_image

    backbone = attar.backbone(given.backbone, weights=given.weights, normalise="imagenet")
    real = image_folder(given.folder, 256)
    names = real.classes
    loop = AuthorsLoop(backbone, real, len(names), side=256, ipc=given.ipc, copies=given.copies, half=given.half)
    started = time.perf_counter()
    for number in range(given.steps):
        loss = loop.step(number)
        if number % 10 == 0:
            print(f"step {number}: loss {loss:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    for place, image in enumerate(loop.images().detach()):
        file = given.out / names[loop.labels[place]] / f"{place % given.ipc}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_image(image, file)


if __name__ == "__main__":
    main()

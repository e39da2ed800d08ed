"""Prune a trained network and repair it with distilled images, beside noise, as many real images, and all of them.

    python examples/data_free_pruning.py NET.safetensors SET --train photos/train --test photos/val

NET is a convnet3 to convnet6, or a cifar_resnet20 or -56, that `attar squeeze` wrote; SET a distilled set of its
classes. A share of the channels, those with the smallest BatchNorm weights, is cut off (network slimming). What is left
learns the answers of the whole network under the named protocol. "Data-free" is true of sets that were distilled from
the network alone, not of sets that hold pieces of training images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import attar
from attar.backbones.architectures import Classifier
from attar.backbones.record import IMAGENET_MEAN, IMAGENET_STD
from attar.backbones.squeezed import Squeezed, read_squeezed
from attar.cli.show import Shown
from attar.compression.prune import pruned
from attar.devices import pick_device
from attar.evaluation.checks import common_labels
from attar.evaluation.student_protocols import student_protocol
from attar.evaluation.students import Unseen, train_student
from attar.features import read_squares
from attar.files import write_text
from attar.images import ImageSource
from attar.selection import random_images
from attar.selection.rivals import noise_images


class _AsTrained(nn.Module):
    """Students enter with ImageNet's mean and std; the network knows its own."""

    def __init__(self, network: Classifier, whole: Squeezed):
        super().__init__()
        self.network, self.whole = network, whole

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(each, device=images.device).view(3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
        return self.network(self.whole.normalised(images * std + mean))


def squares(source: ImageSource, side: int) -> Tensor:
    """The source's images, uint8 [n, 3, side, side]."""
    return torch.from_numpy(read_squares(source, side, range(len(source))))


@torch.no_grad()
def accuracy(network: Classifier, whole: Squeezed, test: Unseen) -> float:
    """Percent of the test images that `network` answers right."""
    seen = replace(whole, network=network)
    return test.right(torch.cat([seen.logits(part.float() / 255).argmax(1) for part in test.images.split(256)]))


def materials(
    whole: Squeezed, distilled: attar.DistilledSet, train: ImageSource, seed: int
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, images, labels) of all that the pruned network is repaired with."""
    side, labels = whole.record.side, common_labels(train, whole.classes)
    few = random_images(labels.numpy(), len(whole.classes), distilled.manifest.ipc, seed=seed)
    some = train.subset(few)
    images = torch.from_numpy(distilled.images)
    yield f"{distilled.manifest.method} set", images, common_labels(distilled.source, whole.classes)
    noise = torch.from_numpy(noise_images(len(images), side, seed))
    yield "noise", noise, torch.arange(len(noise)) % len(whole.classes)
    yield "random real images", squares(some, side), common_labels(some, whole.classes)
    yield "all real images", squares(train, side), labels


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Accuracies before and after pruning, and after repair with each material."""
    device = pick_device(arguments.device)
    whole = read_squeezed(arguments.network).to(device)
    distilled = attar.load(arguments.set)
    train = attar.open(arguments.train, limit=arguments.limit)
    unseen = attar.open(arguments.test)
    side = whole.record.side
    test = Unseen(squares(unseen, side).to(device), common_labels(unseen, whole.classes).to(device))
    protocol = student_protocol(arguments.protocol)
    smaller = pruned(whole.network, arguments.share)
    sizes = [sum(each.numel() for each in network.parameters()) for network in (whole.network, smaller)]
    found = {
        "network": whole.name,
        "set": str(arguments.set),
        "protocol": protocol.id,
        "share": arguments.share,
        "seed": arguments.seed,
        "parameters": {"before": sizes[0], "pruned": sizes[1]},
        "before": accuracy(whole.network, whole, test),
        "pruned": accuracy(smaller, whole, test),
        "repaired": [],
    }
    with Shown() as progress:
        for name, images, labels in materials(whole, distilled, train, arguments.seed):
            network = pruned(whole.network, arguments.share).requires_grad_()
            ipc = max(1, len(images) // len(whole.classes))
            schedule = protocol.schedule(ipc, len(whole.classes), len(images), side, whole.record.architecture)
            train_student(
                _AsTrained(network, whole),
                images,
                labels,
                schedule,
                seed=arguments.seed,
                teacher=whole,
                classes=whole.classes,
                device=device,
                progress=progress,
                task=name,
            )
            found["repaired"].append({"with": name, "images": len(images), "accuracy": accuracy(network, whole, test)})
    return found


def table(found: dict[str, Any]) -> Table:
    """The accuracies, for people."""
    shown = Table(title=f"{found['share']:.0%} of the channels pruned, repaired under {found['protocol']}")
    for heading in ("", "images", "parameters", "accuracy %"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name in ("before", "pruned"):
        shown.add_row(name, "", f"{found['parameters'][name]:,}", f"{found[name]:.1f}")
    for row in found["repaired"]:
        shown.add_row(f"repaired with {row['with']}", f"{row['images']:,}", "", f"{row['accuracy']:.1f}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="a .safetensors file of attar squeeze")
    parser.add_argument("set", type=Path, help="a distilled set of the same classes")
    parser.add_argument("--train", required=True, help="training images, to compare with")
    parser.add_argument("--test", required=True, help="images to measure on")
    parser.add_argument("--limit", type=int, help="at most so many training images of a class")
    parser.add_argument("--share", type=float, default=0.5, help="of the channels, to prune (default: %(default)s)")
    parser.add_argument("--protocol", default="soft-sre2l-cifar", help="how the pruned network learns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    found = measured(arguments)
    Console().print(table(found))
    if arguments.out is not None:
        write_text(arguments.out, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""How a squeezed network sees recovered images as they are stored, in 8 bits a channel."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from attar.backbones.squeezed import Squeezed
from attar.compression.block import recovery_loss
from attar.compression.blocks import Layout
from attar.compression.matching import MatchedNetwork
from attar.compression.recovery_settings import RecoverySettings


@torch.inference_mode()
def scores_of(
    images: UInt8[np.ndarray, "n 3 side side"],
    layout: Layout,
    labels: Int[Tensor, " classes"],
    squeezed: Squeezed,
    network: MatchedNetwork,
    settings: RecoverySettings,
) -> dict[str, float]:
    """How the network sees the images as they are stored, in 8 bits: `right` is the share it classifies as wanted,
    `cross_entropy` the mean, `mismatch` the sum of R over the layers and `weighted` its part of the loss, a block's.
    """
    sizes, told = [], []
    for number in range(len(layout)):
        shown = torch.from_numpy(images[layout.places(number)]).to(squeezed.device).float() / 255
        wanted = labels[layout.classes_of(number)].to(squeezed.device)
        passed = network(squeezed.normalised(shown))
        loss = recovery_loss(passed, wanted, settings)
        correct = (passed.logits.argmax(1) == wanted).float().mean()
        told.append(torch.stack([correct, loss.cross_entropy, passed.mismatches.sum(), loss.weighted]).double().cpu())
        sizes.append(len(wanted))
    figures = torch.stack(told)
    shares = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    right, entropy = (shares @ figures[:, :2]).tolist()
    mismatch, weighted = figures[:, 2:].mean(0).tolist()
    return {"right": right, "cross_entropy": entropy, "mismatch": mismatch, "weighted": weighted}

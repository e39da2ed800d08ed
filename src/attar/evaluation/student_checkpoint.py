"""Where a student's training stands, in one file: it goes on there after a kill."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from attar.errors import FileError
from attar.tensors import read_tensors, write_tensors

_EPOCH, _BEST = "epoch", "best"
_NETWORK, _OPTIMISER = "network.", "optimiser."


def save(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, epochs: int, best: Int[Tensor, " test"] | None
) -> None:
    """Write what a training holds after `epochs` epochs; where the disk has no room, the old file stays."""
    tensors = {_NETWORK + name: tensor for name, tensor in network.state_dict().items()}
    for place, values in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{place}.{name}": value for name, value in values.items() if value is not None}
    tensors[_EPOCH] = torch.tensor(epochs)
    if best is not None:
        tensors[_BEST] = best
    with suppress(OSError, FileError):
        write_tensors(path, tensors)


def restore(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, Int[Tensor, " test"] | None]:
    """(epochs done, the best answers so far), network and optimiser as they were; (0, None) without a whole file.

    All lies where the network's weights lie: the fused step refuses counters of another device.
    """
    try:
        tensors, _ = read_tensors(path)
    except (OSError, FileError):
        return 0, None
    network.load_state_dict(
        {name.removeprefix(_NETWORK): t for name, t in tensors.items() if name.startswith(_NETWORK)}
    )
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMISER):
            place, _, key = name.removeprefix(_OPTIMISER).partition(".")
            parameter = parameters[int(place)]
            # Moments lie in memory as their weights do (channels last): the fused step walks both in the same order.
            like = parameter if tensor.shape == parameter.shape else tensor
            empty = torch.empty_like(like, dtype=tensor.dtype, device=parameter.device)
            optimiser.state[parameter][key] = empty.copy_(tensor)
    best = tensors.get(_BEST)
    return int(tensors[_EPOCH]), None if best is None else best.to(parameters[0].device)

"""How many views fit at once: the backbone's saved activations, measured on one view."""

from __future__ import annotations

import os

import torch

from attar.backbones.record import Backbone


def bytes_per_view(backbone: Backbone, side: int) -> int:
    """Bytes that one view of `side` pixels keeps for the backward pass through `backbone`, weights not counted."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in backbone.module.state_dict().values()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = next(backbone.module.parameters()).device
    view = torch.full((1, 3, side, side), 0.5, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone(view)
    return sum(saved.values())


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on `device`."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fitting_chunk(rows: int, each: int, budget: int) -> int:
    """The largest number of the `rows` views, of `each` bytes, within `budget`; chunks of about equal size."""
    chunks = -(-rows * each // max(budget, each))
    return -(-rows // max(chunks, 1))

"""How much memory a step takes: measured on one and on two views, and a straight line from there."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attar.backbones.record import Backbone
from attar.devices import is_out_of_memory
from attar.errors import SettingsError
from attar.synthesis.canvas import make_canvas
from attar.synthesis.draws import Stream
from attar.synthesis.views import ViewPolicy, cut_views, draw_windows

# What the C library's heap takes beside the tensors that live in it: blocks are aligned, and a freed one is rarely
# large enough for an aligned request of the same size. Measured: 1.2 to 1.4 (benchmarks/memory.py).
_HEAP = 1.4


@dataclass(frozen=True)
class ActivationModel:
    """Peak of a forward and backward pass in bytes, beside weights, canvas and its gradient: fixed + each · views."""

    fixed: int
    each: int

    def peak(self, views: int) -> int:
        """Bytes that a chunk of `views` views takes at most."""
        return self.fixed + self.each * views

    def most_views(self, budget: int) -> int:
        """The largest chunk within `budget` bytes; 0 where not even one view fits."""
        return max(0, budget - self.fixed) // max(1, self.each)


def measure_activations(backbone: Backbone, policy: ViewPolicy) -> ActivationModel:
    """The model of `backbone` under views of `policy`, cut from a fully grown pyramid."""

    def trial(views: int) -> int:
        canvas = make_canvas("pyramid", views, policy.canvas, grow_every=1, seed=0, device=backbone.device)
        for step in range(2, 20):
            canvas.grow(step)
        for parameter in canvas.parameters().values():
            parameter.grad = torch.zeros_like(parameter)
        windows = draw_windows(policy, 0, Stream.SYNTHESIS, 0, range(views), [0] * views)
        known = [*backbone.module.state_dict().values(), *canvas.parameters().values()]
        known += [parameter.grad for parameter in canvas.parameters().values() if parameter.grad is not None]

        def step_back() -> None:
            backbone(cut_views(canvas.images(torch.arange(views)), windows, policy)).sum().backward()

        step_back()  # libraries set themselves up
        return peak_bytes(step_back, known, backbone.device)

    one = trial(1)
    try:
        two = trial(2)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        two = 2 * one
    share = _HEAP if backbone.device.type == "cpu" else 1.0
    each = max(0, two - one)
    return ActivationModel(fixed=int(share * max(0, one - each)), each=int(share * each))


def fit_backbone(backbone: Backbone, policy: ViewPolicy, budget: int) -> tuple[Backbone, ActivationModel]:
    """The backbone and its model; one that recomputes its blocks in the backward pass where one view is too large.

    SettingsError where one view doesn't fit into `budget` bytes even so.
    """
    model = measure_activations(backbone, policy)
    if model.most_views(budget):
        return backbone, model
    lighter = backbone.checkpointed()
    if lighter is not None:
        backbone, model = lighter, measure_activations(lighter, policy)
    if not model.most_views(budget):
        needed, allowed = model.peak(1) / 2**20, budget / 2**20
        raise SettingsError(
            f"one view through {backbone.name} takes {needed:,.1f} MB, and the budget is {allowed:,.1f} MB",
            "allow more by --memory, or use a smaller backbone",
        )
    return backbone, model


def peak_bytes(work: Callable[[], object], known: Sequence[Tensor], device: torch.device) -> int:
    """The most bytes of tensors that `work` holds at a time, those of `known` not counted."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveTensors(known) as live:
        work()
    return live.most


class _LiveTensors(TorchDispatchMode):
    """Follows the tensors that operations make until they are freed; what an operation takes inside stays unseen."""

    def __init__(self, known: Sequence[Tensor]):
        super().__init__()
        self.now = self.most = 0
        self._seen = weakref.WeakKeyDictionary({tensor.untyped_storage(): None for tensor in known})
        self._known = known  # a storage stays known as long as its tensor lives

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._follow(tensor)
        self.most = max(self.most, self.now)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen[storage] = None
            self.now += storage.nbytes()
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.now -= size

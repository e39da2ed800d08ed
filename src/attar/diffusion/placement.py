"""Where a pipeline's weights lie while it works, and in which type: on the GPU, there in turns, or layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from attar.devices import free_bytes
from attar.diffusion.hush import quiet
from attar.errors import SettingsError

Offload = Literal["none", "model", "sequential"]

_ROOM = 1.3e9 / 256**2  # bytes a pixel for activations beside weights that stay: diver.md 7 asks for 3 GB at 256 x 256
_LEAST_ROOM = 0.28e9  # where the parts take turns: edits.md 10 asks for 2 GB where the largest has 1.72
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_WORDS = {"none": "resident on", "model": "one part at a time on", "sequential": "layer by layer on"}


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Type of the weights for "fp32", "fp16", "bf16" or "auto": fp16 on an accelerator, fp32 on a CPU.

    Raises SettingsError for other names.
    """
    if name == "auto":
        name = "fp32" if device.type == "cpu" else "fp16"
    if name not in _DTYPES:
        raise SettingsError(f"unknown precision {name!r}", f"Use auto, {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def refuse_offload(offload: str, device: torch.device) -> None:
    """SettingsError where offloading is asked for without an accelerator (diver.md 10, R8)."""
    if device.type == "cpu" and offload in ("model", "sequential"):
        message = "no accelerator found: offloading is only for GPUs"
        raise SettingsError(message, "Run without --offload (slow) or on a GPU.")


def place(pipeline: Any, device: torch.device, *, memory: int | None, offload: str) -> str:
    """Put a pipeline on `device`, whole or in turns (`offload`, or what fits where "auto"); words for the log.

    `memory` is the most that may be taken there, in bytes; None for what is free. Raises SettingsError where
    offloading is asked for without an accelerator, and where the weights can't be kept within `memory`.
    """
    if offload not in ("auto", "none", "model", "sequential"):
        raise SettingsError(f"there is no offloading {offload!r}", "Use auto, none, model or sequential.")
    on_cpu = device.type == "cpu"
    refuse_offload(offload, device)
    weights = weight_bytes(pipeline)
    if offload == "auto":
        free = free_bytes(device)
        budget = free if memory is None else min(free, memory)
        offload = "none" if on_cpu else choose_offload(weights, side_of(pipeline), budget)
    if offload == "none" and memory is not None and sum(weights) > memory:
        message = f"the weights alone take {sum(weights) / 1e9:.2f} GB, more than the {memory / 1e9:.2f} GB permitted"
        raise SettingsError(message, "Raise --memory, or run on a GPU with --offload auto.")
    with quiet():
        if offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        elif offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
        else:
            pipeline.to(device)
        pipeline.vae.enable_slicing()  # one image at a time: its activations are the largest of all
        pipeline.set_progress_bar_config(disable=True)
    size = f"{sum(weights) / 1e9:.2f} GB of weights"
    return f"{size}, {_WORDS[offload]} {device}"


def choose_offload(weights: Sequence[int], side: int, budget: int) -> Offload:
    """How a pipeline, whose parts have `weights` bytes, fits into `budget` bytes of a GPU for images of `side` pixels.

    Resident where all weights and the activations fit; else its parts take turns where the largest fits; else single
    layers do, which is slow. DiT-XL/2 in float16 (1.50 and 0.17 GB, 256 px) is resident from 3 GB; Stable Diffusion
    1.5 (1.72, 0.25 and 0.17 GB, 512 px) takes turns in 4 GB, and goes by layers under 2 (diver.md 7, edits.md 10).
    """
    if sum(weights) + _ROOM * side**2 <= budget:
        return "none"
    return "model" if max(weights) + _LEAST_ROOM <= budget else "sequential"


def weight_bytes(pipeline: Any) -> list[int]:
    """Bytes of the weights of each network in a pipeline."""
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return [sum(tensor.numel() * tensor.element_size() for tensor in part.parameters()) for part in networks]


def side_of(pipeline: Any) -> int:
    """Pixels a side of the images that a pipeline makes."""
    network = pipeline.components.get("transformer") or pipeline.unet
    return network.config.sample_size * 2 ** (len(pipeline.vae.config.block_out_channels) - 1)

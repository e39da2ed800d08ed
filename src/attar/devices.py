"""Where and how precisely to compute."""

from __future__ import annotations

from typing import Literal

import torch

from attar.errors import SettingsError

Precision = Literal["fp32", "bf16"]


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" prefers cuda, then mps, then cpu."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(f"Device {name!r} can't be used here.", "Use --device auto, cpu, cuda or mps.") from error
    return device


def pick_dtype(precision: str) -> torch.dtype:
    """What a backbone's frozen weights are cast to; canvas, statistics and objectives stay in fp32 or fp64."""
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if precision not in dtypes:
        raise SettingsError(f"Unknown precision {precision!r}.", f"Use one of {', '.join(dtypes)}.")
    return dtypes[precision]


def hardware() -> str:
    """One line for tables: processor or GPU, number of threads, torch's version."""
    import platform

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"

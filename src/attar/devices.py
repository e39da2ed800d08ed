"""Where and how precisely to compute."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Literal

import torch

from attar.errors import SettingsError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)

Precision = Literal["fp32", "bf16"]


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" prefers cuda, then mps, then cpu. torchrun's processes have a GPU each."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{int(os.environ['LOCAL_RANK']) % max(1, torch.cuda.device_count())}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.index is not None and device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(f"device {name!r} can't be used here", "Use --device auto, cpu, cuda or mps.") from error
    return device


def pick_dtype(precision: str) -> torch.dtype:
    """What a backbone's frozen weights are cast to; canvas, statistics and objectives stay in fp32 or fp64."""
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if precision not in dtypes:
        raise SettingsError(f"unknown precision {precision!r}", f"Use one of {', '.join(dtypes)}.")
    return dtypes[precision]


def keep_freed_memory() -> None:
    """Let the C library reuse large blocks of memory, instead of giving each back to the system when it is freed.

    On a CPU every step asks for the same blocks again, and getting them anew means a page fault for each 4 KB. Nothing
    happens where the C library isn't glibc.
    """
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_THRESHOLD, 2**30)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        return


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch failed for want of memory; on the CPU only its text says so."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on `device`; half of the machine's where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def hardware() -> str:
    """One line for tables: processor or GPU, number of threads, torch's version."""
    import platform

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"

"""How fast and how large this machine is: each look is a measurement of a fraction of a second."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attar.doctor.check import Check, told
from attar.errors import AttarError
from attar.files import cache_folder, write_bytes

# MiB that a view of 224 x 224 pixels keeps for the backward pass, backbone frozen, fp32. Measured with timm 1.0.31 and
# torch 2.15; `attar distill` measures the backbone that it is given.
_MIB_A_VIEW = {"ResNet-18": 21, "ViT-S/14": 46, "ViT-B/16": 71, "ResNet-50": 82, "ViT-B/14": 92, "EVA-02-B/14": 151}

_SLOW_GFLOPS, _SLOW_DECODING, _SLOW_DISK = 10, 100, 20  # GFLOP/s, images/s, MiB/s
_TRIAL_BYTES = 32 * 2**20


def processor() -> Check:
    """The processor, and the cores that this process may use: `figure`."""
    from attar.devices import hardware

    cores, allowed = os.cpu_count() or 1, allowed_cores()
    shared = "" if allowed == cores else f", {allowed} of them for this process"
    return Check("processor", "ok", f"{hardware()}, {cores} cores{shared}", figure=float(allowed))


def allowed_cores(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: by its affinity, and by the quota of its container (cgroup 2, then 1)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):  # no such file, or no quota: "max" and -1
            quota, period = map(int, " ".join((control_groups / file).read_text() for file in files).split())
            return max(1, min(cores, quota // period)) if quota > 0 else cores
    return cores


def device(torch: Any) -> Check:
    """Where attar computes where no --device is given."""
    from attar.devices import pick_device

    kind = pick_device("auto").type
    if kind == "cuda":
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Check("device", "ok", f"cuda: {', '.join(names)}")
    if kind == "cpu" and shutil.which("nvidia-smi"):
        value = f"cpu; an NVIDIA driver is here, but torch {torch.__version__} can't use it"
        return Check("device", "slow", value, "choose a CUDA build of torch at pytorch.org/get-started")
    return Check("device", "ok", kind)


def memory() -> Check:
    """What is free, and how many views at once go into half of it: what a run allows itself by default."""
    from attar.devices import free_bytes, pick_device

    free = free_bytes(pick_device("auto"))
    views = {name: free // 2 // (mib * 2**20) for name, mib in _MIB_A_VIEW.items()}
    room = ", ".join(f"{name} {count:,}" for name, count in views.items())
    value = f"{free / 2**30:.1f} GiB free; views of 224 px in half of it: {room}"
    if views["ResNet-18"] < 1:
        return Check("memory", "slow", value, "close other programs", figure=float(free))
    return Check("memory", "ok", value, figure=float(free))


def arithmetic(torch: Any) -> Check:
    """How fast large matrices are multiplied: most of what a backbone does."""
    from attar.devices import pick_device

    device = pick_device("auto")
    side = 1024 if device.type == "cpu" else 8192
    matrix = torch.rand(side, side, device=device)
    per_second = _rate(lambda: (matrix @ matrix)[0, 0].item(), seconds=0.5)  # .item() waits for the device
    gflops = per_second * 2 * side**3 / 1e9
    value = f"{gflops:,.0f} GFLOP/s in fp32 on {device.type}"
    if gflops < _SLOW_GFLOPS:
        advice = "other programs may be busy; OMP_NUM_THREADS limits it too"
        return Check("arithmetic", "slow", value, advice, figure=gflops)
    return Check("arithmetic", "ok", value, figure=gflops)


def decoding() -> Check:
    """The decoder on a noisy photo, in one thread."""
    import numpy as np
    from PIL import Image

    from attar.images import decode

    photo = np.random.default_rng(0).normal(128, 20, (375, 500, 3)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=90)
    per_second = _rate(lambda: decode(file.getvalue()), seconds=0.3)
    value = f"{per_second:,.0f} JPEGs of 500 x 375 a second and thread"
    if per_second < _SLOW_DECODING:
        return Check("decoding", "slow", value, "other programs may be busy")
    return Check("decoding", "ok", value)


def _rate(work: Callable[[], object], seconds: float) -> float:
    """How often a second `work` can be done; the first time warms up."""
    work()
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        work()
        count += 1
    return count / elapsed


def folders() -> Iterator[Check]:
    """Where attar keeps things, and how fast they are written."""
    folder = cache_folder()
    chosen = "from ATTAR_CACHE" if os.environ.get("ATTAR_CACHE") else "ATTAR_CACHE moves it"
    yield Check("cache", "ok", f"{folder} ({chosen}), {_size(folder) / 2**20:,.1f} MiB")
    yield _disk(folder)
    assets = os.environ.get("ATTAR_ASSETS")
    if assets and not Path(assets).is_dir():
        yield Check("ATTAR_ASSETS", "missing", f"{assets} is no folder", "tests and benchmarks alone need it")
    else:
        yield Check("ATTAR_ASSETS", "ok", assets or "not set; tests and benchmarks alone need it")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # other processes tidy up
            total += path.lstat().st_size
    return total


def _disk(folder: Path) -> Check:
    """How fast a file is written to the cache and synced; it is deleted again."""
    trial, content = folder / f".doctor.{os.getpid()}.tmp", os.urandom(_TRIAL_BYTES)
    try:
        started = time.perf_counter()
        write_bytes(trial, content)
        rate = _TRIAL_BYTES / 2**20 / (time.perf_counter() - started)
        trial.unlink()
        free = shutil.disk_usage(folder).free
    except (OSError, AttarError) as error:
        reason = error.strerror if isinstance(error, OSError) else told(error)
        return Check("disk", "broken", f"can't write to {folder}: {reason}", "set ATTAR_CACHE to another folder")
    value = f"{rate:,.0f} MiB/s written and synced, {free / 2**30:,.0f} GiB free"
    if rate < _SLOW_DISK:
        return Check("disk", "slow", value, "set ATTAR_CACHE to a folder on a faster disk")
    return Check("disk", "ok", value)

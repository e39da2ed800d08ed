"""What is installed here, whether it works together, and how fast this machine is.

Nothing heavy is imported at the top: the table must come out where torch, torchvision or Pillow can't be imported.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import operator
import os
import platform
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from attar.errors import AttarError
from attar.files import cache_folder, write_bytes

State = Literal["ok", "missing", "broken", "slow"]

# Names on PyPI of what attar uses where it is there, and what for.
_EXTRAS = {
    "datasets": "read Hugging Face datasets",
    "diffusers": "refine images by diffusion models",
    "open_clip_torch": "CLIP backbones",
    "pillow-heif": "HEIC photos of phones",
    "transformers": "captions and prompts for diffusion models",
}

# MiB that a view of 224 x 224 pixels keeps for the backward pass, backbone frozen, fp32. Measured with timm 1.0.31 and
# torch 2.15; `attar distill` measures the backbone that it is given.
_MIB_A_VIEW = {"ResNet-18": 21, "ViT-S/14": 46, "ViT-B/16": 71, "ResNet-50": 82, "ViT-B/14": 92, "EVA-02-B/14": 151}

_SLOW_GFLOPS, _SLOW_DECODING, _SLOW_DISK = 10, 100, 20  # GFLOP/s, images/s, MiB/s
_TRIAL_BYTES = 32 * 2**20
_PIN = re.compile(r"(==|!=|>=|<=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?")
_COMPARE = {"==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt,
            "<": operator.lt}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and where it isn't well, what to do."""

    name: str
    state: State
    value: str
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """All that was looked at, in the order to show it."""

    checks: tuple[Check, ...]

    @property
    def broken(self) -> tuple[Check, ...]:
        """What keeps attar from working; what is merely missing or slow doesn't."""
        return tuple(check for check in self.checks if check.state == "broken")

    def as_json(self) -> dict[str, object]:
        """Plain values, for a JSON document."""
        return {"ok": not self.broken, "checks": [asdict(check) for check in self.checks]}


def examine() -> Report:
    """Look at packages, devices, memory, speed and folders; takes a few seconds, and writes only a trial file."""
    checks = [Check("Python", "ok", f"{platform.python_version()}, {platform.platform(terse=True)}")]
    checks += [*_packages(), *_extras()]
    torch, found = _imported("torch")
    checks += [] if torch else [found]
    checks += [_torchvision(torch is not None), _attempt("image formats", _formats)]
    checks += _hardware(torch) if torch else []
    return Report((*checks, _attempt("decoding", _decoding), *_folders()))


def _attempt(name: str, look: Callable[[], Check]) -> Check:
    """What `look` finds; that it fails is a finding too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return look()
    except Exception as error:
        return Check(name, "broken", _told(error), "mend what else is broken; where that is nothing, report this")


def _told(error: Exception) -> str:
    text = error.message if isinstance(error, AttarError) else f"{type(error).__name__}: {error}"
    return text.strip().partition("\n")[0]


def _packages() -> Iterator[Check]:
    """attar, and what it requires, against the versions that are installed."""
    attar = _version("attar")
    if attar is None:
        yield Check("attar", "broken", "isn't installed", "pip install attar")
        return
    yield Check("attar", "ok", attar)
    for text in metadata.requires("attar") or []:
        requirement, _, marker = text.partition(";")
        if marker:
            continue
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        version = _version(name)
        if version is None:
            yield Check(name, "broken", "isn't installed", f"pip install {name}")
        elif not fulfils(version, requirement):
            yield Check(name, "broken", f"{version}; attar needs {requirement}", f"pip install -U {name}")
        else:
            yield Check(name, "ok", version)


def _extras() -> Iterator[Check]:
    for name, purpose in _EXTRAS.items():
        version = _version(name)
        if version is None:
            yield Check(name, "missing", f"optional: {purpose}", f"pip install {name}")
        else:
            yield Check(name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def fulfils(version: str, requirement: str) -> bool:
    """Whether a release is within a requirement's bounds; what follows the numbers ("+cpu", "rc1") doesn't count.

    >>> fulfils("2.13.0+cpu", "torch (>=2.14.0)"), fulfils("2.6.0+cu124", "torch==2.6.0")
    (False, True)
    """
    have = _numbers(version)
    for sign, number, any_end in _PIN.findall(requirement):
        wanted = _numbers(number)
        length = len(wanted) if any_end else max(len(have), len(wanted))
        if not _COMPARE[sign](_padded(have, length), _padded(wanted, length)):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def _padded(numbers: tuple[int, ...], length: int) -> tuple[int, ...]:
    return (numbers + (0,) * length)[:length]


def _imported(name: str) -> tuple[ModuleType | None, Check]:
    """A module, and how importing it went: a broken one raises anything, not ImportError alone."""
    modules: list[ModuleType] = []

    def look() -> Check:
        modules.append(importlib.import_module(name))
        return Check(f"import {name}", "ok", "works")

    found = replace(_attempt(f"import {name}", look), advice=f"pip install --force-reinstall --no-deps {name}")
    return (modules[0] if modules else None), found


def _torchvision(has_torch: bool) -> Check:
    """torchvision is built for one torch: beside another, timm and most backbones can't even be imported."""
    name = "torch and torchvision"
    ours, theirs = _version("torch"), _version("torchvision")
    if ours is None or theirs is None:
        return Check(name, "broken", "both are needed", "pip install torch torchvision")
    wanted = next((text for text in metadata.requires("torchvision") or [] if re.match(r"torch\b", text)), "torch")
    if not fulfils(ours, wanted):
        value = f"torchvision {theirs} needs {wanted}, and torch is {ours}"
        return Check(name, "broken", value, "pip install -U torch torchvision")
    if not has_torch:
        return Check(name, "ok", "their versions fit")
    module, found = _imported("torchvision")
    if module is None:
        advice = "pip install --force-reinstall --no-deps torch torchvision"
        return Check(name, "broken", f"torchvision {theirs} can't be imported: {found.value}", advice)
    return Check(name, "ok", "fit together")


def _formats() -> Check:
    from PIL import features

    codecs = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP"}
    lacking = [name for codec, name in codecs.items() if not features.check(codec)]
    if lacking:
        advice = "pip install --force-reinstall --no-deps --only-binary :all: pillow"
        return Check("image formats", "broken", f"Pillow was built without {', '.join(lacking)}", advice)
    return Check("image formats", "ok", ", ".join(codecs.values()))


def _hardware(torch: Any) -> Iterator[Check]:
    """Devices, memory and arithmetic, asked of torch."""
    yield _attempt("processor", _processor)
    yield _attempt("device", lambda: _device(torch))
    yield _attempt("memory", _memory)
    yield _attempt("arithmetic", lambda: _arithmetic(torch))


def _processor() -> Check:
    from attar.devices import hardware

    return Check("processor", "ok", f"{hardware()}, {os.cpu_count()} cores")


def _device(torch: Any) -> Check:
    from attar.devices import pick_device

    kind = pick_device("auto").type
    if kind == "cuda":
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Check("device", "ok", f"cuda: {', '.join(names)}")
    if kind == "cpu" and shutil.which("nvidia-smi"):
        value = f"cpu; an NVIDIA driver is here, but torch {torch.__version__} can't use it"
        return Check("device", "slow", value, "choose a CUDA build of torch at pytorch.org/get-started")
    return Check("device", "ok", kind)


def _memory() -> Check:
    """What is free, and how many views at once go into half of it: what a run allows itself by default."""
    from attar.devices import free_bytes, pick_device

    free = free_bytes(pick_device("auto"))
    views = {name: free // 2 // (mib * 2**20) for name, mib in _MIB_A_VIEW.items()}
    room = ", ".join(f"{name} {count:,}" for name, count in views.items())
    value = f"{free / 2**30:.1f} GiB free; views of 224 px in half of it: {room}"
    if views["ResNet-18"] < 1:
        return Check("memory", "slow", value, "close other programs")
    return Check("memory", "ok", value)


def _arithmetic(torch: Any) -> Check:
    from attar.devices import pick_device

    device = pick_device("auto")
    side = 1024 if device.type == "cpu" else 8192
    matrix = torch.rand(side, side, device=device)
    per_second = _rate(lambda: (matrix @ matrix)[0, 0].item(), seconds=0.5)  # .item() waits for the device
    gflops = per_second * 2 * side**3 / 1e9
    value = f"{gflops:,.0f} GFLOP/s in fp32 on {device.type}"
    if gflops < _SLOW_GFLOPS:
        return Check("arithmetic", "slow", value, "other programs may be busy; OMP_NUM_THREADS limits it too")
    return Check("arithmetic", "ok", value)


def _decoding() -> Check:
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


def _folders() -> Iterator[Check]:
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
        reason = error.strerror if isinstance(error, OSError) else _told(error)
        return Check("disk", "broken", f"can't write to {folder}: {reason}", "set ATTAR_CACHE to another folder")
    value = f"{rate:,.0f} MiB/s written and synced, {free / 2**30:,.0f} GiB free"
    if rate < _SLOW_DISK:
        return Check("disk", "slow", value, "set ATTAR_CACHE to a folder on a faster disk")
    return Check("disk", "ok", value)

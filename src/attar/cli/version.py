"""`attar --version`: what a bug report needs, from records on the disk, so that nothing heavy is imported."""

from __future__ import annotations

import platform
import re
from importlib import metadata, util
from pathlib import Path


def versions() -> str:
    """`attar X`, and a line each for Python, the platform, the libraries that matter and the GPUs."""
    lines = [f"attar {_installed('attar')}", f"Python {platform.python_version()}", platform.platform(terse=True)]
    lines.append(f"torch {_installed('torch')} ({_build()})")
    lines += [f"{name} {_installed(name)}" for name in ("torchvision", "timm")]
    return "\n".join([*lines, f"NVIDIA GPU: {', '.join(_gpus()) or 'none'}"])


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _build() -> str:
    """What torch was built for, read from its source: importing it takes seconds."""
    try:
        torch = util.find_spec("torch")
        text = Path(torch.origin).with_name("version.py").read_text() if torch and torch.origin else ""
    except (OSError, ValueError):
        text = ""
    found = re.search(r"^(cuda|hip)\b[^=]*= ['\"]([\d.]+)", text, re.MULTILINE)
    return f"{found[1].replace('cuda', 'CUDA')} {found[2]}" if found else "CPU build" if text else "unknown build"


def _gpus(records: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """What the driver calls the GPUs; none where it isn't there, or doesn't say (Windows)."""
    texts = [file.read_text(errors="replace") for file in sorted(records.glob("*/information"))]
    return [found[1] for text in texts if (found := re.search(r"^Model:\s*(.+?)\s*$", text, re.MULTILINE))]

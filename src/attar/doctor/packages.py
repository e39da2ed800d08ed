"""The packages that attar stands on: what is there, and whether it works together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from importlib import metadata

from attar.doctor.check import Check, attempt, imported
from attar.doctor.versions import fulfils, installed, name_of
from attar.errors import AttarError

_PURPOSES = {
    "clip": "CLIP backbones",
    "diffusion": "refine and edits: diffusion models, captions and prompts",
    "heic": "HEIC photos of phones",
    "hf": "Hugging Face datasets",
    "onnx": "attar export to ONNX",
    "ssl": "attar squeeze --ssl",
    "tensorboard": "curves of a run in TensorBoard",
}
"""What an extra of attar is for."""


def required() -> Iterator[Check]:
    """attar, and what it requires, against the versions that are installed."""
    attar = installed("attar")
    if attar is None:
        yield Check("attar", "broken", "isn't installed", "pip install attar")
        return
    yield Check("attar", "ok", attar)
    for text in metadata.requires("attar") or []:
        requirement, _, marker = text.partition(";")
        if marker:
            continue
        name = name_of(requirement)
        version = installed(name)
        if version is None:
            yield Check(name, "broken", "isn't installed", f"pip install {name}")
        elif not fulfils(version, requirement):
            yield Check(name, "broken", f"{version}; attar needs {requirement}", f"pip install -U {name}")
        else:
            yield Check(name, "ok", version)


def extras() -> Iterator[Check]:
    """The extras that attar's own record names: one is there where all of its packages are, and none is too old."""
    for extra, requirements in _extras().items():
        name = f"attar[{extra}]"
        versions = {requirement: installed(name_of(requirement)) for requirement in requirements}
        lacking = [
            requirement
            for requirement, version in versions.items()
            if version is None or not fulfils(version, requirement)
        ]
        purpose = _PURPOSES.get(extra, "optional")
        if lacking:
            yield Check(name, "missing", f"{purpose}; it needs {', '.join(lacking)}", f"pip install '{name}'")
        else:
            there = ", ".join(f"{name_of(requirement)} {version}" for requirement, version in versions.items())
            yield Check(name, "ok", f"{purpose}: {there}")


def _extras() -> dict[str, list[str]]:
    if installed("attar") is None:
        return {}
    found: dict[str, list[str]] = {}
    for text in metadata.requires("attar") or []:
        requirement, _, marker = text.partition(";")
        if named := re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker):
            found.setdefault(named[1], []).append(requirement.strip())
    return found


def plug_ins() -> Iterator[Check]:
    """Objectives that other packages register, and whether they can be loaded."""
    for name in sorted({point.name for point in metadata.entry_points(group="attar.objectives")}):
        yield attempt(f"objective {name}", partial(_plug_in, name))


def _plug_in(name: str) -> Check:
    from attar.synthesis.objectives import find_objective

    label = f"objective {name}"
    try:
        found = find_objective(name)
    except AttarError as error:
        return Check(label, "broken", error.message, error.hint or "")
    return Check(label, "ok", f"{found.__module__}.{found.__qualname__}" if found else "gone")


def torchvision(has_torch: bool) -> Check:
    """torchvision is built for one torch: beside another, timm and most backbones can't even be imported."""
    name = "torch and torchvision"
    ours, theirs = installed("torch"), installed("torchvision")
    if ours is None or theirs is None:
        return Check(name, "broken", "both are needed", "pip install torch torchvision")
    wanted = next((text for text in metadata.requires("torchvision") or [] if re.match(r"torch\b", text)), "torch")
    if not fulfils(ours, wanted):
        value = f"torchvision {theirs} needs {wanted}, and torch is {ours}"
        return Check(name, "broken", value, "pip install -U torch torchvision")
    if not has_torch:
        return Check(name, "ok", "their versions fit")
    module, found = imported("torchvision")
    if module is None:
        advice = "pip install --force-reinstall --no-deps torch torchvision"
        return Check(name, "broken", f"torchvision {theirs} can't be imported: {found.value}", advice)
    return Check(name, "ok", "fit together")


def formats() -> Check:
    from PIL import features

    codecs = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP"}
    lacking = [name for codec, name in codecs.items() if not features.check(codec)]
    if lacking:
        advice = "pip install --force-reinstall --no-deps --only-binary :all: pillow"
        return Check("image formats", "broken", f"Pillow was built without {', '.join(lacking)}", advice)
    return Check("image formats", "ok", ", ".join(codecs.values()))

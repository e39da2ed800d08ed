"""Heads: linear classifiers of the real images that travel with a distilled set, one file for each backbone.

A head classifies images on one backbone without being fitted again: it was trained on all real images there ("full"),
or carried over from another backbone by the distilled images ("inherit-ridge-v1", sfm.md 12).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from attar.errors import ArtefactError, FileError
from attar.files import safe_names
from attar.linear import ConvergedProbe, LinearClassifier, Scaling
from attar.tensors import read_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class Head:
    """A classifier on the features of one backbone; its classes are in the order of the set it lies in.

    `fingerprint` is the backbone's. `protocol` says how the head was made, `teacher` names the backbone it was
    inherited from, and `accuracy` is in percent on training images held out, or None.
    """

    backbone: str
    fingerprint: str
    probe: ConvergedProbe
    protocol: str
    teacher: str | None = None
    accuracy: float | None = None

    @property
    def place(self) -> tuple[str, str]:
        """What a set holds at most one head for: backbone (with its weights) and protocol."""
        return self.fingerprint, self.protocol


def write_heads(folder: Path, heads: Sequence[Head]) -> list[Path]:
    """Write each head in float32 to a file of its own in `folder`, named after its backbone and protocol."""
    names = safe_names(tuple(f"{head.backbone} {head.protocol}" for head in heads))
    files = [folder / f"{name}.safetensors" for name in names]
    for file, head in zip(files, heads, strict=True):
        tensors = {name: torch.from_numpy(array).float() for name, array in _arrays(head.probe).items()}
        write_tensors(file, tensors, _facts(head))
    return files


def read_head(path: Path, classes: int) -> Head:
    """The head in a file of `write_heads`; ArtefactError where it is damaged or isn't one of `classes` classes."""
    try:
        tensors, facts = read_tensors(path)
        arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        _check(arrays, facts["scaling"], classes)
        if not all(fact.isprintable() for fact in facts.values()):
            raise ValueError("its names aren't printable")
        probe = ConvergedProbe(
            Scaling(facts["scaling"], arrays.get("shift"), arrays.get("scale")),
            LinearClassifier(arrays["weights"], arrays["bias"]),
        )
        accuracy = float(facts["accuracy"]) if "accuracy" in facts else None
        return Head(facts["backbone"], facts["fingerprint"], probe, facts["protocol"], facts.get("teacher"), accuracy)
    except (OSError, FileError, LookupError, ValueError) as error:
        raise ArtefactError(f"can't read {path}: {_reason(error)}", "Restore it or add the head again.") from error


def check_head(head: Head, classes: int) -> None:
    """ArtefactError where `head` doesn't fit a set of `classes` classes."""
    try:
        _check(_arrays(head.probe), head.probe.scaling.kind, classes)
    except ValueError as error:
        raise ArtefactError(f"the head for {head.backbone} doesn't fit: {error}", "add heads of this set") from error


def _facts(head: Head) -> dict[str, str]:
    facts = {
        "backbone": head.backbone,
        "fingerprint": head.fingerprint,
        "protocol": head.protocol,
        "scaling": head.probe.scaling.kind,
    }
    if head.teacher is not None:
        facts["teacher"] = head.teacher
    if head.accuracy is not None:
        facts["accuracy"] = repr(float(head.accuracy))
    return facts


def _arrays(probe: ConvergedProbe) -> dict[str, np.ndarray]:
    arrays = {
        "weights": probe.classifier.weights,
        "bias": probe.classifier.bias,
        "shift": probe.scaling.shift,
        "scale": probe.scaling.scale,
    }
    return {name: array for name, array in arrays.items() if array is not None}


def _check(arrays: Mapping[str, np.ndarray], scaling: str, classes: int) -> None:
    """ValueError or KeyError where these arrays aren't a classifier of `classes` classes behind that scaling."""
    weights = arrays["weights"]
    if weights.ndim != 2 or len(weights) != classes or arrays["bias"].shape != (classes,):
        raise ValueError(f"weights of shape {weights.shape} don't make {classes} classes")
    if scaling not in ("l2", "std", "none"):
        raise ValueError(f"there is no scaling {scaling!r}")
    for name in ("shift", "scale") if scaling == "std" else ():
        if arrays[name].shape != weights.shape[1:]:
            raise ValueError(f"its {name} isn't of {weights.shape[1]} features")
    if scaling != "std" and {"shift", "scale"} & arrays.keys():
        raise ValueError(f"scaling {scaling!r} has no shift and no scale")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("some of its numbers aren't finite")


def _reason(error: Exception) -> str:
    if isinstance(error, FileError):
        return "it is damaged"
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)

"""Names that a shell offers as values of options. Plain words: the modules they come from import torch, or pydantic.

A test holds each list against the real one.
"""

from __future__ import annotations

from collections.abc import Callable

BACKBONES = (
    "cifar_resnet20", "cifar_resnet56", "clip_resnet101", "clip_resnet50", "clip_vitb16", "clip_vitb32", "clip_vitl14",
    "dino_vitb16", "dino_vitb8", "dino_vits16", "dino_vits8", "dinov2_vitb14", "dinov2_vitl14", "dinov2_vits14",
    "eva02_vitb14", "eva02_vitl14", "eva02_vits14", "eva02_vitt14", "mocov3_vitb16", "mocov3_vitl16", "taef2_encoder",
)  # fmt: skip
OBJECTIVES = ("sfm", "sfm-sub", "lgm", "clp", "dm-mean", "dm-batch", "sfm-decoupled")
SELECTIONS = ("random", "centroids", "neighbours", "herding", "kcenter", "kmeans", "rded", "jpeg", "noise")
RECOVERIES = ("scdd", "sre2l", "cda")
PRESETS = ("attar", "fast", "paper", "lgm-imagenet-100", "lgm-imagenet-1k", "sfm-imagenet-100", "sfm-imagenet-1k")
RECOVERY_PRESETS = (
    "sre2l-in1k", "sre2l-tiny", "sre2l-cifar100", "cda-in1k", "cda-tiny", "cda-in21k", "scdd-in1k", "scdd-tiny",
    "scdd-cifar100",
)  # fmt: skip
EDITS_PRESETS = ("attar", "edits", "vlcp", "d4m")
REFINE_PRESETS = ("attar", "fast", "paper")
PROBES = (
    "probe-v1", "probe-v1/std", "probe-v1/centre", "probe-v1/tuned", "ridge-v1", "knn-v1", "lgm-probe",
    "lgm-probe/bank64", "inherit-ridge-v1", "inherit-authors/bank20", "kd/bank20", "joint/bank20",
)  # fmt: skip
_COURSES = ("minimax", "fkd", "kd-in1k", "cda-in1k", "scdd-in1k", "sre2l-cifar", "scdd-cifar", "tiny", "rded")
SOFT_PROTOCOLS = tuple(f"soft-{course}" for course in _COURSES)
HARD_PROTOCOLS = tuple(f"hard-{course}" for course in _COURSES)
NETWORKS = ("convnet3", "convnet4", "convnet5", "convnet6", "resnetap10", "cifar_resnet20", "cifar_resnet56",
            "resnet18")  # fmt: skip
DEVICES = ("auto", "cpu", "cuda", "mps")


def offer(*names: str) -> Callable[[str], list[str]]:
    """An option's `autocompletion`: those of `names` that begin with what is typed."""

    def begun(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return begun


def offer_methods(incomplete: str) -> list[str]:
    """Methods that begin with what is typed, those of other packages among them."""
    from importlib.metadata import entry_points

    others = sorted({point.name for point in entry_points(group="attar.objectives")} - {*OBJECTIVES})
    return offer(*OBJECTIVES, *others, *SELECTIONS, *RECOVERIES)(incomplete)

"""Dataset distillation: a labelled image dataset condensed into a few synthetic images per class.

>>> import attar
>>> flowers = attar.open("flowers/train")                                                   # doctest: +SKIP
>>> vit = attar.backbone("vit_tiny_patch16_224")                                            # doctest: +SKIP
>>> small = attar.distill(flowers, vit, "flowers.attar")                                    # doctest: +SKIP
>>> attar.evaluate([small], test=attar.open("flowers/val"), train=flowers, backbone=vit)    # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attar.backbones import Backbone, backbone, list_backbones
    from attar.compression.recover import recover
    from attar.compression.recovery_settings import choose_recovery
    from attar.compression.relabel import relabel
    from attar.compression.squeeze import squeeze
    from attar.compression.squeeze_settings import SqueezeSettings
    from attar.diffusion.edits.settings import choose_edits
    from attar.diffusion.edits.stages import edits
    from attar.diffusion.refine import refine
    from attar.diffusion.refine_settings import choose_refinement
    from attar.distilled import DistilledSet, load
    from attar.distilled.hub import push
    from attar.distilled.importers import import_set
    from attar.errors import AttarError
    from attar.evaluation import evaluate
    from attar.evaluation.audit import audit
    from attar.evaluation.classifier import classifier
    from attar.evaluation.export import export
    from attar.evaluation.inherit import inherit
    from attar.evaluation.predict import predict
    from attar.images import ImageSource, open, split
    from attar.report.page import write_report
    from attar.selection import select
    from attar.synthesis import choose_settings, class_statistics, distill
    from attar.tensorboard import TensorBoard

_HOMES = {
    "AttarError": "attar.errors",
    "Backbone": "attar.backbones",
    "DistilledSet": "attar.distilled",
    "ImageSource": "attar.images",
    "SqueezeSettings": "attar.compression.squeeze_settings",
    "TensorBoard": "attar.tensorboard",
    "audit": "attar.evaluation.audit",
    "backbone": "attar.backbones",
    "choose_edits": "attar.diffusion.edits.settings",
    "choose_recovery": "attar.compression.recovery_settings",
    "choose_refinement": "attar.diffusion.refine_settings",
    "choose_settings": "attar.synthesis",
    "class_statistics": "attar.synthesis",
    "classifier": "attar.evaluation.classifier",
    "distill": "attar.synthesis",
    "edits": "attar.diffusion.edits.stages",
    "evaluate": "attar.evaluation",
    "export": "attar.evaluation.export",
    "import_set": "attar.distilled.importers",
    "inherit": "attar.evaluation.inherit",
    "list_backbones": "attar.backbones",
    "load": "attar.distilled",
    "open": "attar.images",
    "predict": "attar.evaluation.predict",
    "push": "attar.distilled.hub",
    "recover": "attar.compression.recover",
    "refine": "attar.diffusion.refine",
    "relabel": "attar.compression.relabel",
    "select": "attar.selection",
    "split": "attar.images",
    "squeeze": "attar.compression.squeeze",
    "write_report": "attar.report.page",
}

__all__ = [
    "AttarError",
    "Backbone",
    "DistilledSet",
    "ImageSource",
    "SqueezeSettings",
    "TensorBoard",
    "audit",
    "backbone",
    "choose_edits",
    "choose_recovery",
    "choose_refinement",
    "choose_settings",
    "class_statistics",
    "classifier",
    "distill",
    "edits",
    "evaluate",
    "export",
    "import_set",
    "inherit",
    "list_backbones",
    "load",
    "open",
    "predict",
    "push",
    "recover",
    "refine",
    "relabel",
    "select",
    "split",
    "squeeze",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import attar` alone stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'attar' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({name for name in globals() if name.startswith("__")} | {*_HOMES})

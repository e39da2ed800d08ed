"""What the authors of a method report of it, setting by setting; None where no figure was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """The authors' figures for one data set.

    `accuracy` is top-1 in percent on the backbone that the images were distilled on, by backbone, measured by
    `protocol`; `hours` and `gigabytes` are what distilling takes on the authors' GPU. `source` is where these figures
    stand, and each remark names a source of its own.
    """

    data: str
    source: str
    accuracy: Mapping[str, float] | None = None
    hours: float | None = None
    gigabytes: float | None = None
    ipc: int = 1
    protocol: str = "lgm-probe"
    remarks: tuple[str, ...] = ()


_LGM = "linear-gradient-matching.github.io, data of the charts"
_LGM_REMARKS = (
    "The authors' code loads ViT-B/32 as clip_vitb; the figure may be of ViT-B/16 "
    "(github.com/GeorgeCazenavette/linear-gradient-matching, models/__init__.py).",
    "The one time they give is 30 minutes or so on an RTX 4090, imagenet-birds, dinov2_vitb14 (the same, README).",
)
_SFM = "arXiv 2602.05391, whose tables were not seen"
_SFM_REMARKS = (
    "Accuracy equal to LGM's or better, a tenth of its GPU memory and a quarter of its time are claimed (the same).",
)

LGM_IMAGENET_100 = Published(
    "ImageNet-100",
    _LGM,
    accuracy={"clip_vitb": 84.9, "dinov2_vitb14": 91.5, "eva02_vitb14": 89.0, "mocov3_vitb16": 83.4},
    remarks=_LGM_REMARKS,
)
LGM_IMAGENET_1K = Published(
    "ImageNet-1k",
    _LGM,
    accuracy={"clip_vitb": 63.0, "dinov2_vitb14": 75.0, "eva02_vitb14": 70.3, "mocov3_vitb16": 63.2},
    remarks=_LGM_REMARKS,
)
SFM_IMAGENET_100 = Published("ImageNet-100", _SFM, remarks=_SFM_REMARKS)
SFM_IMAGENET_1K = Published("ImageNet-1k", _SFM, remarks=_SFM_REMARKS)

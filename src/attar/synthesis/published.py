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

    @property
    def text(self) -> str:
        """What is known and what isn't, in one paragraph."""
        images = "1 image" if self.ipc == 1 else f"{self.ipc} images"
        accuracy = ", ".join(f"{network} {percent:.1f} %" for network, percent in (self.accuracy or {}).items())
        row = f"{self.data} with {images} a class ({self.source})"
        took = f"time {_amount(self.hours, 'hours')}; memory {_amount(self.gigabytes, 'GB')}"
        first = f"Published for {row}: top-1 by {self.protocol} {accuracy or 'unknown'}; {took}."
        return " ".join([first, *self.remarks])


def _amount(figure: float | None, unit: str) -> str:
    return "unknown" if figure is None else f"{figure:g} {unit}"


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

_SCDD = "arXiv 2404.07976, results table"
_SRE2L = "arXiv 2306.13092, results table"
_CDA = "arXiv 2311.18838, results table"
_LENGTH = ("Students begin with random weights; the authors report the best of many tests.",)
SCDD_CIFAR_100 = Published("CIFAR-100", _SCDD, {"ResNet-18": 53.4}, ipc=50, protocol="soft-scdd-cifar", remarks=_LENGTH)
SCDD_TINY = Published(
    "Tiny-ImageNet",
    _SCDD,
    {"ResNet-18": 45.9},
    ipc=50,
    protocol="soft-tiny",
    remarks=(*_LENGTH, "They train for 500 epochs; what else differs from soft-tiny isn't known."),
)
SCDD_IMAGENET_1K = Published(
    "ImageNet-1k", _SCDD, {"ResNet-18": 53.1}, ipc=50, protocol="soft-scdd-in1k", remarks=_LENGTH
)
SRE2L_CIFAR_100 = Published(
    "CIFAR-100",
    _SCDD,
    {"ResNet-18": 49.4},
    ipc=50,
    protocol="soft-sre2l-cifar",
    remarks=(*_LENGTH, "Their paper trains for 800 epochs, their script for 400."),
)
SRE2L_TINY = Published(
    "Tiny-ImageNet",
    _SRE2L,
    {"ResNet-18": 41.1, "ResNet-50": 42.2, "ResNet-101": 42.5},
    ipc=50,
    protocol="soft-tiny",
    remarks=_LENGTH,
)
SRE2L_IMAGENET_1K = Published(
    "ImageNet-1k",
    _SRE2L,
    {"ResNet-18": 46.8, "ResNet-50": 55.6, "ResNet-101": 60.8},
    hours=29.0,
    ipc=50,
    protocol="soft-fkd",
    remarks=_LENGTH,
)
CDA_TINY = Published(
    "Tiny-ImageNet",
    _CDA,
    {"ResNet-18": 48.7, "ResNet-50": 49.7, "ResNet-101": 50.6},
    hours=4.5,
    ipc=50,
    protocol="soft-tiny",
    remarks=_LENGTH,
)
CDA_IMAGENET_1K = Published(
    "ImageNet-1k",
    _CDA,
    {"ResNet-18": 53.5, "ResNet-50": 61.3, "ResNet-101": 61.6},
    hours=29.0,
    ipc=50,
    protocol="soft-cda-in1k",
    remarks=_LENGTH,
)
CDA_IMAGENET_21K = Published(
    "ImageNet-21k",
    _CDA,
    {"ResNet-18": 22.6, "ResNet-50": 32.4, "ResNet-101": 34.2},
    ipc=10,
    protocol="soft-cda-in1k",
    remarks=_LENGTH,
)

"""The real data as a run sees them: views of its policy, through its backbones."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from attar import processes
from attar.backbones.record import Backbone
from attar.devices import keep_freed_memory, pick_device, pick_dtype
from attar.features import ClassStatistics, RealFeatures
from attar.features.extract import CachedFeatures, Cut
from attar.features.real import gathered_statistics
from attar.features.statistics import Scatter
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.synthesis.batches import FreshBatches
from attar.synthesis.draws import Stream
from attar.synthesis.presets import choose_settings
from attar.synthesis.settings import Settings
from attar.synthesis.views import CentreView, RandomViews, ViewPolicy, canvas_side, may_mirror, smallest_crop


def view_policy(settings: Settings, source: ImageSource, crop: int) -> ViewPolicy:
    """The views of a run on a backbone of `crop` pixels: the published ones where the settings leave it open."""
    side = canvas_side(crop)
    return ViewPolicy(
        canvas=side,
        crop=crop,
        scale=(smallest_crop(side) if settings.scale_low is None else settings.scale_low, settings.scale_high),
        flip=may_mirror(source, side) if settings.flip is None else settings.flip,
        noise=settings.noise,
        noise_mean=settings.noise_mean,
        noise_std=settings.noise_std,
    )


def real_features(
    source: ImageSource,
    backbone: Backbone,
    settings: Settings,
    policy: ViewPolicy,
    progress: Progress = SILENT,
    guide: RealFeatures | None = None,
) -> RealFeatures:
    """Features of the real images under the settings' views: the centre crop, or the synthetic images' own views."""
    cut = _cut(settings, policy)
    features = CachedFeatures(source, backbone, cut, progress, _task(backbone))
    groups = None if source.groups is None else torch.from_numpy(source.groups)
    fresh = FreshBatches(source, backbone, policy, settings.seed)
    return RealFeatures(features, len(source.classes), groups, guide, fresh)


def all_real_features(
    source: ImageSource,
    backbones: Sequence[Backbone],
    settings: Settings,
    policy: ViewPolicy,
    progress: Progress,
) -> list[RealFeatures]:
    """Those of each backbone; the first one's clusters lead."""
    reals: list[RealFeatures] = []
    for backbone in backbones:
        reals.append(real_features(source, backbone, settings, policy, progress, guide=reals[0] if reals else None))
        reals[-1].statistics  # noqa: B018 (the one pass over the images, now)
    return reals


def class_statistics(
    source: ImageSource,
    backbone: Backbone,
    *,
    settings: Settings | None = None,
    scatter: Scatter = "none",
    device: str = "auto",
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> ClassStatistics:
    """Counts, means and, where wanted, scatter of all images of `source` under the settings' views, in one pass.

    The pass holds one shard of images at a time, and leaves all features in the cache, where `distill` on the same
    backbone with the same settings finds them. Processes of torchrun share it. `scatter` is "none", "pooled" or
    "class".

    >>> import attar
    >>> flowers = attar.open("flowers/train")                                                # doctest: +SKIP
    >>> attar.class_statistics(flowers, attar.backbone("vit_tiny_patch16_224")).means.shape   # doctest: +SKIP
    torch.Size([102, 192])
    """
    settings = settings or choose_settings()
    keep_freed_memory()
    place = pick_device(device)
    processes.join(place)
    progress = progress if processes.is_first() else SILENT
    backbone = backbone.to(device=place, dtype=pick_dtype(precision))
    cut = _cut(settings, view_policy(settings, source, backbone.image_size))
    features = CachedFeatures(source, backbone, cut, progress, _task(backbone))
    total = gathered_statistics(features, len(source.classes), scatter=scatter)
    return ClassStatistics(total.counts, total.means, total.scatter, _header(source, backbone, cut))


def _cut(settings: Settings, policy: ViewPolicy) -> Cut:
    views = settings.statistics_views
    return RandomViews(policy, views, 0, Stream.STATISTICS) if views else CentreView(policy)


def _header(source: ImageSource, backbone: Backbone, cut: Cut) -> dict[str, str]:
    return {"data": source.fingerprint, "backbone": backbone.fingerprint, "views": cut.fingerprint}


def _task(backbone: Backbone) -> str:
    return f"real images, {backbone.name}"

"""From images and a backbone to a distilled set: the whole run."""

from __future__ import annotations

import datetime
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

import attar.distilled as distilled
from attar.backbones.record import Backbone
from attar.devices import pick_device, pick_dtype
from attar.distilled import DistilledSet, Manifest, Origin, preview
from attar.errors import SettingsError
from attar.features import RealFeatures, extract
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run, deferred_interrupt
from attar.synthesis.canvas import Canvas, make_canvas
from attar.synthesis.draws import Stream
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.objectives import Objective, Rows, StatisticalFlowMatching
from attar.synthesis.plan import make_plan
from attar.synthesis.presets import Settings, choose_settings
from attar.synthesis.views import CentreView, RandomViews, ViewPolicy, canvas_side, centre_crop

_CHECKPOINT_SECONDS = 120
_PICTURES = 10
_LOG_EVERY = 10


def distill(
    source: ImageSource,
    backbone: Backbone,
    out: str | Path,
    *,
    settings: Settings | None = None,
    device: str = "auto",
    precision: str = "fp32",
    memory: int | None = None,
    chunk: int | None = None,
    restart: bool = False,
    progress: Progress = SILENT,
) -> DistilledSet:
    """Distil `source` on `backbone` into a distilled set at `out`.

    The run keeps its state in `<out>.run`: called again it continues from the last checkpoint, and returns the set at
    once where it is finished. `settings` decide what comes out (default: preset "attar"); `device`, `precision`,
    `memory` (bytes for activations, default half of what is free) and `chunk` (views at a time) where and how.
    KeyboardInterrupt saves a checkpoint before it leaves. Raises SettingsError where a run with other settings is in
    the way and `restart` is not set.

    >>> import attar
    >>> flowers = attar.open("flowers/train")                              # doctest: +SKIP
    >>> attar.distill(flowers, attar.backbone("vit_tiny_patch16_224"), "flowers.attar")   # doctest: +SKIP
    """
    settings = settings or choose_settings()
    out = Path(out)
    if len(source.classes) < 2:
        raise SettingsError("Distillation needs at least two classes.", "Give a folder with a subfolder a class.")
    distilled.check_place(out)
    backbone = backbone.to(device=pick_device(device), dtype=pick_dtype(precision))
    identity = settings.model_dump() | {
        "backbone": backbone.name,
        "backbone_fingerprint": backbone.fingerprint,
        "data": data_name(source.location),
        "data_fingerprint": source.fingerprint,
        "precision": precision,
    }
    run = Run.begin(out, identity, restart=restart)
    run.note_place(train=source.location)
    if (out / "attar.json").is_file() and not restart:
        done = distilled.load(out)
        if {k: v for k, v in done.manifest.settings.items() if v is not None} == run.settings():
            progress.note(f"{out} is finished; nothing to do.")
            return done
        if run.load_checkpoint() is None:
            raise SettingsError(f"{out} holds a set with other settings.", "Use --restart, or another --out.")

    policy = view_policy(settings, backbone.image_size, digits=source.grey and backbone.image_size <= 64)
    real = real_features(source, backbone, settings, policy, progress)
    canvas = _canvas(settings, source, policy, backbone)
    labels = torch.arange(len(source.classes)).repeat_interleave(settings.ipc)
    matching = Matching(
        canvas,
        labels,
        [Term(backbone, make_objective(settings, real))],
        policy,
        Schedule(settings.steps, settings.lr, settings.tail, settings.restart_adam),
        views=settings.views,
        seed=settings.seed,
        chunk=chunk,
    )
    plan = make_plan(matching, backbone, memory=memory, chunk=chunk)
    matching.chunk = plan.chunk
    progress.plan(str(plan))
    seconds = _run(matching, run, labels, source, progress)
    images = _decode_all(canvas, plan.chunk)
    scores = quantised_scores(images, labels, backbone, policy, real)
    manifest = Manifest(
        attar_version=version("attar"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method=settings.method,
        classes=list(source.classes),
        titles=list(source.titles),
        folders=[],
        ipc=settings.ipc,
        image_side=policy.canvas,
        settings=identity,
        seeds={"distill": settings.seed},
        backbones=[Origin(name=backbone.name, fingerprint=backbone.fingerprint, licence=backbone.licence)],
        data=Origin(name=data_name(source.location), fingerprint=source.fingerprint),
        train_images=len(source),
        scores=scores | {"seconds": round(seconds, 1)},
        files={},
    )
    return distilled.write(out, images, labels.numpy(), manifest=manifest, train_hashes=source.hashes())


def data_name(location: str) -> str:
    """What to call the data in a set that travels: the last two parts of each path, not where it lay here."""
    return "+".join("/".join(Path(part).parts[-2:]).lstrip("/") for part in location.split("+"))


def view_policy(settings: Settings, crop: int, *, digits: bool = False) -> ViewPolicy:
    """The views of a run: the published ones at 224 px; small images are cropped less, digits are not mirrored."""
    side = canvas_side(crop)
    low = max(settings.scale_low, 0.5) if side <= 64 else settings.scale_low
    return ViewPolicy(
        canvas=side,
        crop=crop,
        scale=(low, settings.scale_high),
        flip=settings.flip and not digits,
        noise=settings.noise,
        noise_mean=settings.noise_mean,
        noise_std=settings.noise_std,
    )


def real_features(
    source: ImageSource, backbone: Backbone, settings: Settings, policy: ViewPolicy, progress: Progress = SILENT
) -> RealFeatures:
    """Features of the real images under the settings' views: the centre crop, or the synthetic images' own views."""
    views = settings.statistics_views
    cut = RandomViews(policy, views, 0, Stream.STATISTICS) if views else CentreView(policy)
    features = extract(source, backbone, cut, progress=progress, task="real images")
    return RealFeatures(features, len(source.classes))


def make_objective(settings: Settings, real: RealFeatures) -> Objective:
    """The objective that `settings.method` names."""
    return StatisticalFlowMatching(
        real.statistics.means,
        w_mean=settings.w_mean,
        w_scale=settings.w_scale,
        images_per_class=settings.ipc if settings.paper_quirks else None,
    )


@torch.inference_mode()
def quantised_scores(
    images: UInt8[np.ndarray, "n 3 side side"],
    labels: Int[Tensor, " n"],
    backbone: Backbone,
    policy: ViewPolicy,
    real: RealFeatures,
) -> dict[str, float]:
    """Flow cosine and its worst class, on centre views of the images as shipped (8 bits a channel)."""
    device = backbone.device
    features = [
        backbone(centre_crop(torch.from_numpy(part).float().to(device) / 255, policy.crop)).cpu()
        for part in np.array_split(images, -(-len(images) // 32))
    ]
    rows = Rows(torch.arange(len(images)), torch.zeros(len(images), dtype=torch.int64), labels)
    log = StatisticalFlowMatching(real.statistics.means).at(0)(torch.cat(features), rows).log
    return {"cosine": log["cosine"], "worst_class": log["worst_class"]}


def _canvas(settings: Settings, source: ImageSource, policy: ViewPolicy, backbone: Backbone) -> Canvas:
    return make_canvas(
        settings.canvas,
        len(source.classes) * settings.ipc,
        policy.canvas,
        grow_every=settings.grow_every,
        seed=settings.seed,
        grey=source.grey,
        device=backbone.device,
    )


def _run(matching: Matching, run: Run, labels: Tensor, source: ImageSource, progress: Progress) -> float:
    """Take the steps that are left; returns the seconds they took."""
    steps = matching.schedule.steps
    checkpoint = run.load_checkpoint()
    first = 0
    if checkpoint is not None:
        first, state = checkpoint
        matching.load_state_dict(state)
        run.forget_log_from(first)
        progress.note(f"Continuing after step {first} of {steps}.")
    started = saved = time.monotonic()
    with deferred_interrupt() as interrupted:
        for step in range(first, steps):
            figures = matching.step(step)
            if step % _LOG_EVERY == 0 or step == steps - 1:
                run.log(step, figures)
            progress.advance("distilling", step + 1, steps, figures)
            if (step + 1) % max(1, steps // _PICTURES) == 0:
                _picture(matching, run, labels, source, step + 1, progress)
            if interrupted() or time.monotonic() - saved > _CHECKPOINT_SECONDS:
                run.save_checkpoint(step + 1, matching.state_dict())
                saved = time.monotonic()
            if interrupted():
                raise KeyboardInterrupt
        run.save_checkpoint(steps, matching.state_dict())
    return time.monotonic() - started


def _picture(matching: Matching, run: Run, labels: Tensor, source: ImageSource, step: int, progress: Progress) -> None:
    per_class = matching.canvas.count // len(source.classes)
    shown = torch.arange(min(matching.canvas.count, 20 * per_class))
    images = _quantise(matching.canvas, shown)
    run.pictures.mkdir(parents=True, exist_ok=True)
    path = run.pictures / f"step-{step:06d}.png"
    preview(images, labels[shown].tolist(), source.titles[:20]).save(path)
    progress.picture(path)


@torch.no_grad()
def _quantise(canvas: Canvas, ids: Int[Tensor, " k"]) -> UInt8[np.ndarray, "k 3 side side"]:
    return (canvas.images(ids) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _decode_all(canvas: Canvas, chunk: int) -> UInt8[np.ndarray, "n 3 side side"]:
    return np.concatenate([_quantise(canvas, ids) for ids in torch.arange(canvas.count).split(max(chunk, 1))])

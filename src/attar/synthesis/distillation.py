"""From images and a backbone to a distilled set: the whole run."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

import attar.distilled as distilled
from attar.backbones.record import Backbone
from attar.devices import pick_device, pick_dtype
from attar.distilled import DistilledSet, Manifest, Origin, encode_png, preview
from attar.errors import SettingsError, nearest
from attar.features import RealFeatures, extract
from attar.files import digest, write_bytes
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run, Value, deferred_interrupt
from attar.synthesis.canvas import Canvas, make_canvas
from attar.synthesis.draws import Stream
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.objectives import OBJECTIVES, Objective, Rows, StatisticalFlowMatching
from attar.synthesis.plan import Plan, make_plan
from attar.synthesis.presets import Settings, choose_settings
from attar.synthesis.views import (
    CentreView,
    RandomViews,
    ViewPolicy,
    canvas_side,
    centre_crop,
    may_mirror,
    smallest_crop,
)

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
    settings, out = settings or choose_settings(), Path(out)
    build = _objective(settings)
    _check(source, backbone, settings)
    distilled.check_place(out)
    backbone = backbone.to(device=pick_device(device), dtype=pick_dtype(precision))
    policy = view_policy(settings, source, backbone.image_size)
    identity: dict[str, Value] = settings.model_dump() | {
        "scale_low": policy.scale[0],
        "flip": policy.flip,
        "backbone": backbone.name,
        "backbone_fingerprint": backbone.fingerprint,
        "data": data_name(source.location),
        "data_fingerprint": source.fingerprint,
        "titles": digest(*source.titles)[:16],
        "precision": precision,
    }
    with Run.beside(out).alone():
        finished = None if restart else _finished(out, identity)
        if finished is not None:
            progress.note(f"{out} is finished; nothing to do.")
            return finished
        run = Run.begin(out, identity, restart=restart)
        canvas = make_canvas(
            settings.canvas,
            len(source.classes) * settings.ipc,
            policy.canvas,
            grow_every=settings.grow_every,
            seed=settings.seed,
            grey=source.grey,
            device=backbone.device,
        )
        plan = make_plan(
            canvas,
            backbone,
            views=settings.views,
            side=policy.crop,
            steps=settings.steps,
            real_views=len(source) * max(1, settings.statistics_views),
            memory=memory,
            chunk=chunk or (None if memory else _last_chunk(run)),
        )
        progress.plan(f"{plan}; to {out}")
        _note_places(run, source, plan, backbone, progress)
        real = real_features(source, backbone, settings, policy, progress)
        labels = torch.arange(len(source.classes)).repeat_interleave(settings.ipc)
        matching = Matching(
            canvas,
            labels,
            [Term(backbone, build(real, settings))],
            policy,
            Schedule(settings.steps, settings.lr, settings.tail, settings.restart_adam),
            views=settings.views,
            seed=settings.seed,
            chunk=plan.chunk,
        )
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


def _objective(settings: Settings) -> Callable[[RealFeatures, Settings], Objective]:
    if settings.method not in OBJECTIVES:
        raise SettingsError(f"there is no method {settings.method!r}", nearest(settings.method, OBJECTIVES))
    return OBJECTIVES[settings.method]


def _check(source: ImageSource, backbone: Backbone, settings: Settings) -> None:
    if len(source.classes) < 2:
        raise SettingsError("Distillation needs at least two classes.", "Give a folder with a subfolder a class.")
    if backbone.normalise != settings.normalise:
        raise SettingsError(
            f"the settings ask for {settings.normalise} normalisation, and the backbone has {backbone.normalise}",
            f"make it by attar.backbone(..., normalise={settings.normalise!r})",
        )


def _finished(out: Path, identity: Mapping[str, Value]) -> DistilledSet | None:
    """The set at `out` where it is what these settings make; SettingsError where another set is in the way."""
    if not (out / "attar.json").is_file():
        return None
    done = distilled.load(out)
    if done.manifest.settings == identity:
        return done
    if Run.beside(out).holds(identity):
        return None  # an older set, and a run on its way to the new one
    differing = sorted(name for name in identity if done.manifest.settings.get(name) != identity[name])
    changes = ", ".join(f"{name} {done.manifest.settings.get(name)!r} -> {identity[name]!r}" for name in differing)
    raise SettingsError(f"{out} holds a set with other settings: {changes}", "use --restart, or another --out")


def _last_chunk(run: Run) -> int | None:
    """The chunk of the run so far: with another one the last bits of sums, and so the pixels, may differ."""
    chunk = run.place("chunk")
    return int(chunk) if chunk and run.started else None


def _note_places(run: Run, source: ImageSource, plan: Plan, backbone: Backbone, progress: Progress) -> None:
    """Keep where the run works, and say so where it works otherwise than before."""
    places = {"chunk": str(plan.chunk), "device": backbone.device.type}
    moved = [
        f"{name} {run.place(name)} -> {value}" for name, value in places.items() if run.place(name) not in (None, value)
    ]
    if moved and run.load_checkpoint() is not None:
        progress.note(f"Continuing elsewhere ({', '.join(moved)}): pixels may differ in their last bit.")
    parts = source.location.split("+")
    if all(Path(part).exists() for part in parts):
        places["train"] = "+".join(str(Path(part).absolute()) for part in parts)
    elif source.location.startswith("digits"):
        places["train"] = source.location
    run.note_place(**places)


def data_name(location: str) -> str:
    """What to call the data in a set that travels: the last two parts of each path, not where it lay here."""
    return "+".join("/".join(Path(part).parts[-2:]).lstrip("/") for part in location.split("+"))


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
    source: ImageSource, backbone: Backbone, settings: Settings, policy: ViewPolicy, progress: Progress = SILENT
) -> RealFeatures:
    """Features of the real images under the settings' views: the centre crop, or the synthetic images' own views."""
    views = settings.statistics_views
    cut = RandomViews(policy, views, 0, Stream.STATISTICS) if views else CentreView(policy)
    features = extract(source, backbone, cut, progress=progress, task="real images")
    header = {"data": source.fingerprint, "backbone": backbone.fingerprint, "views": cut.fingerprint}
    return RealFeatures(features, len(source.classes), header)


@torch.inference_mode()
def quantised_scores(
    images: UInt8[np.ndarray, "n 3 side side"],
    labels: Int[Tensor, " n"],
    backbone: Backbone,
    policy: ViewPolicy,
    real: RealFeatures,
) -> dict[str, float]:
    """Flow cosine and its worst class, on centre views of the images as shipped (8 bits a channel)."""
    features = [
        backbone(centre_crop(torch.from_numpy(part).float().to(backbone.device) / 255, policy.crop)).cpu()
        for part in np.array_split(images, -(-len(images) // 32))
    ]
    rows = Rows(torch.arange(len(images)), torch.zeros(len(images), dtype=torch.int64), labels)
    log = StatisticalFlowMatching(real.statistics.means).at(0)(torch.cat(features), rows).log
    return {"cosine": log["cosine"], "worst_class": log["worst_class"]}


def _run(matching: Matching, run: Run, labels: Tensor, source: ImageSource, progress: Progress) -> float:
    """Take the steps that are left; returns the seconds that all took, those of earlier sessions included."""
    steps = matching.schedule.steps
    checkpoint = run.load_checkpoint()
    first, before = 0, 0.0
    if checkpoint is not None:
        first, state = checkpoint
        before = float(state.pop("seconds"))
        matching.load_state_dict(state)
        run.forget_log_from(first)
        progress.note(f"Continuing after step {first} of {steps}.")
    started = saved = time.monotonic()

    def save(done: int) -> None:
        seconds = torch.tensor(before + time.monotonic() - started, dtype=torch.float64)
        run.save_checkpoint(done, matching.state_dict() | {"seconds": seconds})

    with deferred_interrupt() as interrupted:
        for step in range(first, steps):
            figures = matching.step(step)
            if step % _LOG_EVERY == 0 or step == steps - 1:
                run.log(step, figures)
            progress.advance("distilling", step + 1, steps, figures)
            if (step + 1) % max(1, steps // _PICTURES) == 0:
                _picture(matching, run, labels, source, step + 1, progress)
            if interrupted() or time.monotonic() - saved > _CHECKPOINT_SECONDS:
                save(step + 1)
                saved = time.monotonic()
            if interrupted():
                raise KeyboardInterrupt(f"The same command again continues after step {step + 1} of {steps}.")
        save(steps)
    return before + time.monotonic() - started


def _picture(matching: Matching, run: Run, labels: Tensor, source: ImageSource, step: int, progress: Progress) -> None:
    per_class = matching.canvas.count // len(source.classes)
    shown = torch.arange(min(matching.canvas.count, 20 * per_class))
    images = _quantise(matching.canvas, shown)
    path = run.pictures / f"step-{step:06d}.png"
    write_bytes(path, encode_png(preview(images, labels[shown].tolist(), source.titles[:20])))
    progress.picture(path)


@torch.no_grad()
def _quantise(canvas: Canvas, ids: Int[Tensor, " k"]) -> UInt8[np.ndarray, "k 3 side side"]:
    return (canvas.images(ids) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _decode_all(canvas: Canvas, chunk: int) -> UInt8[np.ndarray, "n 3 side side"]:
    return np.concatenate([_quantise(canvas, ids) for ids in torch.arange(canvas.count).split(max(chunk, 1))])

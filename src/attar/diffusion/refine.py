"""From a distilled set to the same set refined by a diffusion model: the whole run of DIVER (diver.md)."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

import attar.distilled as distilled
from attar.diffusion.before_after import before_after, shown
from attar.diffusion.models import LatentDiffusion
from attar.diffusion.originals import Originals
from attar.diffusion.refine_settings import RefineSettings, choose_refinement
from attar.diffusion.refined import Line, RefinedImages
from attar.diffusion.refining import Refining
from attar.diffusion.schedule import Schedule
from attar.distilled import DistilledSet, Manifest, Origin, encode_png
from attar.errors import SettingsError, expect
from attar.files import digest, write_bytes
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run, Value
from attar.synthesis.distillation import data_name, refuse_other_set

_BATCH = 8


def refine(
    images: DistilledSet | ImageSource,
    model: LatentDiffusion,
    out: str | Path,
    *,
    settings: RefineSettings | None = None,
    batch: int | None = None,
    restart: bool = False,
    progress: Progress = SILENT,
) -> DistilledSet:
    """Images that look like what the diffusion model knows of their class, and keep what they were distilled to say.

    Of each image in `images` comes one (or `settings.replicas`) of the same label: DIVER (Xia et al., arXiv
    2605.12649). `model` is of `open_diffusion`, and must know the classes by name; `settings` of `choose_refinement`.
    `batch` images go through the model at once (8, fewer where the memory ends); it doesn't decide the result. The run
    keeps finished images in `<out>.run`: called again it continues, and returns the set at once where it is finished.
    KeyboardInterrupt comes after the batch at work, or at once when repeated. Raises SettingsError where a run with
    other settings is in the way and `restart` is not set, and where one image doesn't fit into the memory.

    >>> import attar
    >>> from attar.diffusion.models import open_diffusion
    >>> dit = open_diffusion("facebook/DiT-XL-2-256", vae="stabilityai/sd-vae-ft-mse")             # doctest: +SKIP
    >>> attar.refine(attar.load("fruit.attar"), dit, "fruit-refined.attar")                       # doctest: +SKIP
    """
    if not isinstance(images, ImageSource):
        expect(images, DistilledSet, "images")
    expect(model, LatentDiffusion, "model")
    settings, out = settings or choose_refinement(), Path(out)
    expect(settings, RefineSettings, "settings")
    distilled.check_place(out)
    _check(images, out, batch)
    settings = _settled(settings, model)
    originals = Originals.of(images)
    conditions = model.conditions(originals.classes, originals.titles)
    asked = _asked(settings, originals, model, conditions)
    run = Run.beside(out)
    with run.alone():
        if not restart:
            run.refuse_others(asked)
            refuse_other_set(out, asked)
            if _is_made(out, asked):
                progress.note(f"{out} is finished; nothing to do.")
                return distilled.load(out)
        run = Run.begin(out, asked, restart=restart)
        run.note_place(device=model.device.type, process=str(os.getpid()), **originals.places)
        run.save_checkpoint(0, {}, images=len(originals) * settings.replicas)  # from here on other settings are refused
        work = Refining(originals, model, conditions, settings, RefinedImages(run.folder, digest(asked)[:16]), progress)
        size = batch or min(_BATCH, len(work.pieces))
        progress.plan(f"{work.plan(size)}; to {out}")
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(model.device)
        lines = work.finish(size)
        refined = work.images()
        _show(originals, refined, settings.replicas, run.folder / "before-after.png", progress)
        return distilled.write(
            out,
            refined,
            np.repeat(originals.labels, settings.replicas),
            manifest=_manifest(
                settings,
                originals,
                model,
                asked,
                refined.shape[-1],
                _scores(lines, model.device),
                of_photos=not isinstance(images, DistilledSet) or images.of_photos,
            ),
            weights=np.repeat(originals.weights, settings.replicas).tolist(),
            train_hashes=originals.train_hashes,
        )


def _check(images: DistilledSet | ImageSource, out: Path, batch: int | None) -> None:
    if batch is not None and batch < 1:
        raise SettingsError(f"a batch of {batch} images is too small", "choose --batch 1 or more")
    if isinstance(images, DistilledSet) and images.path.resolve() == out.resolve():
        raise SettingsError(f"{out} would replace the set that is to be refined", "choose another --out")


def _settled(settings: RefineSettings, model: LatentDiffusion) -> RefineSettings:
    """With what the model decides; SettingsError where it can't do what is asked."""
    Schedule(model.alphas, model.final_alpha, model.offset, settings.steps)  # refuses more steps than it has
    if settings.sigma == "learned" and not model.tells_variance:
        raise SettingsError(f"{model.name} tells no variances to learn σ from", "choose --sigma posterior")
    return settings.model_copy(update={"cfg": model.guidance if settings.cfg is None else settings.cfg})


def _asked(
    settings: RefineSettings, originals: Originals, model: LatentDiffusion, conditions: Sequence[int | str]
) -> dict[str, Value]:
    """What decides the result."""
    return {
        **settings.model_dump(),
        "refined": originals.method,
        "refined_fingerprint": originals.fingerprint,
        "model_fingerprint": model.fingerprint,
        "conditions": digest(*conditions)[:16],
        "titles": digest(*originals.titles)[:16],
        "precision": str(model.dtype).removeprefix("torch."),
    }


def _is_made(out: Path, asked: Mapping[str, Value]) -> bool:
    return (out / "attar.json").is_file() and distilled.load(out).manifest.settings == asked


def _scores(lines: Sequence[Line], device: torch.device) -> dict[str, float]:
    """Of all images, those of earlier sessions included; the memory, weights and all, is this session's on a GPU.

    `plain_share` is the time that plain samples of the same model would have taken, as a share of what was taken;
    `moved` the mean distance by element between an image's latent and what became of it.
    """
    seconds = sum(line.seconds for line in lines)
    scores = {
        "seconds": round(seconds, 1),
        "seconds_per_image": seconds / len(lines),
        "plain_share": sum(line.plain_seconds for line in lines) / seconds,
        "moved": sum(line.moved for line in lines) / len(lines),
    }
    if device.type == "cuda":
        scores["peak_bytes"] = float(torch.cuda.max_memory_allocated(device))
    return scores


def _show(
    originals: Originals, refined: UInt8[np.ndarray, "n 3 s s"], replicas: int, path: Path, progress: Progress
) -> None:
    chosen = shown(originals.labels.tolist())
    after, labels = [refined[index * replicas] for index in chosen], originals.labels[chosen].tolist()
    write_bytes(path, encode_png(before_after(originals.read(chosen), after, labels, originals.titles)))
    progress.picture(path)


def _manifest(
    settings: RefineSettings,
    originals: Originals,
    model: LatentDiffusion,
    asked: Mapping[str, Value],
    side: int,
    scores: Mapping[str, float],
    *,
    of_photos: bool,
) -> Manifest:
    return Manifest(
        attar_version=version("attar"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method="diver",
        classes=list(originals.classes),
        titles=list(originals.titles),
        folders=[],
        ipc=originals.ipc * settings.replicas,
        image_side=side,
        settings=dict(asked),
        seeds={"distill": settings.seed},
        backbones=[*originals.backbones, Origin(name=data_name(model.name), fingerprint=model.fingerprint)],
        data=originals.data,
        train_images=originals.train_images,
        scores=dict(scores),
        files={},
        began_from_photos=of_photos,
    )

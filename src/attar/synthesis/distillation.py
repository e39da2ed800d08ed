"""From images and a backbone to a distilled set: the whole run."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

import attar.distilled as distilled
from attar import processes
from attar.backbones.record import Backbone, told_apart
from attar.devices import free_bytes, keep_freed_memory, pick_device, pick_dtype
from attar.distilled import DistilledSet, Manifest, Origin
from attar.errors import SettingsError, expect, expect_all, nearest
from attar.files import digest
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run, Value
from attar.synthesis.canvas import Canvas, make_canvas, pyramid_sides
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.memory import fit_backbone
from attar.synthesis.objectives import Objective, find_objective, objective_names
from attar.synthesis.plan import Plan, canvas_bytes, make_plan, weight_bytes
from attar.synthesis.presets import choose_settings
from attar.synthesis.quality import scores_of
from attar.synthesis.real import all_real_features, view_policy
from attar.synthesis.settings import IDENTITY, Settings
from attar.synthesis.steps import decoded, take_steps
from attar.synthesis.views import ViewPolicy


def distill(
    source: ImageSource,
    backbone: Backbone | Sequence[Backbone],
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
    """Distil `source` on one backbone, or on several at once, into a distilled set at `out`.

    The run keeps its state in `<out>.run`: called again it continues from the last checkpoint, and returns the set at
    once where it is finished. `settings` decide what comes out (default: preset "attar"); `device`, `precision`,
    `memory` (bytes for activations, default half of what is free) and `chunk` (views at a time) where and how.
    Several backbones count the same, and each has statistics of its own (sfm.md 11); views have the largest one's
    size. KeyboardInterrupt saves a checkpoint before it leaves. Under torchrun each process owns a share of the images
    and the first one writes; `memory` is for each. Raises SettingsError where a run with other settings is in the way
    and `restart` is not set, and where one view doesn't fit into `memory`; ProcessError where another process ended.

    >>> import attar
    >>> flowers = attar.open("flowers/train")                              # doctest: +SKIP
    >>> attar.distill(flowers, attar.backbone("vit_tiny_patch16_224"), "flowers.attar")   # doctest: +SKIP
    """
    expect(source, ImageSource, "source")
    settings, out = settings or choose_settings(), Path(out)
    expect(settings, Settings, "settings")
    objective = _objective(settings)
    backbones = told_apart(expect_all(backbone, Backbone, "backbone"))
    _check(source, backbones, settings)
    distilled.check_place(out)
    place = pick_device(device)
    processes.join(place)
    if processes.count() > _images(source, settings):
        message = f"{processes.count()} processes have {_images(source, settings)} images to share"
        raise SettingsError(message, "start fewer processes")
    progress = progress if processes.is_first() else SILENT
    keep_freed_memory()
    backbones = [each.to(device=place, dtype=pick_dtype(precision)) for each in backbones]
    policy = view_policy(settings, source, max(each.image_size for each in backbones))
    asked = _asked(settings, source, backbones, policy, precision)
    run = Run.beside(out)
    restart = restart and not (
        processes.is_restarted() and run.follows(asked)
    )  # what torchrun restarts has begun afresh
    with run.alone() if processes.is_first() else contextlib.nullcontext():
        if not restart:
            run.refuse_others(asked)
            refuse_other_set(out, asked)
        known = not processes.any_says(not source.examined(range(len(source))))
        if known and not restart and (finished := _finished(out, asked, source)) is not None:
            progress.note(f"{out} is finished; nothing to do.")
            return finished
        budget = memory or free_bytes(place) // 2 // (processes.count_here() if place.type == "cpu" else 1)
        backbones, plan = _planned(settings, source, backbones, policy, budget, chunk, _last_chunk(run))
        progress.plan(f"{plan}; to {out}")
        _warn_of_flat_images(settings, policy, progress)
        if _looks_shuffled(source.classes):
            shown = ", ".join(source.classes[:12])
            progress.note(f"Classes are numbers in the order of strings, as ImageFolder has them: {shown}, ...")
        reals = all_real_features(source, backbones, settings, policy, progress)
        if not known and not restart and (finished := _finished(out, asked, source)) is not None:
            progress.note(f"{out} is finished; nothing to do.")
            return finished
        identity = _identity(asked, source)
        if processes.is_first():
            Run.begin(out, identity, restart=restart)
            _note_places(run, source, plan.chunk, place, progress)
        see_the_same(run)
        canvas = _make_canvas(settings, source, policy, place)
        _park(backbones, place)
        labels = torch.arange(len(source.classes)).repeat_interleave(settings.ipc)
        objectives = [objective.build(real, settings.options, ipc=settings.ipc, seed=settings.seed) for real in reals]
        matching = Matching(
            canvas,
            labels,
            [Term(each, one, 1 / len(backbones)) for each, one in zip(backbones, objectives, strict=True)],
            policy,
            Schedule(settings.steps, settings.lr, settings.tail, settings.restart_adam),
            views=settings.views,
            seed=settings.seed,
            chunk=plan.chunk,
            device=place,
        )
        seconds = take_steps(matching, run, labels, source, progress)
        images = decoded(matching, range(len(labels)))
        if not processes.is_first():
            processes.wait()
            return distilled.load(out)
        scores = scores_of(images, labels, backbones, policy, reals, place) | {"seconds": round(seconds, 1)}
        weights = objectives[0].image_weights
        made = distilled.write(
            out,
            images,
            labels.numpy(),
            manifest=_manifest(settings, source, backbones, identity, policy.canvas, scores),
            weights=None if weights is None else weights.tolist(),
            train_hashes=source.hashes(),
        )
        processes.wait()
        return made


def _asked(
    settings: Settings, source: ImageSource, backbones: Sequence[Backbone], policy: ViewPolicy, precision: str
) -> dict[str, Value]:
    """What decides the result and is known before the images are read; their hashes aren't."""
    beside: dict[str, Value] = {
        "backbone": "+".join(each.name for each in backbones),
        "backbone_fingerprint": _joint_fingerprint([each.fingerprint for each in backbones]),
        "data": data_name(source.location),
        "titles": digest(*source.titles)[:16],
        "groups": _groups_fingerprint(source, settings),
        "precision": precision,
    }
    assert beside.keys() <= IDENTITY  # else an option of another package's objective may have the same name
    return settings.flat() | {"scale_low": policy.scale[0], "flip": policy.flip} | beside


def _planned(
    settings: Settings,
    source: ImageSource,
    backbones: Sequence[Backbone],
    policy: ViewPolicy,
    budget: int,
    chunk: int | None,
    last_chunk: int | None,
) -> tuple[list[Backbone], Plan]:
    """What this process is going to do, and the backbones as they fit into its memory."""
    fitted = [fit_backbone(each, policy, budget) for each in backbones]
    backbones, models = [each for each, _ in fitted], [model for _, model in fitted]
    images = _images(source, settings)
    fresh = settings.options.fresh_views(images * settings.views, len(source.classes))
    plan = make_plan(
        backbones,
        models,
        images=len(processes.share(images)),
        canvas_side=policy.canvas,
        views=settings.views,
        side=policy.crop,
        steps=settings.steps,
        real_views=len(source) * max(1, settings.statistics_views) // processes.count(),
        fresh_views=fresh // processes.count(),
        budget=budget,
        chunk=chunk,
        last_chunk=last_chunk,
    )
    return backbones, plan


def see_the_same(run: Run) -> None:
    """Wait for the first process' work in the run's folder; SettingsError where another one doesn't see it."""
    processes.wait()
    if processes.any_says(run.settings() is None):
        message = f"not every process of this job sees {run.folder}"
        raise SettingsError(message, "give an --out on a disk that all of them share")


def _manifest(
    settings: Settings,
    source: ImageSource,
    backbones: Sequence[Backbone],
    identity: Mapping[str, Value],
    side: int,
    scores: Mapping[str, float],
) -> Manifest:
    return Manifest(
        attar_version=version("attar"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method=settings.method,
        classes=list(source.classes),
        titles=list(source.titles),
        folders=[],
        ipc=settings.ipc,
        image_side=side,
        settings=dict(identity),
        seeds={"distill": settings.seed},
        backbones=[origin_of(one) for one in backbones],
        data=Origin(name=data_name(source.location), fingerprint=source.fingerprint),
        train_images=len(source),
        scores=dict(scores),
        files={},
    )


def _objective(settings: Settings) -> type[Objective]:
    found = find_objective(settings.method)
    if found is None:
        raise SettingsError(f"there is no method {settings.method!r}", nearest(settings.method, objective_names()))
    return found


def _check(source: ImageSource, backbones: Sequence[Backbone], settings: Settings) -> None:
    if len(source.classes) < 2:
        raise SettingsError("distillation needs at least two classes", "Give a folder with a subfolder a class.")
    if not backbones:
        raise SettingsError("distillation needs a backbone", "give one, or several")
    if len({each.fingerprint for each in backbones}) < len(backbones):
        raise SettingsError("a backbone is given twice", "it would count twice: give others beside it")
    if settings.options.needs_groups and source.groups is None:
        raise SettingsError("group-balanced centres need images with groups", "give --groups FILE.csv:COLUMN")
    counts = dict(zip(source.classes, source.counts.tolist(), strict=True))
    _objective(settings).check(settings.options, counts, ipc=settings.ipc)
    for each in backbones:
        if each.normalise != settings.normalise:
            raise SettingsError(
                f"the settings ask for {settings.normalise} normalisation, and {each.name} has {each.normalise}",
                f"make it by attar.backbone(..., normalise={settings.normalise!r})",
            )


def _groups_fingerprint(source: ImageSource, settings: Settings) -> str | None:
    """Of the groups, where they decide anything."""
    if not settings.options.needs_groups or source.groups is None:
        return None
    return digest(source.group_names, source.groups.tolist())[:16]


def _warn_of_flat_images(settings: Settings, policy: ViewPolicy, progress: Progress) -> None:
    """Say so where the run ends before the pyramid is grown."""
    sides = pyramid_sides(policy.canvas)
    reached = sum(side <= settings.start_side for side in sides) + max(0, settings.steps - 2) // settings.grow_every
    if settings.canvas == "pyramid" and reached < len(sides):
        enough = max(1, (settings.steps - 2) // (len(sides) - 1))
        progress.note(
            f"{settings.steps} steps end at {sides[reached - 1]} x {sides[reached - 1]} of {sides[-1]} x {sides[-1]} "
            f"pixels; --set grow_every={enough} adds the finer levels sooner."
        )


def _looks_shuffled(classes: Sequence[str]) -> bool:
    """Whether classes are named by numbers, and "10" comes before "2"."""
    return all(name.isdecimal() for name in classes) and sorted(classes, key=int) != list(classes)


def _joint_fingerprint(fingerprints: Sequence[str]) -> str:
    return fingerprints[0] if len(fingerprints) == 1 else digest(*fingerprints)


def _images(source: ImageSource, settings: Settings) -> int:
    return len(source.classes) * settings.ipc


def _make_canvas(settings: Settings, source: ImageSource, policy: ViewPolicy, place: torch.device) -> Canvas:
    """The canvas of this process' images; on the host where it would take over half of the device's free memory."""
    own = processes.share(_images(source, settings))

    def make(home: torch.device) -> Canvas:
        return make_canvas(
            settings.canvas,
            len(own),
            policy.canvas,
            first=own.start,
            grow_every=settings.grow_every,
            start=settings.start_side,
            decorrelate=settings.decorrelate,
            smooth=settings.smooth / _images(source, settings),
            seed=settings.seed,
            grey=source.grey,
            device=place,
            home=home,
        )

    fits = canvas_bytes(len(own), policy.canvas) < free_bytes(place) // 2
    return make(place if fits else torch.device("cpu"))


def _park(backbones: Sequence[Backbone], place: torch.device) -> None:
    """Send the weights to the host, from where the loop fetches one at a time, where all crowd the device."""
    if len(backbones) > 1 and sum(map(weight_bytes, backbones)) > free_bytes(place) // 4:
        for each in backbones:
            each.module.to("cpu")


def _identity(asked: Mapping[str, Value], source: ImageSource) -> dict[str, Value]:
    """All that decides what comes out: what was asked, and the images."""
    return {**asked, "data_fingerprint": source.fingerprint}


def _finished(out: Path, asked: Mapping[str, Value], source: ImageSource) -> DistilledSet | None:
    """The set at `out` where it is what these settings make of these images; SettingsError where another one is."""
    if not (out / "attar.json").is_file():
        return None
    identity = _identity(asked, source)
    refuse_other_set(out, identity)
    done = distilled.load(out)
    return done if done.manifest.settings == identity else None


def refuse_other_set(out: Path, settings: Mapping[str, Value]) -> None:
    """SettingsError where the set at `out` was made otherwise, unless a run with these settings is to replace it."""
    if not (out / "attar.json").is_file() or Run.beside(out).follows(settings):
        return
    made = distilled.load(out).manifest.settings
    differing = sorted(name for name in settings if made.get(name) != settings[name])
    if differing:
        changes = ", ".join(f"{name} {made.get(name)!r} -> {settings[name]!r}" for name in differing)
        raise SettingsError(f"{out} holds a set with other settings: {changes}", "use --restart, or another --out")


def _last_chunk(run: Run) -> int | None:
    """The chunk of the run so far: with another one the last bits of sums, and so the pixels, may differ."""
    chunk = run.place("chunk")
    return int(chunk) if chunk and chunk.isdecimal() and run.started else None


def _note_places(run: Run, source: ImageSource, chunk: int, place: torch.device, progress: Progress) -> None:
    """Keep where the run works, and say so where it works otherwise than before."""
    places = {"chunk": str(chunk), "device": place.type, "process": str(os.getpid())}
    moved = [
        f"{name} {run.place(name)} -> {places[name]}"
        for name in ("chunk", "device")
        if run.place(name) not in (None, places[name])
    ]
    if moved and run.started:
        progress.note(
            f"Continuing elsewhere ({', '.join(moved)}): sums round otherwise, so the images will differ a little."
        )
    run.note_place(**places, **found_again(source.location))


def found_again(location: str) -> dict[str, str]:
    """{"train": what opens the same images from any folder}; nothing where they were made in memory."""
    parts = location.split("+")
    if all(Path(part).exists() or part.endswith(".tar") for part in parts):
        return {"train": "+".join(str(Path(part).absolute()) for part in parts)}
    if location.startswith("hf:") and Path(location[3:]).exists():
        return {"train": f"hf:{Path(location[3:]).absolute()}"}
    return {"train": location} if location.startswith(("digits", "hf:")) else {}


def origin_of(backbone: Backbone) -> Origin:
    """What a set's record says of a network that it was made with."""
    return Origin(
        name=backbone.name,
        fingerprint=backbone.fingerprint,
        licence=backbone.licence,
        architecture=backbone.architecture,
    )


def data_name(location: str) -> str:
    """What to call the data in a set that travels: the last two parts of each path, not where it lay here."""
    return "+".join("/".join(Path(part).parts[-2:]).lstrip("/") for part in location.split("+"))

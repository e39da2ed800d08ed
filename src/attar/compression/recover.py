"""From a squeezed network to a distilled set: the whole run of a recovery (scdd.md 3)."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

import attar.distilled as distilled
from attar import processes
from attar.backbones.load import body_of
from attar.backbones.squeezed import Squeezed, read_squeezed, state_hash
from attar.compression.batch_norm import norm_layers
from attar.compression.block import Block
from attar.compression.blocks import Blocks, Layout
from attar.compression.matching import MatchedNetwork
from attar.compression.recovery_checks import check_classes, check_trial, note_doubts
from attar.compression.recovery_plan import make_plan
from attar.compression.recovery_scores import scores_of
from attar.compression.recovery_settings import RecoverySettings, choose_recovery
from attar.devices import keep_freed_memory, pick_device, pick_dtype
from attar.distilled import DistilledSet, Manifest, Origin, encode_png, preview
from attar.errors import BackboneError, SettingsError, expect
from attar.files import digest, sweep, write_bytes
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run, Value, deferred_interrupt
from attar.synthesis.distillation import data_name, found_again, refuse_other_set, see_the_same

_CHECKPOINT_SECONDS = 120
_PICTURES = 10
_LOG_EVERY = 10
_SHOWN = 20  # images of a block in a picture


def recover(
    source: ImageSource,
    squeezed: Squeezed | str | Path,
    out: str | Path,
    *,
    settings: RecoverySettings | None = None,
    device: str = "auto",
    precision: str = "fp32",
    restart: bool = False,
    progress: Progress = SILENT,
) -> DistilledSet:
    """Images that the squeezed network classifies as wanted, with the statistics it was trained on, as a set at `out`.

    `squeezed` may be the network's file. `source` are the images that it was squeezed from: names of the classes are
    taken from them, and hashes for the leak check, beside those that the file holds; their pixels aren't used.
    `settings` are of `choose_recovery` (default: SC-DD, preset "attar"). The run keeps its state in `<out>.run`, a file
    a block: called again it continues, and returns the set at once where it is finished. KeyboardInterrupt saves
    before it leaves. Under torchrun the processes share the blocks. Raises BackboneError where the network has no
    BatchNorm statistics to match, doesn't know the classes, or was altered while it ran; SettingsError where a run with
    other settings is in the way and `restart` is not set, where the loss isn't finite any more, and where after a tenth
    of the steps the network would do as well by guessing; ProcessError where another process ended.

    >>> import attar
    >>> flowers = attar.open("flowers/train")                                                     # doctest: +SKIP
    >>> attar.recover(flowers, "flowers.safetensors", "recovered.attar")                          # doctest: +SKIP
    """
    expect(source, ImageSource, "source")
    settings = settings or choose_recovery()
    expect(settings, RecoverySettings, "settings")
    squeezed = read_squeezed(squeezed) if isinstance(squeezed, str | Path) else squeezed
    expect(squeezed, Squeezed, "squeezed")
    settings, out = settings.for_side(squeezed.record.side), Path(out)
    check_classes(source, squeezed)
    distilled.check_place(out)
    layout = Layout(len(source.classes), settings.ipc, settings.block)
    place = pick_device(device)
    processes.join(place)
    if processes.count() > len(layout):
        raise SettingsError(
            f"{processes.count()} processes have {len(layout)} blocks to share", "start fewer processes"
        )
    progress = progress if processes.is_first() else SILENT
    keep_freed_memory()
    asked = _asked(settings, source, squeezed, precision)
    run = Run.beside(out)
    restart = restart and not (processes.is_restarted() and run.follows(asked))
    with run.alone() if processes.is_first() else contextlib.nullcontext():
        if not restart:
            run.refuse_others(asked)
            if _is_made(out, asked, source):
                progress.note(f"{out} is finished; nothing to do.")
                return distilled.load(out)
        note_doubts(squeezed, settings, progress)
        running = squeezed.to(place, pick_dtype(precision))
        before = state_hash(running.network)
        labels = _in_logits(source, squeezed)
        with MatchedNetwork(running.network, norm_layers(squeezed.network)) as network:

            def start(number: int) -> Block:
                return Block(number, labels[layout.classes_of(number)], running, network, settings)

            plan = make_plan(start(0), layout, settings.steps)
            progress.plan(f"{plan}; to {out}")
            check_trial(plan, layout, network, settings, progress)
            identity = {**asked, "data_fingerprint": source.fingerprint}
            if source.fingerprint != squeezed.record.data_fingerprint:
                progress.note(f"{squeezed.name} was squeezed from other images; both are kept for the leak check.")
            if processes.is_first():
                Run.begin(out, identity, restart=restart)
                run.note_place(device=place.type, process=str(os.getpid()), **found_again(source.location))
            see_the_same(run)
            own = processes.share(len(layout))
            sweep(run.folder / "blocks")
            blocks = Blocks(own, start, settings.steps, run.folder / "blocks", digest(identity))
            seconds = _run(blocks, layout, own, settings, run, source, progress)
            if state_hash(running.network) != before:
                raise BackboneError(
                    f"the network of {squeezed.name} changed while its images were made: they are worthless",
                    "keep it in eval mode, and start afresh with --restart",
                )
            if not processes.is_first():
                processes.wait()
                return distilled.load(out)
            images = _gathered(blocks, layout, squeezed.record.side)
            scores = scores_of(images, layout, labels, running, network, settings) | {"seconds": round(seconds, 1)}
        made = distilled.write(
            out,
            images,
            np.repeat(np.arange(layout.classes), layout.ipc),
            manifest=_manifest(settings, source, squeezed, identity, scores),
            train_hashes=sorted({value[:8] for value in source.hashes()} | squeezed.train_hashes),
        )
        processes.wait()
        return made


def _in_logits(source: ImageSource, squeezed: Squeezed) -> Int[Tensor, " classes"]:
    """Where each class of the images stands in the network's logits."""
    return torch.tensor([squeezed.classes.index(name) for name in source.classes])


def _asked(settings: RecoverySettings, source: ImageSource, squeezed: Squeezed, precision: str) -> dict[str, Value]:
    """What decides the result and is known before the images are read; their hashes aren't."""
    return {
        **settings.model_dump(),
        "backbone": Path(squeezed.name).name,
        "backbone_fingerprint": squeezed.fingerprint,
        "data": data_name(source.location),
        "titles": digest(*source.titles)[:16],
        "precision": precision,
    }


def _is_made(out: Path, asked: Mapping[str, Value], source: ImageSource) -> bool:
    """Whether the set at `out` is what is asked for; SettingsError where it is another one."""
    if not (out / "attar.json").is_file():
        return False
    refuse_other_set(out, asked)  # before all images are read for their fingerprint
    refuse_other_set(out, {**asked, "data_fingerprint": source.fingerprint})
    return distilled.load(out).manifest.settings == {**asked, "data_fingerprint": source.fingerprint}


def _run(
    blocks: Blocks,
    layout: Layout,
    own: range,
    settings: RecoverySettings,
    run: Run,
    source: ImageSource,
    progress: Progress,
) -> float:
    """Take the steps that are left; returns the seconds that all took, those of earlier sessions included."""
    steps = settings.steps
    total, speaks = steps * len(own), processes.is_first()
    checkpoint = run.load_checkpoint() if run.started else None
    before = float(checkpoint[1]["seconds"]) if checkpoint else 0.0
    left = processes.gather(torch.tensor([blocks.left]))
    first = total - blocks.left
    if first:
        progress.note(f"Continuing after step {first} of {total}.")
    if speaks and blocks.left:
        run.forget_log_from(own.start * steps + first)
    started = saved = time.monotonic()
    figures: dict[str, float] = {}

    def save() -> None:
        blocks.save()
        done = steps * len(layout) - int(processes.total(torch.tensor(blocks.left)))
        seconds = torch.tensor(before + time.monotonic() - started, dtype=torch.float64)
        run.save_checkpoint(done, {"seconds": seconds}, images=len(layout))

    if left.max():
        save()  # from here on other settings are refused
    with deferred_interrupt() as interrupted:
        for _ in range(int(left.max())):  # all take as many turns, because they leave and save together
            block = blocks.step()
            if block is not None and speaks:
                done = total - blocks.left
                if (block.steps - 1) % _LOG_EVERY == 0 or block.steps == steps:
                    figures = block.figures()
                    run.log(own.start * steps + done - 1, {**figures, **block.by_layer()})
                progress.advance("recovering", done, total, figures)
                if done % max(1, total // _PICTURES) == 0:
                    _picture(block, layout, run, source, done, progress)
            leaving = processes.any_says(interrupted())
            if leaving or processes.any_says(time.monotonic() - saved > _CHECKPOINT_SECONDS):
                save()
                saved = time.monotonic()
            if leaving:
                message = f"The same command again continues after step {total - blocks.left} of {total}."
                raise KeyboardInterrupt(message)
        if left.max():
            save()
    return before + time.monotonic() - started


def _picture(block: Block, layout: Layout, run: Run, source: ImageSource, step: int, progress: Progress) -> None:
    classes = layout.classes_of(block.number)[:_SHOWN]
    images = block.images()[: len(classes)].numpy()
    path = run.pictures / f"step-{step:06d}.png"
    write_bytes(path, encode_png(preview(images, range(len(classes)), [source.titles[label] for label in classes])))
    progress.picture(path)


def _gathered(blocks: Blocks, layout: Layout, side: int) -> UInt8[np.ndarray, "n 3 {side} {side}"]:
    """The images of all blocks, those of a class side by side."""
    images = np.empty((layout.classes * layout.ipc, 3, side, side), dtype=np.uint8)
    for number in range(len(layout)):
        images[layout.places(number)] = blocks.images(number).numpy()
    return images


def _manifest(
    settings: RecoverySettings,
    source: ImageSource,
    squeezed: Squeezed,
    identity: Mapping[str, Value],
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
        image_side=squeezed.record.side,
        settings=dict(identity),
        seeds={"distill": settings.seed},
        backbones=[
            Origin(
                name=Path(squeezed.name).name,
                fingerprint=body_of(squeezed).fingerprint,
                architecture=squeezed.record.architecture,
            )
        ],
        data=Origin(name=data_name(source.location), fingerprint=source.fingerprint),
        train_images=len(source),
        scores=dict(scores),
        files={},
    )

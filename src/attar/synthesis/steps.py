"""The steps of a run, from its last checkpoint to the end: with log, checkpoints, pictures and frames along the way."""

from __future__ import annotations

import time

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from attar import processes
from attar.distilled import encode_png, preview
from attar.distilled.journey import MOST_IMAGES, MOST_PIXELS, write_frame
from attar.errors import SettingsError
from attar.files import write_bytes
from attar.images.source import ImageSource
from attar.progress import Progress
from attar.run import Run, deferred_interrupt
from attar.synthesis.matching import Matching

_CHECKPOINT_SECONDS = 120
_PICTURES = 10
_LOG_EVERY = 10


def take_steps(matching: Matching, run: Run, labels: Tensor, source: ImageSource, progress: Progress) -> float:
    """Take the steps that are left; returns the seconds that all took, those of earlier sessions included.

    KeyboardInterrupt, where one comes, is raised after a step, once its checkpoint is written.
    """
    steps, speaks = matching.schedule.steps, processes.is_first()
    checkpoint = run.load_checkpoint()
    first, before = 0, 0.0
    done = processes.gather(torch.tensor([0 if checkpoint is None else checkpoint[0]]))
    if (done != done[0]).any():
        message = f"the processes of this job see checkpoints of steps {sorted(set(done.tolist()))} in {run.folder}"
        raise SettingsError(message, "give an --out on a disk that all of them share")
    if checkpoint is not None:
        first, state = checkpoint
        before = float(state.pop("seconds"))
        matching.load_state_dict(state)
        if speaks:
            run.forget_log_from(first)
        progress.note(f"Continuing after step {first} of {steps}.")
    started = saved = time.monotonic()

    def save(done: int) -> None:
        seconds = torch.tensor(before + time.monotonic() - started, dtype=torch.float64)
        run.save_checkpoint(done, matching.state_dict() | {"seconds": seconds}, images=len(labels))

    with deferred_interrupt() as interrupted:
        for step in range(first, steps):
            chunk = matching.chunk
            figures = matching.step(step)
            if matching.chunk != chunk and speaks:
                progress.note(f"Out of memory at step {step}: from here on {matching.chunk} views at a time.")
                run.note_place(**run.places() | {"chunk": str(matching.chunk)})
                figures["chunk"] = matching.chunk
            if speaks and (step % _LOG_EVERY == 0 or step == steps - 1):
                run.log(step, figures)
            progress.advance("distilling", step + 1, steps, figures)
            if (step + 1) % max(1, steps // _PICTURES) == 0:
                _picture(matching, run, labels, source, step + 1, progress)
            # All processes leave or save after the same step: at Ctrl-C each is told at a time of its own.
            leaving = processes.any_says(interrupted())
            if leaving or processes.any_says(time.monotonic() - saved > _CHECKPOINT_SECONDS):
                save(step + 1)
                saved = time.monotonic()
            if leaving:
                raise KeyboardInterrupt(f"The same command again continues after step {step + 1} of {steps}.")
        if first < steps:
            save(steps)
    return before + time.monotonic() - started


def _picture(matching: Matching, run: Run, labels: Tensor, source: ImageSource, step: int, progress: Progress) -> None:
    """A picture of the first classes for people, and a frame of all images for the journey."""
    per_class = len(labels) // len(source.classes)
    shown = range(min(len(labels), 20 * per_class))
    images = decoded(matching, shown)
    small = decoded(matching, range(min(len(labels), MOST_IMAGES)), min(matching.canvas.side, MOST_PIXELS))
    if processes.is_first():
        path = run.pictures / f"step-{step:06d}.png"
        write_bytes(path, encode_png(preview(images, labels[: len(shown)].tolist(), source.titles[:20])))
        write_frame(run.journey, step, small)
        progress.picture(path)


@torch.no_grad()
def decoded(matching: Matching, wanted: range, side: int | None = None) -> UInt8[np.ndarray, "k 3 side side"]:
    """Images `wanted` in 8 bits a channel, of `side` pixels, by default the canvas's own, for the first process; others
    get those of them that they own."""
    canvas, own, side = matching.canvas, matching.own, side or matching.canvas.side
    mine = torch.tensor([number - own.start for number in wanted if number in own], dtype=torch.int64)
    images = torch.empty(len(mine), 3, side, side, dtype=torch.uint8)
    for places in torch.arange(len(mine)).split(matching.chunk):
        whole = canvas.images(mine[places])
        values = whole if side == canvas.side else interpolate(whole, side, mode="area")
        images[places] = (values * 255).round().clamp(0, 255).to(torch.uint8).cpu()
    return processes.gather_at_first(images).numpy()

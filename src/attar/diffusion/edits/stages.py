"""EDITS from images to a distilled set: its four stages, one after the other, each of which can be run alone.

caption      what each image shows, in words                           captions.jsonl
fuse         the images of a class clustered by look and caption       features/, clusters/
prototypes   a latent and a text of each cluster                       prototypes/
generate     an image of each prototype                                images/, and the set

Each frees its networks before the next one loads its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attar.distilled as distilled
from attar.diffusion.edits.files import DoneOtherwiseError, EditsFiles
from attar.diffusion.edits.job import Job, Means, free_networks, shortened
from attar.diffusion.edits.refusals import refuse_early
from attar.diffusion.edits.settings import STAGES, EditsSettings, Stage, choose_edits
from attar.diffusion.edits.stage_caption import make_captions, makes_captions
from attar.diffusion.edits.stage_fuse import make_clusters
from attar.diffusion.edits.stage_generate import deliver
from attar.diffusion.edits.stage_prototypes import make_prototypes
from attar.diffusion.edits.wanted import wanted_images
from attar.distilled import DistilledSet
from attar.errors import SettingsError, expect
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run
from attar.synthesis.distillation import found_again, refuse_other_set

_PREPARE: dict[Stage, Callable[[Job], DistilledSet | None]] = {
    "caption": make_captions,
    "fuse": make_clusters,
    "prototypes": make_prototypes,
}


def edits(
    source: ImageSource,
    out: str | Path,
    *,
    settings: EditsSettings | None = None,
    stages: Sequence[Stage] = STAGES,
    captions: str | Path | None = None,
    texts: str | Path | None = None,
    prototypes: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    memory: int | None = None,
    offload: str = "auto",
    batch: int = 4,
    allow_download: bool = False,
    allow_offload: bool = False,
    allow_remote_text: bool = False,
    restart: bool = False,
    progress: Progress = SILENT,
) -> DistilledSet | None:
    """Images that Stable Diffusion makes of prototypes of the clusters of each class, as a set at `out` (EDITS).

    `settings` are of `choose_edits`; D4M and VLCP are presets. `captions` is a file of them, {"file_name": "<class>/
    <image>", "text": ...} a line; `texts` one of the prototypes' texts, for text_proto "file"; `prototypes` the `out`
    of another run, whose prototypes are used (for controls and other strengths). All files lie in `<out>.run`, where
    they may be edited between two stages. Called again it continues; a finished part is not redone, and one that was
    made with other settings or of another input is refused, unless `restart`: then the last of `stages` is done
    afresh, and so is all from the first of them that would be refused; captions that lie there as the user's own stay.
    None where `stages` don't end with "generate".

    `device` to `batch` say where and how much at once, `memory` in bytes; a GPU works in float16 unless `precision`
    says otherwise. `allow_download` lets models be fetched from the hub, `allow_offload` a captioner wait in the
    machine's memory, `allow_remote_text` captions go to another machine's language model.

    Raises BackboneError where a model is not on this machine (R1), SettingsError where captions are missing (R3), a
    class has too few images (R4), or ipc is no multiple of the prototypes (R8).

    >>> import attar
    >>> flowers = attar.open("flowers/train")                                                     # doctest: +SKIP
    >>> attar.edits(flowers, "edits.attar", captions="flowers.jsonl")                             # doctest: +SKIP
    """
    expect(source, ImageSource, "source")
    settings, out = settings or choose_edits(), Path(out)
    expect(settings, EditsSettings, "settings")
    distilled.check_place(out)
    _check(stages, prototypes, batch)
    if captions is not None and settings.captioner != "file":
        raise SettingsError(f"captions of a file and captioner {settings.captioner} don't go together", "Give one.")
    run = Run.beside(out)
    job = Job(
        source,
        out,
        settings,
        EditsFiles(run.folder),
        Means(device, precision, memory, offload, batch, allow_download, allow_offload, allow_remote_text),
        progress,
        None if captions is None else Path(captions),
        None if texts is None else Path(texts),
    )
    made, finished = job.files if prototypes is None else EditsFiles(Run.beside(Path(prototypes)).folder), None
    with run.alone():
        if not restart and not job.files.record("generate").is_file():
            refuse_other_set(out, shortened(settings.model_dump()))
        refuse_early(job, stages, made)
        run.note_place(device=job.device.type, process=str(os.getpid()), **found_again(source.location))
        try:
            for stage in stages:
                if restart and stage == stages[-1]:
                    _forget_from(job, stage, made)
                finished = _perform(job, stage, made, restart=restart)
                free_networks()
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("The same command again continues: what is done is kept.") from interrupt
    return finished


def _check(stages: Sequence[Stage], prototypes: str | Path | None, batch: int) -> None:
    if batch < 1:
        raise SettingsError(f"a batch of {batch} images is too small", "choose --batch 1 or more")
    if not stages:
        raise SettingsError("there is no stage to do", f"choose some of {', '.join(STAGES)}")
    if prototypes is not None and list(stages) != ["generate"]:
        raise SettingsError("prototypes of another run are for the stage generate alone", "use attar edits generate")


def _perform(job: Job, stage: Stage, made: EditsFiles, *, restart: bool) -> DistilledSet | None:
    """Do what is left of a stage; with `restart` all of it, where it was done otherwise."""
    do = _PREPARE.get(stage, lambda job: deliver(job, made))
    try:
        return do(job)
    except DoneOtherwiseError:
        if not restart:
            raise
    _forget_from(job, stage, made)
    return do(job)


def _forget_from(job: Job, stage: Stage, made: EditsFiles) -> None:
    if stage == "generate":
        wanted_images(job, made)  # raises what is wrong with the prototypes before anything is deleted
    job.files.forget_from(stage, captions=makes_captions(job))

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
from attar.diffusion.edits.files import EditsFiles
from attar.diffusion.edits.job import Job, Means, free_networks, shortened
from attar.diffusion.edits.settings import STAGES, EditsSettings, Stage, choose_edits
from attar.diffusion.edits.stage_caption import make_captions
from attar.diffusion.edits.stage_fuse import make_clusters
from attar.diffusion.edits.stage_generate import deliver
from attar.diffusion.edits.stage_prototypes import make_prototypes, open_texts
from attar.distilled import DistilledSet
from attar.errors import SettingsError
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.run import Run
from attar.synthesis.distillation import found_again, refuse_other_set

_PREPARE: dict[Stage, Callable[[Job], None]] = {
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
    made with other settings or of another input is refused, unless `restart`: then the first of `stages`, and all
    after it, are done afresh. None where `stages` don't end with "generate".

    `device` to `batch` say where and how much at once, `memory` in bytes; a GPU works in float16 unless `precision`
    says otherwise. `allow_download` lets models be fetched from the hub, `allow_offload` a captioner wait in the
    machine's memory, `allow_remote_text` captions go to another machine's language model.

    Raises BackboneError where a model is not on this machine (R1), SettingsError where captions are missing (R3), a
    class has too few images (R4), or ipc is no multiple of the prototypes (R8).

    >>> import attar
    >>> flowers = attar.open("flowers/train")                                                     # doctest: +SKIP
    >>> attar.edits(flowers, "edits.attar", captions="flowers.jsonl")                             # doctest: +SKIP
    """
    settings, out = settings or choose_edits(), Path(out)
    distilled.check_place(out)
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
    with run.alone():
        if not restart and not job.files.record("generate").is_file():
            refuse_other_set(out, shortened(settings.model_dump()))
        _refuse_early(job, stages)
        if restart:
            job.files.forget_from(stages[0])
        run.note_place(device=job.device.type, process=str(os.getpid()), **found_again(source.location))
        try:
            for stage in stages:
                if stage == "generate":
                    made = job.files if prototypes is None else EditsFiles(Run.beside(Path(prototypes)).folder)
                    return deliver(job, made)
                _PREPARE[stage](job)
                free_networks()
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("The same command again continues: what is done is kept.") from interrupt
    return None


def _refuse_early(job: Job, stages: Sequence[Stage]) -> None:
    """What would be refused after hours, refused at once."""
    job.refuse_absent_models()
    if "fuse" in stages:
        job.refuse_few_images()
    if "prototypes" in stages:
        open_texts(job)

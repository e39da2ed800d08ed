"""What the stages before one really used, as their records say: it must be what this command says, and goes on record.

A command that makes images of prototypes that are there already tells the same settings as those that made them. What
this last stage has settings of its own for (seed, model, VAE, images per class) may be another there: then the set's
record has both.
"""

from __future__ import annotations

from attar.diffusion.edits.files import EditsFiles, Record
from attar.diffusion.edits.job import Job
from attar.diffusion.edits.settings import STAGES, Stage
from attar.errors import SettingsError
from attar.run import Value


def refuse_other_origins(job: Job, made: EditsFiles, stage: Stage) -> None:
    """SettingsError where a stage before `stage`, whose files lie in `made`, had other settings than this command."""
    free = {*job.settings.of("generate"), "prototypes"}
    for early in STAGES[: STAGES.index(stage)]:
        asked = {name: value for name, value in job.asked(early).items() if name not in free}
        changes = Record(made.record(early)).changes(asked)
        if changes:
            raise SettingsError(
                f"{made.record(early)} is of other settings: {changes}.",
                f"Give the same settings, or do the stage {early} again with --restart.",
            )


def origins(job: Job, made: EditsFiles) -> dict[str, Value]:
    """What the records of the stages before the last say beside this command's settings, or otherwise than these.

    Names begin with the stage's: "fuse_clip_fingerprint", "prototypes_model". Captions of which no stage says where
    they come from are a file's.
    """
    found: dict[str, Value] = {}
    for early in STAGES[:-1]:
        asked = job.asked(early)
        for name, value in Record(made.record(early)).settings.items():
            if name not in asked or asked[name] != value:
                found[f"{early}_{name}"] = value
    if job.settings.needs_captions and not made.record("caption").is_file():
        found["captioner"] = "file"
    return found

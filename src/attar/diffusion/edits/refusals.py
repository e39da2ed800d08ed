"""What EDITS would refuse after hours, refused at once: before networks are loaded, and before anything is deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attar.diffusion import stock
from attar.diffusion.edits.absent import absent
from attar.diffusion.edits.captioners import weights_of
from attar.diffusion.edits.earlier import refuse_other_origins
from attar.diffusion.edits.files import EditsFiles
from attar.diffusion.edits.generate import refuse_other_kinds
from attar.diffusion.edits.job import Job
from attar.diffusion.edits.making import needs_diffusion, precision_of
from attar.diffusion.edits.settings import Stage
from attar.diffusion.edits.stage_caption import captions_by_class, given_captions, makes_captions
from attar.diffusion.edits.stage_prototypes import open_texts
from attar.diffusion.placement import refuse_offload
from attar.errors import SettingsError


def refuse_early(job: Job, stages: Sequence[Stage], made: EditsFiles) -> None:
    """Raise what `stages` can't do with these images, settings, captions and models; prototypes come from `made`.

    BackboneError where models aren't on this machine (R1) or of another kind, SettingsError and FileError for the rest.
    """
    _refuse_unfit_models(job, stages)
    if "generate" in stages:
        _refuse_means(job)
    if "fuse" in stages:
        _refuse_few_images(job)
    if "prototypes" in stages:
        open_texts(job)
    _refuse_missing_captions(job, stages)
    refuse_other_origins(job, made, stages[0])


def _refuse_unfit_models(job: Job, stages: Sequence[Stage]) -> None:
    """BackboneError for a model that is no Stable Diffusion, or isn't here and may not be fetched (R1)."""
    for name, role in dict.fromkeys(_models(job, stages)):
        if role == "diffusion model":
            refuse_other_kinds(name)
        if not job.means.allow_download and stock.folder_of(name) is None:
            raise absent(role)(name)


def _models(job: Job, stages: Sequence[Stage]) -> Iterator[tuple[str, str]]:
    """(name, role) of the models that `stages` load; of the diffusion model some need the tokenizer or the VAE."""
    settings = job.settings
    captioner = weights_of(settings.captioner, settings.captioner_model)
    captions = "caption" in stages and makes_captions(job)
    if captions and captioner is not None:
        yield captioner, "captioner"
    if "fuse" in stages and settings.fuse != "vae":
        yield settings.clip, "CLIP"
    latents = "prototypes" in stages or "generate" in stages or ("fuse" in stages and settings.fuse == "vae")
    if captions or latents:
        yield settings.model, "diffusion model"
        if settings.vae is not None:
            yield settings.vae, "VAE"


def _refuse_means(job: Job) -> None:
    """SettingsError for an unknown precision, and for offloading without an accelerator."""
    precision_of(job)
    if needs_diffusion(job):
        refuse_offload(job.means.offload, job.device)


def _refuse_few_images(job: Job) -> None:
    """SettingsError where a class has fewer images than clusters (R4)."""
    for label, name in enumerate(job.source.classes):
        if len(job.images(label)) < job.settings.prototypes:
            raise SettingsError(
                f'class "{name}" has {len(job.images(label))} usable images but IPC is '
                f"{job.settings.prototypes}; EDITS needs at least one image per cluster",
                "Choose a smaller --ipc, or add images.",
            )


def _refuse_missing_captions(job: Job, stages: Sequence[Stage]) -> None:
    """SettingsError or FileError where captions are needed that aren't there, and won't be (R3)."""
    if "caption" in stages and makes_captions(job):
        given_captions(job)
    elif "fuse" in stages and job.settings.fuse in ("query", "concat"):
        captions_by_class(job, needed=True)
    elif "prototypes" in stages:
        captions_by_class(job, needed=job.settings.text_proto in ("medoid", "llm", "frequency"))

"""The first stage of EDITS: a caption of each image, as a prompt can hold it (edits.md 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from attar.diffusion.edits.captioners import Captioner, open_captioner
from attar.diffusion.edits.captions import captions_of, clean_caption, read_captions, write_captions
from attar.diffusion.edits.files import Record, drop_cut_line
from attar.diffusion.edits.job import Job
from attar.errors import FileError
from attar.files import append_line, digest, make_folder

_AT_ONCE = 64  # images that a captioner is given at once, and that a kill can cost


def make_captions(job: Job) -> None:
    """captions.jsonl: what the captioner, or the user's file, says of each image, as a prompt can hold it."""
    file = job.files.captions
    if not makes_captions(job):
        if job.settings.captioner == "file" and job.files.record("caption").is_file():
            job.files.open_record("caption", {"captioner": "file"})  # refuses where a network wrote captions.jsonl
        return
    record = job.files.open_record("caption", job.asked("caption"))
    given, parts = given_captions(job), _parts(job)
    known = _kept(job, record, parts)
    captioner: Captioner | None = None
    changed = 0
    for done, (label, part) in enumerate(parts, start=1):
        keys, names = job.keys(part), job.names[label]
        told = None if given is None else [given[key] for key in keys]
        inputs = digest(job.content(part), names, told)
        missing = [place for place, key in enumerate(keys) if key not in known]
        if record.is_done(keys[0], inputs) and not missing:
            continue
        if told is None:
            captioner = captioner or _open_captioner(job, record)
            fresh = captioner.caption(list(job.pixels([part[place] for place in missing])), [names[0]] * len(missing))
        else:
            fresh = [told[place] for place in missing]
        clean = [clean_caption(text, names, job.fit[0]) for text in fresh]
        changed += sum(before != after for before, after in zip(fresh, clean, strict=True))
        make_folder(file.parent)
        for place, text in zip(missing, clean, strict=True):
            append_line(file, json.dumps({"file_name": keys[place], "text": text}, ensure_ascii=False))
        record.keep(keys[0], inputs)
        job.progress.advance("captions", done, len(parts))
    if changed:
        job.progress.note(f"{changed} captions were shortened, or now name their class: see {file}.")


def makes_captions(job: Job) -> bool:
    """Whether this stage writes captions.jsonl; else none are used, or the file there is the user's own."""
    captioner = job.settings.captioner
    return captioner != "none" and (captioner != "file" or job.captions is not None)


def _kept(job: Job, record: Record, parts: Sequence[tuple[int, list[int]]]) -> dict[str, str]:
    """The captions of captions.jsonl that are done.

    Where they are copied from the user's file, a run that was killed before its record may have taken others from
    another one: these are taken off. What a network wrote is kept, for it took long.
    """
    file = job.files.captions
    drop_cut_line(file)
    known = read_captions(file) if file.is_file() else {}
    if job.captions is None:
        return known
    begun = {key for _, part in parts if job.keys(part)[0] not in record for key in job.keys(part)}
    kept = {key: text for key, text in known.items() if key not in begun}
    if len(kept) < len(known):
        write_captions(file, kept)
    return kept


def given_captions(job: Job) -> dict[str, str] | None:
    """What the user's file says of each image; None without a file, SettingsError where it has gaps (R3)."""
    if job.captions is None:
        return None
    keys = job.keys(range(len(job.source)))
    names = [job.names[label] for label in job.source.labels.tolist()]
    texts = captions_of(keys, read_captions(job.captions), job.settings.caption_fallback, names)
    return dict(zip(keys, texts, strict=True))


def captions_by_class(job: Job, *, needed: bool) -> Callable[[int], list[str]]:
    """The captions of the images of a class; none where they aren't needed."""
    if not needed:
        return lambda label: []
    if not job.files.captions.is_file():
        raise FileError(
            f"{job.files.captions} is not there", "Give --captions FILE, or --captioner blip, llava or template."
        )
    known = read_captions(job.files.captions)
    everything = job.keys(range(len(job.source)))
    names = [job.names[label] for label in job.source.labels.tolist()]
    texts = captions_of(everything, known, job.settings.caption_fallback, names)  # refuses where some are missing (R3)
    told = dict(zip(everything, texts, strict=True))
    return lambda label: [told[key] for key in job.keys(job.images(label))]


def _parts(job: Job) -> list[tuple[int, list[int]]]:
    """(class, some of its images) of all images."""
    return [
        (label, job.images(label)[start : start + _AT_ONCE])
        for label in range(len(job.folders))
        for start in range(0, len(job.images(label)), _AT_ONCE)
    ]


def _open_captioner(job: Job, record: Record) -> Captioner:
    captioner = open_captioner(
        job.settings.captioner,
        model=job.settings.captioner_model,
        topic="appearance" if job.settings.method == "vlcp" else "scene",
        device=job.means.device,
        allow_download=job.means.allow_download,
        allow_offload=job.means.allow_offload,
    )
    record.refuse_other_settings({"captioner_fingerprint": captioner.fingerprint})
    return captioner

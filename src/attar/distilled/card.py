"""The README.md inside a distilled set: a dataset card that hubs and people read."""

from __future__ import annotations

import json

from attar.distilled.manifest import Manifest

# Names under which the hub files licences, as far as data and backbones come with them.
_LICENCES = {
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc-by-2.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "mit",
}
_SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6}


def card(manifest: Manifest, *, real: bool = False) -> str:
    """Markdown with a YAML head that points loaders at images/ alone; `real` images were chosen, not made."""
    plural = "s" if manifest.ipc > 1 else ""
    kind = f"real image{plural} a class, chosen among" if real else f"synthetic image{plural} a class, distilled from"
    people = "These are photos" if real else "Synthetic images may still resemble people in the training photos"
    backbones = ", ".join(f"{_code(origin.name)} (licence: {_cell(origin.licence)})" for origin in manifest.backbones)
    from_images = f"{manifest.train_images:,} images" if manifest.train_images else "images that aren't known"
    settings = "\n".join(f"| {_cell(k)} | {_cell(v)} |" for k, v in manifest.settings.items())
    classes = "\n".join(
        f"| {label} | {_cell(name)} | {_cell(title)} |"
        for label, (name, title) in enumerate(zip(manifest.classes, manifest.titles, strict=True))
    )
    return f"""---
pretty_name: {json.dumps(f"{_line(manifest.data.name)}, distilled by attar", ensure_ascii=False)}
license: {_licence(manifest)}
size_categories:
- {_size(len(manifest.classes) * manifest.ipc)}
task_categories:
- image-classification
tags:
- dataset-distillation
- attar
configs:
- config_name: default
  data_files:
  - split: train
    path: images/**
---

# {_cell(manifest.data.name)}, distilled

![every class](preview.png)

{len(manifest.classes)} classes, {manifest.ipc} {kind}
{from_images} with the method {_code(manifest.method)} on {backbones}.

The images are PNG files of {manifest.image_side} x {manifest.image_side} pixels in one folder a class;
`images/metadata.csv` holds label, title and weight of each, `attar.json` the class order, all settings and the SHA-256
of every file.

## Load it

    attar.load("hf:OWNER/NAME")                          # from the hub, by the name of this page; or "FOLDER"
    torchvision.datasets.ImageFolder("FOLDER/images")    # labels are the sorted folders
    datasets.load_dataset("OWNER/NAME")                  # columns image, label, title, weight; or "FOLDER"

## Licence and people

A distilled set is derived from its training images and its backbone; the licences of both apply (backbone: above;
data: {_cell(manifest.data.name)}, licence {_cell(manifest.data.licence)}). {people}:
treat the set with the care that the photos ask for.

## Settings

| setting | value |
|---|---|
{settings}

## Classes

| label | name | title |
|---|---|---|
{classes}
"""


def _licence(manifest: Manifest) -> str:
    """What the hub files the set under: one of its own names where data and backbones agree on it."""
    named = {"-".join(origin.licence.lower().split()) for origin in (manifest.data, *manifest.backbones)}
    if len(named) == 1 and named <= {*_LICENCES, "unknown"}:
        return named.pop()
    return "unknown" if manifest.data.licence == "unknown" else 'other\nlicense_name: "see the card"'


def _size(images: int) -> str:
    """The hub's word for so many images."""
    return next((name for name, below in _SIZES.items() if images < below), "1M<n<10M")


def _line(value: object) -> str:
    """Text of one line that YAML and Markdown can hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def _code(value: object) -> str:
    """A name as code, where nothing but a backtick is markup."""
    text = _line(value).replace("`", "'")
    return f"`{text}`"


def _cell(value: object) -> str:
    """Text that stays inside one Markdown cell and can't become markup: names of folders are untrusted."""
    text = _line(value)
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, "\\" + mark) if mark != "<" else text.replace("<", "&lt;")
    return text

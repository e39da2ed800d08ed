"""The README.md inside a distilled set: a dataset card that hubs and people read."""

from __future__ import annotations

import json

from attar.distilled.manifest import Manifest


def card(manifest: Manifest, *, real: bool = False) -> str:
    """Markdown with a YAML head that points loaders at images/ alone; `real` images were chosen, not made."""
    plural = "s" if manifest.ipc > 1 else ""
    kind = f"real image{plural} a class, chosen among" if real else f"synthetic image{plural} a class, distilled from"
    people = "These are photos" if real else "Synthetic images may still resemble people in the training photos"
    backbones = ", ".join(f"`{origin.name}` (licence: {origin.licence})" for origin in manifest.backbones)
    settings = "\n".join(f"| {_cell(k)} | {_cell(v)} |" for k, v in manifest.settings.items())
    classes = "\n".join(
        f"| {label} | {_cell(name)} | {_cell(title)} |"
        for label, (name, title) in enumerate(zip(manifest.classes, manifest.titles, strict=True))
    )
    return f"""---
pretty_name: {json.dumps(f"{manifest.data.name}, distilled by attar")}
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
{manifest.train_images:,} images with the method `{manifest.method}` on {backbones}.

The images are PNG files of {manifest.image_side} x {manifest.image_side} pixels in one folder a class, which
`torchvision.datasets.ImageFolder("images")` and `datasets.load_dataset("imagefolder", data_dir="images")` read as they
are. `attar.json` holds the class order, all settings and the SHA-256 of every file.

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


def _cell(value: object) -> str:
    """Text that stays inside one Markdown cell and can't become markup: names of folders are untrusted."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, "\\" + mark) if mark != "<" else text.replace("<", "&lt;")
    return text

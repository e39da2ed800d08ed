"""What a notebook shows of a distilled set: its images by class, and what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attar.errors import AttarError
from attar.html import block, facts, figure, figures, note, thumbnail

if TYPE_CHECKING:
    from attar.distilled.artefact import DistilledSet

_MOST = 50  # images in one output cell
_FEW, _LARGE, _SMALL = 20, 80, 64  # pixels of a picture's side, which bound the bytes: under 300 kB for pure noise


def set_html(distilled: DistilledSet) -> str:
    """HTML of the set; a sentence in place of images that can't be read."""
    manifest = distilled.manifest
    try:
        said, pictures = _said(distilled), _pictures(distilled)
    except (AttarError, OSError) as error:
        said, pictures = f"{manifest.method}, {len(manifest.classes)} classes.", note(str(error))
    about = {
        "backbones": ", ".join(each.name for each in manifest.backbones),
        "data": f"{manifest.data.name}, {manifest.train_images:,} images",
        "made": f"{manifest.created} by attar {manifest.attar_version}",
        "seeds": ", ".join(f"{name} {seed}" for name, seed in manifest.seeds.items()),
    }
    return block(str(distilled.path), note(said), pictures, facts("How it was made", {**about, **manifest.settings}))


def _said(distilled: DistilledSet) -> str:
    manifest = distilled.manifest
    each = "image" if manifest.ipc == 1 else "images"
    size = f"{manifest.image_side} x {manifest.image_side} pixels"
    number = f"{len(manifest.classes)} classes, {manifest.ipc} {each} a class"
    return f"{manifest.method}: {number}, {size}, {distilled.bytes:,} bytes."


def _pictures(distilled: DistilledSet) -> str:
    """The first images of the first classes, as many of each, and how many more there are."""
    labels, titles = distilled.labels, distilled.titles
    a_class = max(1, _MOST // len(titles))
    chosen = [np.flatnonzero(labels == label)[:a_class].tolist() for label in range(min(len(titles), _MOST))]
    shown = sum(map(len, chosen))
    side = _LARGE if shown <= _FEW else _SMALL
    grid = figures(
        [
            figure(title, [thumbnail(distilled.image(index), side, title) for index in indices])
            for title, indices in zip(titles, chosen, strict=False)
            if indices
        ]
    )
    more = len(distilled) - shown
    return grid + (note(f"{shown} images are shown; there are {more:,} more.") if more else "")

"""The artefact: a distilled set as a folder of PNG files with a manifest, a card and a preview."""

from attar.distilled.artefact import (
    DistilledSet,
    add_heads,
    check_place,
    csv_text,
    encode_png,
    load,
    open_manifest,
    png_bytes,
    write,
)
from attar.distilled.heads import Head
from attar.distilled.manifest import Manifest, Origin
from attar.distilled.preview import preview

__all__ = [
    "DistilledSet",
    "Head",
    "Manifest",
    "Origin",
    "add_heads",
    "check_place",
    "csv_text",
    "encode_png",
    "load",
    "open_manifest",
    "png_bytes",
    "preview",
    "write",
]

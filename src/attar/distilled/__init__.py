"""The artefact: a distilled set as a folder of PNG files with a manifest, a card and a preview."""

from attar.distilled.artefact import DistilledSet, check_place, encode_png, load, open_manifest, png_bytes, write
from attar.distilled.manifest import Manifest, Origin
from attar.distilled.preview import preview

__all__ = [
    "DistilledSet",
    "Manifest",
    "Origin",
    "check_place",
    "encode_png",
    "load",
    "open_manifest",
    "png_bytes",
    "preview",
    "write",
]

"""attar.json: what a distilled set is, how it was made, and the hash of every file."""

from __future__ import annotations

import json
import re

from pydantic import BaseModel, ConfigDict, model_validator

from attar.files import digest

SCHEMA = 1
IMPORTED = "imported"
"""The method of an imported set of which nobody said what made it."""
_OF_PHOTOS = {
    *("centroids", "herding", "jpeg", "kcenter", "kmeans", "neighbours", "random", "rded"),
    IMPORTED,  # which may be photos
    "images",  # what attar refine calls images that are no distilled set
}
MADE_ELSEWHERE = (
    *("cafe", "cda", "clp", "clp-dd", "d4m", "datm", "dc", "diver", "dm", "dsa", "edc", "edits", "frepo", "g-vbsm"),
    *("idc", "idm", "kip", "lgm", "minimax", "mtt", "ncfm", "scdd", "sfm", "sre2l", "tesla", "vlcp"),
)
"""Methods of other codes, under which sets are imported, that make images and choose none."""


class Origin(BaseModel):
    """Where something came from: a name for people, a fingerprint for machines."""

    model_config = ConfigDict(frozen=True)

    name: str
    fingerprint: str
    licence: str = "unknown"
    architecture: str = ""
    """Of a network that attar squeezed, or that an imported set was distilled on: what it is called as a student."""

    def is_of(self, architecture: str) -> bool:
        """Whether it is a network of that architecture, by the names that students have."""
        return architecture in (self.architecture, self.name.removeprefix("timm:"))


class Manifest(BaseModel):
    """The record beside the images. `classes` and `titles` are in label order; `folders[i]` holds class i."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA
    attar_version: str
    created: str
    method: str
    classes: list[str]
    titles: list[str]
    folders: list[str]
    ipc: int
    image_side: int
    settings: dict[str, str | int | float | bool | list[float] | None]
    seeds: dict[str, int]
    backbones: list[Origin]
    data: Origin
    train_images: int
    scores: dict[str, float]
    files: dict[str, str]
    began_from_photos: bool = False
    """Whether images were made from single photos by a method that keeps what these look like."""
    checksum: str = ""
    """SHA-256 of all the others, see `sealed`; empty in sets that were never sealed."""

    @model_validator(mode="after")
    def _titles_fit(self) -> Manifest:
        if len(self.titles) != len(self.classes):
            raise ValueError(f"{len(self.titles)} titles for {len(self.classes)} classes")
        return self

    @property
    def of_photos(self) -> bool:
        """Whether images are photos, or may be, by the method and by what was refined ("refined" of its settings).

        Of an imported set, which knows no training images, only methods that are known to make images are believed.
        """
        made_by = str(self.settings.get("refined", self.method)).lower()
        chosen = not _OF_PHOTOS.isdisjoint(re.split(r"[^a-z]+", f"{self.method.lower()} {made_by}"))
        unknown = not self.train_images and made_by not in MADE_ELSEWHERE
        return self.began_from_photos or chosen or unknown


def sealed(manifest: Manifest) -> str:
    """The text of attar.json, with the checksum of everything in it."""
    record = json.loads(manifest.model_dump_json(exclude={"checksum"}))
    return json.dumps(record | {"checksum": _checksum(record)}, indent=1)


def is_intact(text: str | bytes) -> bool:
    """Whether an attar.json says what it said when it was sealed, fields of later versions included."""
    record = json.loads(text)
    checksum = record.pop("checksum", "")
    return checksum in ("", _checksum(record))


def _checksum(record: dict[str, object]) -> str:
    return digest(json.dumps(record, sort_keys=True))

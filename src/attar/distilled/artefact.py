"""A distilled set on disk: a folder of PNG files that other tools read as it is (write, read, verify)."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8, UInt64
from PIL import Image
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as safetensors_bytes

from attar.distilled.card import card
from attar.distilled.heads import Head, check_head, read_head, write_heads
from attar.distilled.manifest import SCHEMA, Manifest, is_intact, sealed
from attar.distilled.notebook import set_html
from attar.distilled.preview import preview
from attar.errors import ArtefactError, ImageError
from attar.files import (
    digest,
    make_folder,
    replace_folder,
    safe_names,
    sha256,
    sweep,
    temporary_folder,
    write_bytes,
    write_text,
)
from attar.images.arrays import ArraySource
from attar.images.decode import decode
from attar.images.source import ImageSource
from attar.run import Run

_LISTED = 10
ON_THE_HUB = "hf:"
_PARTS = {
    "images/metadata.csv": "table",
    "preview.png": "preview",
    "README.md": "card",
    "attar.json": "configuration",
}


@dataclass(frozen=True, eq=False)
class DistilledSet:
    """A distilled set that lies at `path`; its images are read from the PNG files."""

    path: Path
    manifest: Manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(self.manifest.classes)

    @property
    def titles(self) -> tuple[str, ...]:
        """What people read, in label order."""
        return tuple(self.manifest.titles)

    @cached_property
    def _table(self) -> list[dict[str, str]]:
        path = self.path / "images" / "metadata.csv"
        try:
            with path.open(newline="", encoding="utf-8") as file:
                table = list(csv.DictReader(file))
            for row in table:
                self._check_row(row)
            images = [name for name in self.manifest.files if name.startswith("images/") and name.endswith(".png")]
            if len(table) != len(images) or not table:
                raise ValueError(f"it lists {len(table)} of {len(images)} images")
        except (OSError, KeyError, ValueError, TypeError, IndexError, csv.Error) as error:
            raise ArtefactError(f"can't read {path}: {error}", "Restore the folder or distil again.") from error
        return table

    def _check_row(self, row: dict[str, str]) -> None:
        label, weight = int(row["label"]), float(row["weight"])
        if None in row.values() or row["file_name"] == "":
            raise ValueError("a line of it is cut")
        if not 0 <= label < len(self.classes):
            raise ValueError(f"there is no class {label}")
        if not 0 <= weight < math.inf:
            raise ValueError(f"{weight} is no weight")

    @cached_property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Class index of each image."""
        return np.array([int(row["label"]) for row in self._table], dtype=np.int64)

    @cached_property
    def weights(self) -> Float[np.ndarray, " n"]:
        """How much each image counts in training; 1 unless the method says otherwise."""
        return np.array([float(row["weight"]) for row in self._table])

    @property
    def file_names(self) -> tuple[str, ...]:
        """The PNG file of each image, inside images/."""
        return tuple(row["file_name"] for row in self._table)

    @property
    def sources(self) -> tuple[str, ...]:
        """The real image that each image is, or was cut from, as its data set names it; "" where there is none."""
        return tuple(row.get("source") or "" for row in self._table)

    @property
    def of_photos(self) -> bool:
        """Whether images are photos, pieces of them, or were made from single ones, as far as attar knows."""
        return self.manifest.of_photos or any(self.sources)

    @cached_property
    def images(self) -> UInt8[np.ndarray, "n 3 side side"]:
        """The decoded PNG files, in the order of `labels`."""
        return np.stack([self.image(index) for index in range(len(self))])

    def image(self, index: int) -> UInt8[np.ndarray, "3 side side"]:
        """One of `images`, without decoding the others."""
        return self._decode(inside(self.path / "images", self._table[index]["file_name"]))

    def _decode(self, path: Path) -> UInt8[np.ndarray, "3 side side"]:
        try:
            image = decode(path)
        except ImageError as error:
            raise ArtefactError(f"can't read {path}: {error.message}", "Restore it or distil again.") from error
        side = self.manifest.image_side
        if image.shape != (3, side, side):
            raise ArtefactError(f"{path} is not {side} x {side} pixels.", "Restore it or distil again.")
        return image

    @cached_property
    def train_hashes(self) -> UInt64[np.ndarray, " known"]:
        """First 8 bytes of the SHA-256 of the training images' pixels, sorted; empty where the set keeps none."""
        file = self.path / "provenance" / "train.safetensors"
        if not file.is_file():
            return np.empty(0, dtype=np.uint64)
        try:
            known = load_file(file)["sha256"]
            if known.dtype != np.uint64 or known.ndim != 1:
                raise ValueError(f"{known.dtype} of shape {known.shape} are no hashes")
        except (SafetensorError, OSError, LookupError, ValueError) as error:
            raise ArtefactError(f"can't read {file}: {error}", "Restore it or distil again.") from error
        return known

    @cached_property
    def source(self) -> ImageSource:
        """The images as an ImageSource, classes in label order."""
        return ArraySource(self.images, self.labels, self.classes)

    @property
    def content(self) -> str:
        """A fingerprint of the images and labels, wherever they lie and whenever they were made."""
        files = self.manifest.files.items()
        return digest(sorted((name, sha256) for name, sha256 in files if name.startswith("images/")))[:16]

    @property
    def bytes(self) -> int:
        """Bytes that must be kept to train on the set: images and their labels and weights."""
        return sum(path.stat().st_size for path in (self.path / "images").rglob("*") if path.is_file())

    @property
    def parts(self) -> dict[str, int]:
        """Bytes on the disk of each part: images, table, heads, provenance, preview, card and configuration."""
        sizes = dict.fromkeys(("images", "table", "heads", "provenance", "preview", "card", "configuration"), 0)
        for name in (*self.manifest.files, "attar.json"):
            part = _PARTS.get(name, name.partition("/")[0])
            sizes[part] = sizes.get(part, 0) + inside(self.path, name).stat().st_size
        return sizes

    @property
    def raw_bytes(self) -> int:
        """Bytes that the images take as bare pixels."""
        return len(self) * 3 * self.manifest.image_side**2

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """Classifiers that the set carries, in the order of their files; ArtefactError where one is damaged."""
        names = sorted(name for name in self.manifest.files if name.startswith("heads/"))
        return tuple(read_head(inside(self.path, name), len(self.classes)) for name in names)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int):
        """(float tensor [3, side, side] in 0..1, label): the set is a torch map-style dataset."""
        import torch

        return torch.from_numpy(self.images[index]).float() / 255, int(self.labels[index])

    def __repr__(self) -> str:
        """One line: the record behind it is pages long."""
        about = self.manifest
        kind = f"{about.ipc} x {len(about.classes)} images of {about.image_side} px by {about.method}"
        return f"<DistilledSet {self.path}: {kind}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return set_html(self)

    def verify(self) -> None:
        """Compare every file with attar.json; ArtefactError lists what was altered, is missing, or was added to images.

        Hidden files beside the images, which systems leave behind and loaders pass over, don't count as added.
        """
        there = {name: inside(self.path, name) for name in self.manifest.files}
        missing = [name for name, path in there.items() if not path.is_file()]
        altered = [] if is_intact((self.path / "attar.json").read_bytes()) else ["attar.json"]
        altered += [
            name for name, path in there.items() if path.is_file() and sha256(path) != self.manifest.files[name]
        ]
        added = sorted(_visible_files(self.path, "images") - there.keys())
        faults = {"altered": altered, "missing": missing, "added": added}
        if any(faults.values()):
            told = "; ".join(f"{fault}: {_some(names)}" for fault, names in faults.items() if names)
            raise ArtefactError(
                f"{self.path} is not as it was written ({told}).", "Restore the folder or distil again."
            )


def load(path: str | Path) -> DistilledSet:
    """Open the distilled set at `path`, a folder or "hf:OWNER/NAME" on the Hugging Face hub, see `attar.push`.

    "hf:OWNER/NAME@REVISION" pins a commit, tag or branch. A set that was fetched is opened from this machine from then
    on, whatever the hub has; its `path` names the commit, and "@main" asks for the newest. ArtefactError where there
    is no set, a file is missing, or a set can't be fetched.
    """
    found = open_manifest(path)
    missing = [name for name in found.manifest.files if not inside(found.path, name).is_file()]
    if missing:
        raise ArtefactError(f"{path} lacks {_some(missing)}.", "Restore the folder or distil again.")
    return found


def open_manifest(path: str | Path) -> DistilledSet:
    """The distilled set at `path`, its files unseen, for `verify`; ArtefactError where attar.json is unfit."""
    path = _here(path)
    file = path / "attar.json"
    if not file.is_file():
        if Run.beside(path).started:
            raise ArtefactError(f"{path} isn't finished", "give the distill command again: it continues")
        raise _no_set(path)
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise ArtefactError(f"can't read {file}: {place}: {first['msg']}", "Distil again.") from error
    if manifest.schema_version > SCHEMA:
        raise ArtefactError(f"{file} was written by a newer attar.", "Upgrade with `pip install -U attar`.")
    return DistilledSet(path, manifest)


def _no_set(path: Path) -> ArtefactError:
    """Says that there is no set at `path`, and what else was meant, as far as it shows."""
    beside = path.parent / path.name.removesuffix(".run")  # "." has no name
    meant = next((one for one in (path.parent, beside) if (one / "attar.json").is_file()), None)
    reason = "it has no attar.json" if path.exists() else "there is no such folder"
    hint = "Give the folder named by --out."
    if meant is not None:
        hint = f"Give the set itself: {meant}."
    elif "huggingface.co" in path.parts:
        reason, hint = "it is an address", f"Write hf:{'/'.join(path.parts[-2:])} for a set on the hub."
    elif len(path.parts) == 2 and not path.is_absolute() and not path.parent.exists():
        hint = f"A set on the hub is hf:{path.as_posix()}."
    return ArtefactError(f"{path} is not a distilled set: {reason}.", hint)


def _here(path: str | Path) -> Path:
    """The folder that `path` means: itself, or of "hf:OWNER/NAME" the copy on this machine, fetched where it isn't."""
    if not str(path).startswith(ON_THE_HUB):
        return Path(path)
    from attar.distilled.hub import fetch  # which is built on this module

    return fetch(str(path))


def check_place(path: Path) -> None:
    """ArtefactError where `path` holds something else than a distilled set, which is never replaced."""
    if path.exists() and not (path / "attar.json").is_file() and (not path.is_dir() or any(path.iterdir())):
        raise ArtefactError(f"{path} exists and is not a distilled set.", "Choose another --out.")


def write(
    path: Path,
    images: UInt8[np.ndarray, "n 3 side side"],
    labels: Int[np.ndarray, " n"],
    *,
    manifest: Manifest,
    weights: Sequence[float] | None = None,
    sources: Sequence[str] | None = None,
    train_hashes: Sequence[bytes] = (),
) -> DistilledSet:
    """Write a distilled set to `path`, which appears only when it is complete.

    `manifest.folders` and `manifest.files` are filled in here. `sources` are ids of real images, where images are
    real; `train_hashes` the SHA-256 of the training images' pixels, kept (first 8 bytes) for the leak check. An older
    distilled set at `path` is replaced; anything else there is refused.
    """
    check_place(path)
    folders = safe_names(tuple(manifest.classes))
    temporary = temporary_folder(path)
    sweep(path.parent, path.name)
    try:
        _write_images(temporary / "images", images, labels, folders, manifest, weights, sources)
        write_bytes(temporary / "preview.png", encode_png(preview(images, labels.tolist(), manifest.titles)))
        if train_hashes:
            known = np.sort(np.array([int.from_bytes(value[:8], "big") for value in train_hashes], dtype=np.uint64))
            write_bytes(temporary / "provenance" / "train.safetensors", safetensors_bytes({"sha256": known}))
        write_text(temporary / "README.md", card(manifest, real=any(sources or ())))
        written = sorted(file for file in temporary.rglob("*") if file.is_file())
        files = {file.relative_to(temporary).as_posix(): sha256(file) for file in written}
        complete = manifest.model_copy(update={"folders": list(folders), "files": files})
        write_text(temporary / "attar.json", sealed(complete))
        replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load(path)


def add_heads(distilled: DistilledSet, heads: Sequence[Head]) -> DistilledSet:
    """Put `heads` into a set, in place of those it has for the same backbone and protocol.

    Damaged heads go. The folder is replaced as a whole, with whatever else lies in it: a kill leaves the set as it was.
    ArtefactError where the set is not as it was written, or a head isn't of its classes.
    """
    for head in heads:
        check_head(head, len(distilled.classes))
    kept = {name: value for name, value in distilled.manifest.files.items() if not name.startswith("heads/")}
    replace(distilled, manifest=distilled.manifest.model_copy(update={"files": kept})).verify()
    path = distilled.path
    replaced = {head.place for head in heads}
    together = [head for head in _sound_heads(distilled) if head.place not in replaced] + list(heads)
    temporary = temporary_folder(path)
    sweep(path.parent, path.name)
    try:
        _copy_but_heads(path, temporary)
        written = write_heads(temporary / "heads", together)
        added = {f"heads/{file.name}": sha256(file) for file in written}
        write_text(temporary / "attar.json", sealed(distilled.manifest.model_copy(update={"files": kept | added})))
        replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load(path)


def _copy_but_heads(path: Path, copy: Path) -> None:
    """All that lies in a set, what its owner put there included, but for its heads and its record."""
    for file in path.rglob("*"):
        name = file.relative_to(path)
        if name.parts[0] in ("heads", "attar.json"):
            continue
        if file.is_symlink():
            make_folder((copy / name).parent)
            (copy / name).symlink_to(file.readlink())
        elif file.is_file():
            write_bytes(copy / name, file.read_bytes())


def _sound_heads(distilled: DistilledSet) -> list[Head]:
    """The heads of a set that can be read."""
    found = []
    for name in sorted(name for name in distilled.manifest.files if name.startswith("heads/")):
        with contextlib.suppress(ArtefactError):
            found.append(read_head(inside(distilled.path, name), len(distilled.classes)))
    return found


def _write_images(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    folders: Sequence[str],
    manifest: Manifest,
    weights: Sequence[float] | None,
    sources: Sequence[str] | None,
) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file_name", "label", "title", "weight", "source"])
    counts = [0] * len(folders)
    for index, label in enumerate(labels.tolist()):
        name = f"{folders[label]}/{folders[label]}-{counts[label]}.png"
        counts[label] += 1
        write_bytes(folder / name, png_bytes(images[index]))
        weight = 1.0 if weights is None else float(weights[index])
        source = "" if sources is None else sources[index]
        writer.writerow([name, label, csv_text(manifest.titles[label]), repr(weight), csv_text(source)])
    write_text(folder / "metadata.csv", table.getvalue())


def csv_text(text: str) -> str:
    """Spreadsheets run cells that begin with = + - @, a tab or a carriage return: put an apostrophe before them."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text


def png_bytes(image: UInt8[np.ndarray, "3 h w"]) -> bytes:
    """The PNG file that a set holds for an image."""
    return encode_png(Image.fromarray(image.transpose(1, 2, 0)))


def encode_png(image: Image.Image) -> bytes:
    """A PNG file, packed as small as Pillow can."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _visible_files(folder: Path, part: str) -> set[str]:
    """What lies under `folder / part`, links to folders included, which loaders follow: paths inside `folder`."""
    found = (path.relative_to(folder) for path in (folder / part).rglob("*") if path.is_file() or path.is_symlink())
    return {path.as_posix() for path in found if not any(name.startswith(".") for name in path.parts)}


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, refused where the name leads out of the folder, or can't be a name at all."""
    path = folder / name
    try:
        path.is_file()  # raises where the name is too long
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # also links in a circle, NUL, undecodable letters
        raise ArtefactError(f"{folder} names an impossible file: {name[:60]!a}.", "Don't use this set.") from error
    if not inside:
        raise ArtefactError(f"{folder} names a file outside itself: {name!r}.", "Don't use this set.")
    return path

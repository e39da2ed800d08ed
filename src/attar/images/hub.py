"""Datasets of Hugging Face's `datasets`: saved to disk, in a folder as on the hub, or from the hub itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Int64

from attar.errors import ImageError, nearest
from attar.images.checks import as_labels, check_classes, named_labels, numbered
from attar.images.encoded import EncodedSource
from attar.images.memo import Key, member_key

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

PREFIX = "hf:"
_LARGEST_DOWNLOAD = 10**9  # bytes
_COLUMNS = "It needs one column of type Image, and one of type ClassLabel or named label."


@final
class HubSource(EncodedSource):
    """One split of a dataset: "hf:PATH_OR_NAME" (its split train) or "hf:PATH_OR_NAME:SPLIT".

    The image column is the one of type Image, the label column the one of type ClassLabel, else "label" (strings:
    classes sorted as strings; integers: "0", "1", ...); of several the one named image or label. Encoded images go
    through attar's decoder; loading scripts are never run.

    Raises ImageError without the extra `hf`, where the hub can't be reached, for another split or other columns, and
    for downloads of over 1 GB, or of unknown size, without `allow_download`.
    """

    def __init__(self, spec: str, allow_download: bool = False):
        dataset, folder = _dataset(spec, allow_download)
        features = dataset.features
        column = _only(features, "Image", "image", spec)
        if column is None:
            raise ImageError(f"{spec} has no images: its columns are {', '.join(features)}", _COLUMNS)
        classes, labels = _classes(dataset, spec)
        super().__init__(classes, classes, labels, spec)
        self._images, self._column = _encoded(dataset, column), column
        self._folders = [*_caches(), *([folder] if folder else [])]
        self._store = _store(dataset)

    def name(self, index: int) -> str:
        """Class and position, e.g. "cat/00412"."""
        return f"{self.classes[self.labels[index]]}/{index:05d}"

    def _file(self, index: int) -> Path | bytes:
        image = self._images[index][self._column]
        if image is None:
            raise ImageError("the dataset holds nothing for it")
        if image["bytes"] is not None:
            return image["bytes"]
        # A dataset from elsewhere could name any image on this machine.
        path = Path(image["path"] or "").resolve()
        if not any(path.is_relative_to(folder.resolve()) for folder in self._folders):
            raise ImageError("the dataset holds a path that leads out of its folder", "Embed the images.")
        return path

    def _key(self, index: int) -> Key | None:
        if self._store is None:
            return None
        file, mtime_ns, size = self._store
        return member_key(file, mtime_ns, index, size)


def _dataset(spec: str, allow_download: bool) -> tuple[Dataset, Path | None]:
    """The split, and the local folder where it is from one."""
    try:
        import datasets
    except ImportError as error:
        raise ImageError(
            f"{spec} needs the package datasets, which isn't installed", 'Try pip install "attar[hf]".'
        ) from error
    name, split = _parsed(spec)
    try:
        if (Path(name) / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(name)
            wanted = split or "train"
            if wanted not in found:
                raise ImageError(f"{name} has no split {wanted}", nearest(wanted, list(found)))
            return found[wanted], Path(name)
        if (Path(name) / "state.json").is_file():
            if split is not None:
                raise ImageError(f"{name} holds one dataset without splits", f"Give {PREFIX}{name}.")
            return datasets.load_from_disk(name), Path(name)
        # Up to version 3, `datasets` runs a dataset's own script where an environment variable says so.
        scripts = {"trust_remote_code": False} if int(datasets.__version__.split(".")[0]) < 4 else {}
        builder = datasets.load_dataset_builder(name, **scripts)
        if not (allow_download or Path(name).is_dir() or _is_prepared(builder)):
            _refuse_large(builder, name)
        builder.download_and_prepare()
        return builder.as_dataset(split=split or "train"), Path(name) if Path(name).is_dir() else None
    except ImageError:
        raise
    except Exception as error:  # of many libraries: datasets, huggingface_hub, its HTTP client, pyarrow, fsspec
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ImageError(
            f"can't open {spec}: {reason}", "Give hf:FOLDER or hf:NAME, and :SPLIT if not train."
        ) from error


def _parsed(spec: str) -> tuple[str, str | None]:
    """Folder or name, and the split where one is given."""
    name = spec.removeprefix(PREFIX)
    split = re.fullmatch(r"(.+):(\w[\w.-]*)", name, re.ASCII)
    if Path(name).exists() or split is None:
        return name, None
    return split[1], split[2]


def _is_prepared(builder: DatasetBuilder) -> bool:
    return (Path(builder.cache_dir) / "dataset_info.json").is_file()


def _refuse_large(builder: DatasetBuilder, name: str) -> None:
    size = builder.info.download_size
    if size is None or size > _LARGEST_DOWNLOAD:
        amount = "an unknown number of bytes" if size is None else f"{size / 1e9:.1f} GB"
        raise ImageError(f"{name} is a download of {amount}", "Allow it with --allow-download (allow_download=True).")


def _only(features: Any, kind: str, preferred: str, spec: str) -> str | None:
    """The column whose type is called `kind`; of several the preferred one; None where there is none."""
    found = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if len(found) > 1 and preferred not in found:
        raise ImageError(f"{spec} has several columns of type {kind}: {', '.join(found)}", _COLUMNS)
    return preferred if preferred in found else next(iter(found), None)


def _classes(dataset: Dataset, spec: str) -> tuple[tuple[str, ...], Int64[np.ndarray, " images"]]:
    column = _only(dataset.features, "ClassLabel", "label", spec)
    if column is None and "label" not in dataset.features:
        raise ImageError(f"{spec} has no labels: its columns are {', '.join(dataset.features)}", _COLUMNS)
    values: Sequence[Any] = dataset.with_format(None).select_columns([column or "label"])[:][column or "label"]
    if any(value is None for value in values):
        raise ImageError(f"{sum(value is None for value in values)} images in {spec} have no label", "Remove them.")
    if column is None and all(isinstance(value, str) for value in values):
        return named_labels(values, spec)
    labels = as_labels(values, len(dataset), spec)
    classes = numbered(labels, spec) if column is None else tuple(dataset.features[column].names)
    check_classes(labels, classes, spec)
    return classes, labels


def _encoded(dataset: Dataset, column: str) -> Dataset:
    """The images alone, as they are in the files."""
    import datasets

    return dataset.with_format(None).select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _caches() -> list[Path]:
    """Where `datasets` and `huggingface_hub` keep what they downloaded."""
    import datasets
    import huggingface_hub

    return [Path(datasets.config.HF_CACHE_HOME), Path(huggingface_hub.constants.HF_HUB_CACHE)]


def _store(dataset: Dataset) -> tuple[Path, int, int] | None:
    """First Arrow file, latest time of change and size of all of them; None for a dataset in memory."""
    files = [Path(entry["filename"]) for entry in dataset.cache_files]
    states = [file.stat() for file in files]
    if not states:
        return None
    return files[0], max(state.st_mtime_ns for state in states), sum(state.st_size for state in states)

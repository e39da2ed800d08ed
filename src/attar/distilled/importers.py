"""Distilled sets that others published, as sets of attar's: in pixels, named, and ready to be evaluated or refined."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from attar.backbones.architectures import make_classifier
from attar.distilled.artefact import DistilledSet, check_place, write
from attar.distilled.foreign import read_arrays
from attar.distilled.manifest import IMPORTED, Manifest, Origin
from attar.distilled.naming import called
from attar.errors import ArtefactError
from attar.images import open as open_images
from attar.images.checks import as_labels, check_classes, numbered

_TOLERANCE = 0.05  # diver.md 10, R4
_MOST_CLIPPED = 0.2  # of the numbers: of DC's published images it is a twelfth
_UNKNOWN = Origin(name="unknown", fingerprint="unknown")
_SHAPES = "Give square images of shape [n, 3, side, side] or [n, 1, side, side]; bytes also as [n, side, side, 3]."
_MEND = "Pass the mean and std they were saved with."
_BEYOND = (
    "Where these are right, --clip (clip=True) cuts off what the method left outside. "
    "Whitened (ZCA) images cannot be encoded by the VAE; undo the whitening first."
)

Three = tuple[float, float, float]


def import_set(
    path: str | Path,
    out: str | Path,
    *,
    mean: Three | None = None,
    std: Three | None = None,
    labels: str | Path | None = None,
    classes: Sequence[str] | Path | None = None,
    index: int = 0,
    clip: bool = False,
    method: str = IMPORTED,
    architecture: str = "",
    restart: bool = False,
) -> DistilledSet:
    """Write the distilled set at `path` as one of attar's at `out`; with `restart` a set that lies there is replaced.

    `path` is a folder with a subfolder of images a class (as of SRe2L's and RDED's codes), a .pt file of DC's, DSA's,
    DM's or MTT's code, LGM's data.pth, or images and labels in a .pt, .pth, .safetensors or .npz file: see
    `read_arrays`, also for `labels` and `index`.

    - `mean`, `std`: of each channel in 0..1, what images of floats were normalised with; None where they weren't.
    - `classes`: names in label order, or a file of them (one a line, or a JSON list), or ["imagenet-1k"] or another
      subset of ImageNet for its WordNet ids; a folder's own, or "0", "1", ..., where None. Folders that are called so
      are found by name. Folders that are numbered (new000, 00000) get the names in the order of their numbers, which
      begin at 0 or 1 without gaps; others are refused. `attar evaluate` finds the classes of test images by names.
    - `clip`: accept images that lie further outside of 0..1 than 0.05. Those of methods without bounds do, once the
      normalisation is undone: of DC's for CIFAR-10 every twelfth number. Where it is more than every fifth, mean or
      std must be wrong, and the images are refused all the same; the share is kept among the set's scores.
    - `method`: what made the set. `attar.push` takes a set for photos where that isn't said.
    - `architecture`: the network that it was distilled on, as students are called ("convnet3"), where known:
      evaluations tell students of that network apart.

    Images of floats are clipped to 0..1 and rounded to 8 bits. Raises ArtefactError where the file can't be read, a set
    lies at `out` already, or images aren't square or lie outside of 0..1, ImageError for labels and names that don't
    fit, and BackboneError where there is no network `architecture` for such images.

    >>> import attar
    >>> cifar = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
    >>> names = Path("names.txt")
    >>> attar.import_set("dc_10ipc.pt", "dc.attar", classes=names, clip=True, **cifar)  # doctest: +SKIP
    """
    path, out = Path(path), Path(out)
    _check(path, out, mean, std, restart)
    clipped = 0.0
    if path.is_dir():
        if not (mean is std is labels is None):
            raise ArtefactError(f"{path} is a folder of image files.", "Leave mean, std and labels out.")
        pixels, numbers, names = _folder(path)
    else:
        images, raw = read_arrays(path, None if labels is None else Path(labels), index)
        pixels, clipped = to_pixels(images, mean, std, clip)
        numbers = as_labels(raw, len(pixels), str(path))
        names = numbered(numbers, str(path))
    titles = names
    if classes is not None:
        numbers, names, titles = called(classes, numbers, names, path)
    check_classes(numbers, names, str(path))
    if architecture:
        make_classifier(architecture, len(names), side=pixels.shape[-1])  # refuses what there isn't
    manifest = Manifest(
        attar_version=version("attar"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method=method,
        classes=list(names),
        titles=list(titles),
        folders=[],
        ipc=len(numbers) // len(names),
        image_side=pixels.shape[-1],
        settings={
            "file": path.name,
            "mean": None if mean is None else list(mean),
            "std": None if std is None else list(std),
            "clip": clip,
        },
        seeds={"distill": index},  # what a code repeats, it repeats with other seeds
        backbones=[_UNKNOWN.model_copy(update={"architecture": architecture})],
        data=_UNKNOWN,
        train_images=0,
        scores={"clipped": round(clipped, 4)} if clipped else {},
        files={},
    )
    return write(out, pixels, numbers, manifest=manifest)


def _check(path: Path, out: Path, mean: Three | None, std: Three | None, restart: bool) -> None:
    """ArtefactError for what can be known to be wrong before anything is read."""
    check_place(out)
    if (out / "attar.json").is_file() and not restart:
        raise ArtefactError(f"{out} is a distilled set already.", "Use --restart to replace it, or another --out.")
    if (path / "attar.json").is_file():
        raise ArtefactError(f"{path} is a set of attar's already.", "Use it as it is.")
    if path.is_dir() and (pair := sorted(path.glob("images*.pt"))):
        raise ArtefactError(f"{path} holds images as tensors.", f"Give the file: {pair[-1]}.")
    if (mean is None) != (std is None):
        raise ArtefactError("mean and std belong together, and one of them is missing", _MEND)
    if max((*(mean or ()), *(std or ())), default=0) > 1:
        raise ArtefactError("mean and std are of images in 0..1, and these are above 1", "Divide them by 255.")


def _folder(path: Path) -> tuple[UInt8[np.ndarray, "n 3 side side"], Int[np.ndarray, " n"], tuple[str, ...]]:
    """(pixels, labels, class names) of a folder of class folders."""
    source = open_images(path)
    images = [image for _, image in source.read(range(len(source)))]
    odd = next((number for number, image in enumerate(images) if image.shape != (3, *images[0].shape[-1:] * 2)), None)
    if odd is not None:
        height, width = images[odd].shape[1:]
        message = f"{source.name(odd)} in {path} has {width} x {height} pixels"
        raise ArtefactError(message, "All images of a set are square and of one size: crop and resize them first.")
    return np.stack(images), source.labels, source.classes


def to_pixels(
    images: np.ndarray, mean: Three | None, std: Three | None, clip: bool = False
) -> tuple[UInt8[np.ndarray, "n 3 side side"], float]:
    """Images of any type as RGB bytes, `images * std + mean` clipped to 0..1 and rounded, and the share that was
    outside by over 0.05; bytes stay what they are.

    ArtefactError for other shapes, for what isn't finite, for an `std` that isn't above 0, without `clip` for numbers
    outside of 0..1 by over 0.05, and with it where these are more than a fifth.
    """
    if images.dtype == np.uint8:
        if not (mean is std is None):
            raise ArtefactError("images of bytes aren't normalised", "Leave mean and std out.")
        if images.ndim == 4 and images.shape[-1] == 3 != images.shape[1]:
            images = images.transpose(0, 3, 1, 2)
        return _coloured(images).copy(), 0.0
    if images.dtype.kind != "f":
        raise ArtefactError(f"images are of type {images.dtype}", "Give bytes, or floats with their mean and std.")
    if std is not None and not all(0 < each < np.inf for each in std):
        raise ArtefactError(f"the standard deviations {std} aren't all above 0", _MEND)
    values = _denormalised(_coloured(images), mean, std)
    if not np.isfinite(values).all():
        raise ArtefactError("some images hold numbers that aren't finite", "Fetch the file again.")
    low, high = float(values.min()), float(values.max())
    if not clip and not -_TOLERANCE <= low <= high <= 1 + _TOLERANCE:
        message = f"images must lie in [0, 1] after de-normalisation; found [{low:.3f}, {high:.3f}]"
        raise ArtefactError(message, _MEND if mean is None and std is None else f"{_MEND} {_BEYOND}")
    outside = float(np.mean((values < -_TOLERANCE) | (values > 1 + _TOLERANCE)))
    if outside > _MOST_CLIPPED:
        raise ArtefactError(f"{outside:.0%} of the numbers would be clipped: mean or std can't be right", _MEND)
    return (values.clip(0, 1) * 255).round().astype(np.uint8), outside


def _coloured(images: np.ndarray) -> np.ndarray:
    """Square images [n, 3, side, side]; grey ones show the same in all channels. ArtefactError for other shapes."""
    square = images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[2] == images.shape[3]
    if not square or 0 in images.shape:
        raise ArtefactError(f"images have the shape {images.shape}", _SHAPES)
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:]))


def _denormalised(
    images: Float[np.ndarray, "n 3 side side"], mean: Three | None, std: Three | None
) -> Float[np.ndarray, "n 3 side side"]:
    scale, shift = (np.array(values)[:, None, None] for values in (std or (1.0,) * 3, mean or (0.0,) * 3))
    return images.astype(np.float64) * scale + shift

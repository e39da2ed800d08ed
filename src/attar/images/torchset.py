"""Any map-style torch dataset of (image, label)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from attar.errors import ImageError
from attar.images.checks import as_labels, check_classes, numbered
from attar.images.decode import resize, to_pixels
from attar.images.facts import Fact
from attar.images.source import ImageSource, ahead

_ACCEPTED = (
    "Give a Pillow image, a uint8 tensor [3, h, w] or [1, h, w] (0..255), a float tensor of that shape in 0..1, "
    "or a uint8 array [h, w, 3] or [h, w]."
)


@final
class DatasetSource(ImageSource):
    """The images of a torch dataset with `__len__` and `__getitem__`, which gives (image, label).

    Labels are taken from its `targets` or `labels` where it has them, else from every item; class names from
    `classes`, the dataset's own `classes`, or "0", "1", .... Items must not change from one access to the next:
    leave out random augmentation. Items are asked for one at a time, since few datasets are safe to share by threads.
    """

    def __init__(self, dataset: Any, classes: Sequence[str] | None = None):
        self._dataset = dataset
        self._one_at_a_time = threading.Lock()
        location = type(dataset).__name__
        labels = as_labels(_labels(dataset), len(dataset), location)
        given = getattr(dataset, "classes", None) if classes is None else classes
        names = numbered(labels, location) if given is None else tuple(str(name) for name in given)
        check_classes(labels, names, location)
        super().__init__(names, names, labels, location)

    def name(self, index: int) -> str:
        """Class and position, e.g. "cat/00412"."""
        return f"{self.classes[self.labels[index]]}/{index:05d}"

    def _recall(self, indices: Sequence[int]) -> list[Fact | ImageError | None]:
        """Nothing is remembered from run to run; examining costs less than what the answer saves."""
        unknown = [index for index in indices if self._facts[index] is None]
        self._keep(dict(zip(unknown, ahead(self._examine, unknown), strict=True)))
        return super()._recall(indices)

    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        try:
            with self._one_at_a_time:
                image = self._dataset[index][0]
                if isinstance(image, Image.Image):
                    return to_pixels(image, shorter_side)
        except (OSError, SyntaxError) as error:
            raise ImageError(f"the dataset can't read it ({error})") from error
        return resize(_planes(image), shorter_side)


def _labels(dataset: Any) -> Any:
    for known in ("targets", "labels"):
        if hasattr(dataset, known):
            return getattr(dataset, known)
    return [int(dataset[index][1]) for index in range(len(dataset))]


def _planes(image: Any) -> np.ndarray:
    """A tensor or array as uint8 [3, h, w]."""
    import torch

    if isinstance(image, torch.Tensor):
        planes = _bytes_of(image.detach().cpu())
    elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    else:
        raise ImageError(f"its type is {getattr(image, 'dtype', type(image).__name__)}", _ACCEPTED)
    if planes.ndim != 3 or planes.shape[0] not in (1, 3):
        raise ImageError(f"its shape is {tuple(image.shape)}", _ACCEPTED)
    return np.ascontiguousarray(np.broadcast_to(planes, (3, *planes.shape[1:])))


def _bytes_of(image: Any) -> np.ndarray:
    import torch

    if image.dtype == torch.uint8:
        return image.numpy()
    if not image.is_floating_point():
        raise ImageError(f"its type is {image.dtype}", _ACCEPTED)
    if not ((image >= 0) & (image <= 1)).all():  # also where a value isn't a number
        raise ImageError("its values are outside of 0..1; leave normalisation out", _ACCEPTED)
    return (image.double() * 255).round().to(torch.uint8).numpy()

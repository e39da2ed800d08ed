"""The 1797 handwritten digits that come with scikit-learn: a data set that needs no download."""

from __future__ import annotations

from typing import Literal, final

import numpy as np

from attar.images.arrays import ArraySource

_TEST_IMAGES = 500


@final
class DigitsSource(ArraySource):
    """Grey 8x8 images of ten classes: 1297 for training and 500 for testing (stratified, the same every time)."""

    def __init__(self, part: Literal["train", "test", "all"] = "train"):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # scikit-learn's are 0..16
        everything = np.arange(len(images))
        train, test = train_test_split(everything, test_size=_TEST_IMAGES, stratify=digits.target, random_state=0)
        chosen = np.sort({"train": train, "test": test, "all": everything}[part])
        location = "digits" if part == "train" else f"digits:{part}"
        super().__init__(images[chosen], digits.target[chosen], tuple("0123456789"), location)

"""The cells of a table: what one probe answered on the test images, kept by everything that decides it.

A table that was interrupted, widened or given again computes no cell twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from attar.errors import FileError
from attar.files import append_line, cache_folder, digest, make_folder
from attar.tensors import read_tensors, write_tensors

_VERSION = "cells-1"  # counts up when the same key would give other answers

Predictions = Int[np.ndarray, " test"]


class Cells:
    """Answers by key: read from the cache where they lie there, else computed and kept.

    `computed` and `found` count them; `log` is a file that gets a JSON line for each.
    """

    def __init__(self, log: Path | None = None):
        self.log, self.computed, self.found = log, 0, 0
        if log is not None:
            make_folder(log.parent)

    def answer(
        self, what: dict[str, object], key: tuple[object, ...], compute: Callable[[], Predictions]
    ) -> Predictions:
        """The predicted classes of the test images; `what` describes the cell to readers of the log."""
        name = digest(_VERSION, *key)
        file = cache_folder() / "cells" / name[:2] / f"{name}.safetensors"
        started = time.perf_counter()
        predictions = _read(file)
        known = predictions is not None
        if predictions is None:
            predictions = compute()
            _write(file, predictions)
        self.computed, self.found = self.computed + (not known), self.found + known
        if self.log is not None:
            seconds = round(time.perf_counter() - started, 3)
            append_line(self.log, json.dumps({"cell": name[:16], "computed": not known, "seconds": seconds, **what}))
        return predictions


def _read(file: Path) -> Predictions | None:
    """What lies in `file`; a damaged file counts as absent."""
    try:
        return read_tensors(file)[0]["predictions"].numpy().astype(np.int64)
    except (OSError, FileError, KeyError):
        return None


def _write(file: Path, predictions: Predictions) -> None:
    try:
        write_tensors(file, {"predictions": torch.from_numpy(predictions.astype(np.int32))})
    except (OSError, FileError):
        return  # the answer is at hand; the next run computes it again

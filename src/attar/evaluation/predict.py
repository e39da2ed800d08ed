"""Photos in, classes and probabilities out, read and cut exactly as test images are in `evaluate`."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from attar.distilled import csv_text
from attar.errors import ImageError, SettingsError, expect
from attar.evaluation.classifier import Classifier
from attar.features.extract import square
from attar.files import append_line, make_folder, sweep, sync, temporary_folder
from attar.images.photos import find_photos, read_photos
from attar.progress import SILENT, Progress
from attar.synthesis.views import canvas_side, centre_crop

UNKNOWN = "unknown"
FORMATS = (".csv", ".jsonl")
_BATCH = 64  # as in `extract`: sums over a batch may depend on its size
_LISTED = 10


@dataclass(frozen=True)
class Prediction:
    """The class of one photo with its title and probability, or what is wrong with the photo."""

    file: Path
    label: str | None = None
    title: str | None = None
    probability: float | None = None
    error: str | None = None

    def as_json(self) -> dict[str, str | float | None]:
        """What is known of the photo; names of files that aren't Unicode with their odd bytes as \\xNN."""
        values = {
            "file": _unicode(str(self.file)),
            "class": self.label,
            "title": self.title,
            "probability": None if self.probability is None else round(self.probability, 6),
            "error": None if self.error is None else _unicode(self.error),
        }
        return {name: value for name, value in values.items() if value is not None}


def _unicode(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def predict(
    classifier: Classifier,
    photos: str | Path | Sequence[str | Path],
    *,
    unknown: float = 0.0,
    skip_corrupt: bool = False,
    progress: Progress = SILENT,
) -> Iterator[Prediction]:
    """A Prediction for each photo (see `find_photos`), in order, while the next ones are read.

    The label is "unknown" where the largest probability is below `unknown`. Probabilities are the softmax of the
    logits. Those of heads (`attar inherit`) fit training images that were held out. Those of `probe-v1`, which has seen
    the distilled images alone, only compare within one classifier and are far too low. The set itself can't calibrate
    them: leave its one image of a class out, and the class is gone. benchmarks/unknown.py measures thresholds.

    Raises ImageError listing the photos that can't be read, unless `skip_corrupt` asks for an `error` in their place;
    SettingsError for an `unknown` outside of 0..1, and where a class itself is called "unknown".

    >>> for each in attar.predict(flowers, "photos", unknown=0.25):      # doctest: +SKIP
    ...     print(each.file, each.title, f"{each.probability:.2f}")
    photos/0001.jpg tulip 0.81
    """
    expect(classifier, Classifier, "classifier")
    if not 0 <= unknown <= 1:
        raise SettingsError(f"an unknown threshold of {unknown:g} is no probability", "use a number from 0 to 1")
    if unknown and UNKNOWN in (*classifier.classes, *classifier.titles):
        raise SettingsError("a class of this set is called unknown", "leave the threshold out, and use probabilities")
    files = find_photos([photos] if isinstance(photos, str | Path) else photos)
    return _predictions(classifier, files, unknown, skip_corrupt, progress)


def as_lines(predictions: Iterable[Prediction], form: str = ".csv") -> Iterator[str]:
    """The predictions as lines of a .csv (after one with the names of its columns) or a .jsonl file."""
    if form == ".jsonl":
        yield from (json.dumps(each.as_json(), ensure_ascii=False) for each in predictions)
        return
    names = ("file", "class", "title", "probability", "error")
    yield ",".join(names)
    for each in predictions:
        values = each.as_json()
        yield _csv_line([values.get(name, "") for name in names])


def write_lines(out: Path, lines: Iterable[str]) -> None:
    """Write `lines` to `out` one by one as they come; the file appears once it is complete."""
    make_folder(out.parent)
    sweep(out.parent, out.name)
    temporary = temporary_folder(out)
    try:
        for line in lines:
            append_line(temporary, line)
        sync(temporary)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    sync(out.parent)


def _predictions(
    classifier: Classifier, files: list[Path], unknown: float, skip_corrupt: bool, progress: Progress
) -> Iterator[Prediction]:
    side = canvas_side(classifier.image_size)
    squares = zip(files, read_photos(files, side, partial(square, side=side)), strict=True)
    done = 0
    while batch := list(itertools.islice(squares, _BATCH)):
        wrong = [found for _, found in batch if isinstance(found, ImageError)]
        if wrong and not skip_corrupt:
            _refuse(wrong + [found for _, found in squares if isinstance(found, ImageError)], len(files))
        read = [found for _, found in batch if not isinstance(found, ImageError)]
        rows = iter(_probabilities(classifier, np.stack(read)) if read else ())
        for file, found in batch:
            if isinstance(found, ImageError):
                yield Prediction(file, error=found.message)
            else:
                yield _named(classifier, file, next(rows), unknown)
        done += len(batch)
        progress.advance("photos", done, len(files))


@torch.inference_mode()
def _probabilities(
    classifier: Classifier, squares: UInt8[np.ndarray, "n 3 side side"]
) -> Float[np.ndarray, "n classes"]:
    images = torch.from_numpy(squares).to(classifier.backbone.device).float() / 255
    return classifier(centre_crop(images, classifier.image_size)).softmax(1).cpu().numpy()


def _named(
    classifier: Classifier, file: Path, probabilities: Float[np.ndarray, " classes"], unknown: float
) -> Prediction:
    label, largest = int(probabilities.argmax()), float(probabilities.max())
    if largest < unknown:
        return Prediction(file, UNKNOWN, UNKNOWN, largest)
    return Prediction(file, classifier.classes[label], classifier.titles[label], largest)


def _refuse(wrong: Sequence[ImageError], count: int) -> None:
    """One error for all photos that can't be read: they are mended together."""
    hint = "Mend or remove what is damaged, or pass over it with --skip-corrupt (skip_corrupt=True)."
    if len(wrong) == 1:
        raise ImageError(wrong[0].message, wrong[0].hint or hint)
    reasons = [error.message.removeprefix("can't read ") for error in wrong[:_LISTED]]
    listed = "".join(f"\n  {reason}" for reason in reasons)
    more = f"\n  and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
    raise ImageError(f"{len(wrong)} of {count} photos can't be read:{listed}{more}", hint)


def _csv_line(values: Sequence[str | float | None]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([csv_text(each) if isinstance(each, str) else each for each in values])
    return line.getvalue()

"""What an audit found: scores and verdicts per search, the nearest pairs, leaks, and what remains to be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from attar.evaluation.audit.calibration import RATE
from attar.evaluation.audit.duplicates import Duplicate
from attar.evaluation.audit.membership import Membership

NO_GUARANTEE = "A clean audit is not a privacy guarantee: it finds copies of pictures, not what else a set gives away."
_QUANTILES = {"median": 0.5, "q95": 0.95, "max": 1.0}


@dataclass(frozen=True, eq=False)
class Search:
    """One way of looking for copies: for each distilled image the nearest training image."""

    name: str
    """pixels, hash, or the backbone's name."""
    scores: Float[np.ndarray, " images"]
    """Likeness; larger is nearer. Of hashes: how many of 64 bits agree."""
    nearest: Int[np.ndarray, " images"]
    flagged: Bool[np.ndarray, " images"]
    null: Float[np.ndarray, " held_out"]
    """Scores of held-out real images."""
    p: Float[np.ndarray, " images"] | None = None
    """None where a fixed threshold decides."""
    distilled_through: bool | None = None
    """Whether the set was distilled through this backbone; None for searches without one."""

    @property
    def evident(self) -> bool:
        """Whether a flag means a copy: distilling pulls images towards real ones in the features it goes through.

        Of ten dogs distilled through a ViT its own features flagged one, against which pixels, hash and another
        backbone's features found nothing.
        """
        return not self.distilled_through

    @property
    def beyond(self) -> int:
        """Images that are nearer to a training image than any held-out real image is."""
        return int((self.scores > self.null.max(initial=-np.inf)).sum())

    def as_json(self) -> dict[str, object]:
        """Counts and quantiles."""
        return {
            "search": self.name,
            "distilled_through": self.distilled_through,
            "flagged": int(self.flagged.sum()),
            "beyond_held_out": self.beyond,
            "held_out": len(self.null),
            "scores": quantiles(self.scores),
            "held_out_scores": quantiles(self.null),
            "images": [
                {"score": round(score, 6), "train": there, "p": p, "flagged": flagged}
                for score, there, p, flagged in zip(
                    self.scores.tolist(),
                    self.nearest.tolist(),
                    [None] * len(self.scores) if self.p is None else self.p.tolist(),
                    self.flagged.tolist(),
                    strict=True,
                )
            ],
        }


@dataclass(frozen=True)
class Pair:
    """A distilled image and a training image, and what the searches that brought them together say."""

    image: int
    name: str
    train_index: int
    train_name: str
    same_class: bool
    scores: dict[str, float]
    p: float
    """The smallest of the searches; 0 where their hashes agree."""
    flagged: tuple[str, ...]
    """The searches that call it a copy, but for those by features that the set was distilled through."""
    window: tuple[float, float, float] | None
    """(top, left, side) in fractions of the training image, where the pixels agree best."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The finding on one distilled set; `as_json` is the whole of it."""

    set: str
    method: str
    images: int
    train_images: int
    searches: tuple[Search, ...]
    pairs: tuple[Pair, ...]
    """Nearest first: all that are flagged, then by p."""
    real_images: int
    """Images of the set that are training images by its own record, as selections are."""
    leaks: tuple[Duplicate, ...] | None
    """Test images that repeat a training image; None where no test images were given."""
    test_copies: tuple[Duplicate, ...] | None
    """Distilled images that repeat a test image."""
    memberships: tuple[Membership, ...]
    remarks: tuple[str, ...]

    @property
    def copies(self) -> tuple[int, ...]:
        """Positions of the distilled images that some evident search calls a copy of a training image."""
        evident = [search.flagged for search in self.searches if search.evident]
        return tuple(np.flatnonzero(np.any(evident, axis=0)).tolist())

    def as_json(self) -> dict[str, object]:
        """Everything, in plain values."""
        return {
            "set": self.set,
            "method": self.method,
            "images": self.images,
            "train_images": self.train_images,
            "copies": list(self.copies),
            "contains_training_images": self.real_images,
            "false_discovery_rate": RATE,
            "searches": [search.as_json() for search in self.searches],
            "pairs": [asdict(pair) for pair in self.pairs],
            "test_images_in_train": _listed(self.leaks),
            "test_images_in_set": _listed(self.test_copies),
            "membership": [asdict(each) for each in self.memberships],
            "remarks": list(self.remarks),
        }


def quantiles(scores: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Median, 95 % quantile and maximum."""
    return {name: round(float(np.quantile(scores, share)), 6) for name, share in _QUANTILES.items()}


def _listed(found: Sequence[Duplicate] | None) -> dict[str, object] | None:
    return None if found is None else {"count": len(found), "pairs": [asdict(each) for each in found]}

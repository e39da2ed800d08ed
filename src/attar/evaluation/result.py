"""What an evaluation found: its rows, how they compare, and the document that machines read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from attar.evaluation.group_scores import GroupTable, group_table
from attar.evaluation.notebook import evaluation_html
from attar.evaluation.protocols import PROTOCOLS
from attar.evaluation.ranking import augmentation_robust_score, label_robust_score
from attar.evaluation.rows import Row
from attar.evaluation.scores import Difference, difference, gap_bounds, gap_closed, holm, mcnemar, resampled

_DIFFERENCES = (
    "Differences in points with their 95 % interval: above or below where it leaves 0 out; not below where it ends "
    "above -1.5 and the mean is -0.3 or more; else undecided."
)
_LEGEND = (
    "random, centroids: real images, drawn or nearest to their class mean; ncm: nearest class mean; class-means, "
    "sub-centres: the probe on the true means of classes or of their clusters; lda, full: classifiers of all images. "
    f"Gap closed: 0 is random images, 1 is all. {_DIFFERENCES}"
)
_STUDENTS_LEGEND = (
    "Students are trained from scratch; random: real images, labelled and learned in the same way. Accuracy is that "
    "after the last epoch; best is the highest of the tests every 10 epochs, chosen on the test images. ± and the "
    f"interval are over sets or draws, or the students of a single set. {_DIFFERENCES}"
)

REAL = ("random", "centroids", "kmeans", "jpeg")
"""Methods that choose real images: what a set must beat to be worth making."""

_RIVALS = ("random", "centroids", "kmeans", "jpeg", "noise", "sub-centres", "class-means", "full")
_INHERITED = tuple(name for name, protocol in PROTOCOLS.items() if protocol.inherits)
_ANY_NUMBER = ("class-means", "full")
_WITHOUT_TEACHER = ("class-means", "full")  # inherit from nobody


@dataclass(frozen=True)
class Evaluation:
    """The rows of all backbones and protocols in the order of the tables, the test labels in the common class order,
    remarks that belong beneath, the test images' groups where they have any, and what a reader needs to make the
    numbers again (`about`)."""

    rows: tuple[Row, ...]
    test_labels: Int[np.ndarray, " test"]
    remarks: tuple[str, ...]
    groups: Groups | None = None
    about: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def backbones(self) -> tuple[str, ...]:
        """The backbones that rows were evaluated on."""
        return tuple(dict.fromkeys(row.evaluated_on for row in self.rows))

    @property
    def tables(self) -> tuple[str, ...]:
        """The protocols under which rows stand."""
        return tuple(dict.fromkeys(row.table for row in self.rows))

    def row(
        self,
        method: str,
        protocol: str,
        ipc: int | None = None,
        *,
        evaluated_on: str | None = None,
        teacher: str | None = None,
    ) -> Row | None:
        """The first row of `method` in the protocol's table, with what else is given of it."""
        fitting = (
            row
            for row in self.rows
            if (row.method, row.table) == (method, protocol)
            and ipc in (None, row.ipc)
            and evaluated_on in (None, row.evaluated_on)
            and teacher in (None, row.teacher)
        )
        return next(fitting, None)

    def rival(self, row: Row, method: str) -> Row | None:
        """The row of `method` that stands beside a set: on the same backbone, at as many images a class where that
        matters, or for JPEG files beside sets of as many."""
        teacher, table = row.teacher, row.table
        if teacher is not None and method in _WITHOUT_TEACHER:
            teacher, table = None, row.beside("probe-v1")
        fitting = (
            other
            for other in self.rows
            if (other.method, other.table, other.evaluated_on, other.teacher)
            == (method, table, row.evaluated_on, teacher)
            and not other.distilled_on
            and (method in _ANY_NUMBER or (other.beside_ipc or other.ipc) == row.ipc)
        )
        return next(fitting, None)

    def differences(self) -> list[tuple[Row, Row, Difference]]:
        """Each distilled row against real images of the same number, class means and full data, and an inherited one
        also against what the same sets reach by themselves and by other ways to inherit: paired bootstrap."""
        return self._differences

    @property
    def legends(self) -> tuple[str, ...]:
        """What the names in the tables mean."""
        trained = [row.best is not None for row in self.rows]
        return (*([] if all(trained) else [_LEGEND]), *([_STUDENTS_LEGEND] if any(trained) else []))

    @property
    def verdicts(self) -> tuple[str, ...]:
        """A sentence for each set that real images beat, and protocol under which they do; checks aside."""
        return tuple(
            f"Real images beat {row.set} on {row.evaluated_on}: {other.method} {other.accuracy:.1f} against "
            f"{row.accuracy:.1f} ({row.table})."
            for row, other, found in self.differences()
            if other.method in REAL and found.verdict == "below" and not row.is_check and not (row.teacher and row.own)
        )

    @cached_property
    def _differences(self) -> list[tuple[Row, Row, Difference]]:
        result = []
        for row in (row for row in self.rows if row.distilled_on):
            others = [self.rival(row, method) for method in _RIVALS]
            if row.teacher is not None:
                inherited = (name for name in _INHERITED if row.beside(name) != row.table)
                others += [self._same_set(row, row.beside(name)) for name in ("probe-v1", *inherited)]
            for other in others:
                if other is not None:
                    drawn = self._drawn[id(row)], self._drawn[id(other)]
                    result.append((row, other, difference(row.correct, other.correct, *drawn)))
        return result

    def gap(self, row: Row) -> float | None:
        """The share of the way from random real images to all images that a row goes; None where there is no way."""
        random, full = self.rival(row, "random"), self.rival(row, "full")
        if random is None or full is None:
            return None
        return gap_closed(row.accuracy, random.accuracy, full.accuracy)

    def gap_interval(self, row: Row) -> tuple[float, float] | None:
        """The 95 % interval of the gap closed: bootstrap over test images and seeds."""
        random, full = self.rival(row, "random"), self.rival(row, "full")
        if random is None or full is None:
            return None
        if self.gap(row) is None:
            return None
        reached, start, end = (self._drawn[id(each)] for each in (row, random, full))
        return gap_bounds(reached, start, end, len(self.test_labels))

    @cached_property
    def _drawn(self) -> dict[int, Float[np.ndarray, " resamples"]]:
        """The accuracy of each row in the same 10,000 resamples of the test images."""
        drawn = resampled([row.correct for row in self.rows], self.test_labels)
        return {id(row): column for row, column in zip(self.rows, drawn.T, strict=True)}

    def ranking(self, row: Row) -> dict[str, float]:
        """DD-Ranking's scores of a distilled row as fractions: `lrs` where the probe on hard labels and on all images
        stands beside it, `ars` where the probe with and without random views does (evaluation.md 8)."""
        scores = {}
        random, hard = self.rival(row, "random"), self._same_set(row, row.beside("probe-v1"))
        full = None if hard is None else self.rival(hard, "full")
        if random is not None and full is not None and hard is not None:
            scores["lrs"] = label_robust_score(
                real_hard=full.accuracy / 100,
                synthetic_hard=hard.accuracy / 100,
                synthetic_any=row.accuracy / 100,
                random_any=random.accuracy / 100,
            )
        plain = self._same_set(row, row.beside("probe-v1/centre"))
        if row.table == row.beside("probe-v1") and random is not None and plain is not None:
            random_plain = self.rival(plain, "random")
            if random_plain is not None:
                scores["ars"] = augmentation_robust_score(
                    synthetic_augmented=row.accuracy / 100,
                    random_augmented=random.accuracy / 100,
                    synthetic_plain=plain.accuracy / 100,
                    random_plain=random_plain.accuracy / 100,
                )
        return scores

    def _same_set(self, row: Row, protocol: str) -> Row | None:
        """What the same sets reach in another protocol's table on the same backbone."""
        same = ("method", "set", "ipc", "evaluated_on")
        fitting = (
            other
            for other in self.rows
            if other.table == protocol and all(getattr(other, name) == getattr(row, name) for name in same)
        )
        return next(fitting, None)

    def group_table(self, row: Row) -> GroupTable | None:
        """Accuracies by group where the test images have groups."""
        if self.groups is None:
            return None
        return group_table(row.correct, self.test_labels, self.groups.attributes, self.groups.train_counts)

    def as_json(self) -> dict[str, Any]:
        """The document that `attar evaluate --json` prints."""
        found = self.differences()
        corrected = _corrected(found)
        differences = [
            {
                "set": row.set,
                "method": row.method,
                "teacher": row.teacher,
                "ipc": row.ipc,
                "evaluated_on": row.evaluated_on,
                "against": other.method,
                "against_protocol": other.table,
                "protocol": row.table,
                "mean": round(difference.mean, 2),
                "ci95": [round(difference.low, 2), round(difference.high, 2)],
                "verdict": difference.verdict,
                "p": round(difference.p, 5),
                "p_holm": round(p, 5),
                "p_mcnemar": _mcnemar(row, other),
            }
            for (row, other, difference), p in zip(found, corrected, strict=True)
        ]
        return self.about | {
            "rows": [row.as_json() | self._scores(row) for row in self.rows],
            "differences": differences,
            "verdicts": list(self.verdicts),
            "remarks": list(self.remarks),
            "legends": list(self.legends),
        }

    def __repr__(self) -> str:
        """One line: the rows hold every answer."""
        where = f"{', '.join(self.tables)} on {', '.join(self.backbones)}"
        return f"<Evaluation of {len(self.rows)} rows: {where}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return evaluation_html(self)

    def _scores(self, row: Row) -> dict[str, Any]:
        """What is known of a row beside others."""
        gap, groups = self.gap(row), self.group_table(row)
        scores: dict[str, Any] = {"gap_closed": None if gap is None else round(gap, 3)}
        if row.distilled_on:
            interval = self.gap_interval(row)
            scores["gap_ci95"] = None if interval is None else [round(bound, 3) for bound in interval]
            scores |= {name: round(value, 4) for name, value in self.ranking(row).items()}
        return scores if groups is None or self.groups is None else scores | {"groups": _as_json(groups, self.groups)}


@dataclass(frozen=True)
class Groups:
    """The attribute of each test image, and how many training images of each class have each attribute."""

    names: tuple[str, ...]
    attributes: Int[np.ndarray, " test"]
    train_counts: Int[np.ndarray, "classes attributes"]


def _corrected(found: Sequence[tuple[Row, Row, Difference]]) -> list[float]:
    """The p-values corrected by Holm within each table on each backbone."""
    families: dict[tuple[str, str], list[int]] = {}
    for place, (row, _, _) in enumerate(found):
        families.setdefault((row.table, row.evaluated_on), []).append(place)
    corrected = [1.0] * len(found)
    for places in families.values():
        for place, p in zip(places, holm([found[place][2].p for place in places]), strict=True):
            corrected[place] = p
    return corrected


def _mcnemar(first: Row, second: Row) -> float | None:
    """McNemar's exact p where both rows are single runs."""
    single = [row.correct[0] for row in (first, second) if len(row.correct) == 1 and set(row.correct[0]) <= {0.0, 1.0}]
    return round(mcnemar(single[0] > 0, single[1] > 0), 5) if len(single) == 2 else None


def _as_json(table: GroupTable, groups: Groups) -> dict[str, Any]:
    summaries = ("worst", "group_mean", "average", "weighted", "aligned", "conflicting")
    means = {name: getattr(table, name) for name in summaries}
    scores = [
        {**vars(score), "attribute": groups.names[score.attribute], "accuracy": round(score.accuracy, 2)}
        for score in table.scores
    ]
    return {name: None if mean is None else round(mean.accuracy, 2) for name, mean in means.items()} | {
        "reliance": None if table.reliance is None else round(table.reliance, 2),
        "scores": scores,
    }

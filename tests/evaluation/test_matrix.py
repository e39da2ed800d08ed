"""The cross-backbone matrix and its spreadsheet."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from attar.evaluation import Evaluation
from attar.evaluation.matrix import as_csv, matrix
from attar.evaluation.rows import make_row

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


def row(method: str, on: str, right: int, *, distilled_on=(), table: str = "probe-v1", ipc: int = 1, teacher=None):
    """`right` of the ten answers are right."""
    answers = np.where(np.arange(10) < right, LABELS, (LABELS + 1) % 3)
    return make_row(
        [[answers]],
        LABELS,
        3,
        method=method,
        set=method,
        distilled_on=distilled_on,
        evaluated_on=on,
        protocol=table,
        table=table,
        ipc=ipc,
        seeds={},
        bytes=100,
        teacher=teacher,
        own=on in distilled_on,
        beside_ipc=None,
    )


@pytest.fixture
def evaluation():
    rows = []
    for on, numbers in (("a", (3, 9, 7)), ("b", (2, 6, 8)), ("c", (1, 4, 9))):
        rows += [
            row("sfm", on, numbers[1], distilled_on=("a",)),
            row("pair", on, numbers[2], distilled_on=("a", "b")),
            row("random", on, numbers[0]),
            row("full", on, 10, ipc=50),
        ]
    rows.append(row("sfm", "a", 5, distilled_on=("a",), table="knn-v1"))
    return Evaluation(tuple(rows), LABELS, ())


def test_a_line_holds_a_method_on_every_backbone(evaluation):
    found = matrix(evaluation, "probe-v1")
    assert found.backbones == ("a", "b", "c")
    lines = {line.first.method: line for line in found.lines}
    assert list(lines) == ["sfm", "pair", "random", "full"]
    assert [each.accuracy for each in lines["sfm"].rows] == [90, 60, 40]
    assert (lines["sfm"].own, lines["sfm"].others, lines["sfm"].worst) == (90, 50, 40)
    assert (lines["pair"].own, lines["pair"].others, lines["pair"].worst) == (75, 90, 70)
    assert (lines["random"].own, lines["random"].others, lines["random"].worst) == (None, None, 10)
    assert lines["pair"].label == "pair on a + b"


def test_columns_are_the_backbones_of_the_table_alone(evaluation):
    found = matrix(evaluation, "knn-v1")
    assert found.backbones == ("a",)
    assert [each.accuracy for each in found.lines[0].rows] == [50]


def test_the_gap_is_closed_between_random_images_and_all_of_the_same_backbone(evaluation):
    gaps = [evaluation.gap(each) for each in evaluation.rows if each.method == "sfm" and each.table == "probe-v1"]
    assert gaps == pytest.approx([6 / 7, 4 / 8, 3 / 9])


def test_the_spreadsheet_has_a_line_a_row_and_runs_nothing(evaluation):
    spoilt = Evaluation((*evaluation.rows, row("=cmd()", "a", 1)), LABELS, ())
    lines = list(csv.DictReader(io.StringIO(as_csv(spoilt))))
    assert len(lines) == len(spoilt.rows) and lines[-1]["method"] == "'=cmd()"
    assert lines[0]["accuracy"] == "90.0" and lines[0]["gap_closed"] == "0.857" and lines[0]["bytes"] == "100"


def test_rankings_compare_with_hard_labels_and_with_the_same_preprocessing(evaluation):
    """real .90, distilled .50 with hard labels and .60 with its own head, random .40 with that head: 22.85 %."""
    for suffix in ("", "/imagenet"):
        tables = "probe-v1" + suffix, "inherit-ridge-v1" + suffix
        rows = (
            row("sfm", "b", 5, distilled_on=("a",), table=tables[0]),
            row("full", "b", 9, table=tables[0], ipc=50),
            row("random", "b", 2, table=tables[0]),
            row("sfm", "b", 6, distilled_on=("a",), table=tables[1], teacher="a"),
            row("random", "b", 4, table=tables[1], teacher="a"),
        )
        found = Evaluation(rows, LABELS, ())
        assert found.ranking(rows[3])["lrs"] == pytest.approx(0.2285, abs=5e-5)
        assert found.gap(rows[3]) == pytest.approx(2 / 5)
        assert not rows[0].is_check and row("sfm", "b", 5, table="probe-v1/std" + suffix).is_check

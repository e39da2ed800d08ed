"""What `attar evaluate --out` left is read as it was meant, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import attar
from attar.errors import EvaluationError
from attar.evaluation.about import distinct
from attar.report.results import read_results, worst_pairs
from attar.report.scores import read_scores
from report.test_page import evaluation


def test_a_folder_of_evaluate_reads_as_the_evaluation_does(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(evaluation().as_json()))
    assert read_results(tmp_path) == read_results(evaluation())


@pytest.mark.parametrize("text", ["{", '{"rows": 3}', '{"rows": [], "test": 1}', "[" * 100_000])
def test_damaged_results_are_refused(tmp_path, text: str):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(EvaluationError, match="is damaged"):
        read_results(tmp_path)


def test_rows_of_other_classes_than_the_results_are_refused(tmp_path):
    told = evaluation().as_json()
    (tmp_path / "results.json").write_text(json.dumps(told | {"classes": ["ant", "bee"]}))
    with pytest.raises(EvaluationError, match="is damaged"):
        read_results(tmp_path)


def test_the_worst_pairs_are_those_with_the_largest_share_of_their_class():
    confusion = np.array([[90, 10, 0], [1, 7, 2], [0, 5, 5]])
    worst = worst_pairs(confusion, ["a", "b", "c"])
    assert worst == [("c", "b", 50.0, 5), ("b", "c", 20.0, 2), ("a", "b", 10.0, 10), ("b", "a", 10.0, 1)]


def changed(value: object, *path: str | int) -> str:
    """The evaluation's results.json with `value` at a path."""
    told = evaluation().as_json()
    place = told
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(told)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 10**400, 1e300])
@pytest.mark.parametrize(
    "path",
    [
        ("rows", 0, "accuracy"),
        ("rows", 0, "std"),
        ("rows", 0, "bytes"),
        ("rows", 0, "ipc"),
        ("rows", 0, "n_test"),
        ("rows", 0, "confusion", 0, 1),
        ("sets", "a.attar", "seconds"),
    ],
)
def test_numbers_that_can_not_be_are_refused(tmp_path, path, value):
    (tmp_path / "results.json").write_text(changed(value, *path))
    with pytest.raises(EvaluationError, match="is damaged"):
        read_results(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
@pytest.mark.parametrize(
    "path", [("rows", 0, "ci95"), ("rows", 0, "gap_ci95"), ("differences", 0, "ci95"), ("differences", 0, "mean")]
)
def test_differences_and_intervals_are_finite(tmp_path, path, value):
    (tmp_path / "results.json").write_text(changed(value if path[-1] == "mean" else [0, value], *path))
    with pytest.raises(EvaluationError, match="is damaged"):
        read_results(tmp_path)


def test_time_is_left_out_where_two_sets_have_one_name(tmp_path):
    assert distinct(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]
    results = read_results(evaluation())
    assert results.seconds(results.rows[0]) == 90
    twice = json.loads(changed({"a.attar (1)": {"seconds": 90.0}, "a.attar (2)": {"seconds": 10.0}}, "sets"))
    (tmp_path / "results.json").write_text(json.dumps(twice))
    assert read_results(tmp_path).seconds(results.rows[0]) is None


def test_differences_name_their_teacher(tmp_path):
    assert evaluation().as_json()["differences"][0]["teacher"] is None
    (tmp_path / "results.json").write_text(changed("resnet18", "differences", 0, "teacher"))
    text = attar.write_report(evaluations=[tmp_path], out=tmp_path).read_text()
    assert "a.attar from resnet18 against random" in text


def test_classes_are_known_by_name_whatever_their_titles():
    (row, _) = read_scores(evaluation(), []).by_class
    assert row["names"] == row["titles"] == ["ant", "bee", "cow"]

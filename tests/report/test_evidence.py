"""What the real images say of distilled ones, against plain searches and cases by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import attar
from attar.errors import EvaluationError
from attar.images import ArraySource
from attar.report.evidence import confidences, gather_evidence, most_frequent_wrong, nearest_rows
from report.test_page import LABELS, Notes, document, make_set, noise
from small import CLASSES, small_backbone


def test_nearest_rows_are_those_of_a_plain_search():
    random = np.random.default_rng(0)
    rows, real = random.normal(size=(5, 3)), random.normal(size=(11, 3))
    real[7] = 3 * real[2]  # a tie: the lower index comes first
    cosines = np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in real] for a in rows])
    cosines[:, 7] = cosines[:, 2]
    nearest, found = nearest_rows(rows, real, 4)
    for row in range(5):
        expected = sorted(range(11), key=lambda index: (-round(cosines[row, index], 12), index))[:4]
        assert nearest[row].tolist() == expected
        np.testing.assert_allclose(found[row], cosines[row, expected], atol=1e-12)


@pytest.mark.parametrize(("real_at_once", "rows_at_once"), [(7, 2), (23, 1), (1, 3), (2, 100)])
def test_nearest_rows_do_not_depend_on_how_many_are_looked_at_together(monkeypatch, real_at_once, rows_at_once):
    random = np.random.default_rng(1)
    rows, real = random.normal(size=(5, 5)), random.normal(size=(23, 5))
    nearest, cosines = nearest_rows(rows, real, 3)
    monkeypatch.setattr("attar.report.evidence._REAL_AT_ONCE", real_at_once)
    monkeypatch.setattr("attar.report.evidence._ROWS_AT_ONCE", rows_at_once)
    again, close = nearest_rows(rows, real, 3)
    np.testing.assert_array_equal(again, nearest)
    np.testing.assert_allclose(close, cosines, rtol=1e-14)


def test_of_many_rows_and_many_real_images_only_a_block_is_in_memory():
    rows, real = np.ones((2048, 2), dtype=np.float32), np.ones((40_000, 2), dtype=np.float32)
    tracemalloc.start()
    nearest_rows(rows, real, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6  # all cosines take 650 MB


def test_confidences_of_a_case_by_hand():
    logits = np.log([[[3.0, 1.0], [1.0, 1.0], [1.0, 4.0]], [[1.0, 9.0], [3.0, 7.0], [9.0, 1.0]]])
    own, answers = confidences(logits, np.array([0, 1]))
    np.testing.assert_allclose(own, [[0.75, 0.5, 0.2], [0.9, 0.7, 0.1]])
    assert answers.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert most_frequent_wrong(np.array([2, 0, 1, 2, 0, 0]), 0) == (2, 2)
    assert most_frequent_wrong(np.array([0, 0]), 0) is None


def test_real_images_in_a_set_are_their_own_nearest_images_and_are_judged_by_their_class(tmp_path):
    colours = np.random.default_rng(5).integers(40, 215, (3, 3, 1, 1))
    real = np.clip(colours[np.arange(30) % 3] + noise(30, 8).astype(int) // 8 - 16, 0, 255).astype(np.uint8)
    train = ArraySource(real.transpose(0, 2, 3, 1), np.arange(30) % 3, CLASSES)
    chosen = [0, 3, 1, 4, 2, 5]
    one = make_set(tmp_path / "a.attar", real[chosen])
    found = gather_evidence(one, train, small_backbone())
    assert found.nearest.shape == (6, 3) and found.own.shape == (6, 20)
    assert found.nearest[:, 0].tolist() == chosen
    np.testing.assert_allclose(found.cosines[:, 0], 1, atol=1e-6)
    assert found.own[:, 0].min() > 0.5 and (found.answers[:, 0] == LABELS).all()
    page = attar.write_report([one], train=train, backbone=small_backbone(), out=tmp_path, device="cpu")
    told = document(page, "details")[0]["evidence"]
    first = told["nearest"][2][0]
    assert told["realTitles"][first] == "bee" and told["realNames"][first] == train.name(1)
    np.testing.assert_allclose(told["own"], 100 * found.own, atol=0.051)
    assert "--train IMAGES" not in page.read_text()


def test_training_photos_in_the_page_are_told_of_there_and_to_the_one_who_writes_it(tmp_path):
    train = ArraySource(noise(12, 8, 3).transpose(0, 2, 3, 1), np.arange(12) % 3, CLASSES)
    sets, notes = [make_set(tmp_path / "a.attar")], Notes()
    text = attar.write_report(
        sets, train=train, backbone=small_backbone(), out=tmp_path, device="cpu", progress=notes
    ).read_text()
    count = len(document(tmp_path / "index.html", "details")[0]["evidence"]["real"])
    assert f"This page holds {count} training photos and the names of their files" in text
    assert any(f"holds {count} training photos" in note and "leave --backbone out" in note for note in notes.told)
    assert "training photos" not in attar.write_report(sets, out=tmp_path).read_text()


def test_training_images_of_other_classes_are_refused(tmp_path):
    train = ArraySource(noise(4, 8).transpose(0, 2, 3, 1), np.arange(4) % 2, ("ant", "bee"))
    with pytest.raises(EvaluationError, match="not of the classes"):
        gather_evidence(make_set(tmp_path / "a.attar"), train, small_backbone())

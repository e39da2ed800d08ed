"""Cells are kept by what decides them."""

from __future__ import annotations

import json

import numpy as np

from attar.evaluation.cells import Cells
from attar.files import cache_folder

ANSWERS = np.array([2, 0, 1, 1, 2, 0, 0])


def test_a_cell_is_computed_once_for_each_key(tmp_path):
    cells, calls = Cells(tmp_path / "a" / "log.jsonl"), []

    def compute():
        calls.append(1)
        return ANSWERS

    for key in (("x", 1), ("x", 1), ("x", 2), ("x", 1)):
        assert cells.answer({"images": "some"}, key, compute).tolist() == ANSWERS.tolist()
    assert len(calls) == 2 and (cells.computed, cells.found) == (2, 2)
    again = Cells()
    again.answer({}, ("x", 2), compute)
    assert len(calls) == 2 and (again.computed, again.found) == (0, 1)
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [line["computed"] for line in lines] == [True, False, True, False]
    assert all(line["images"] == "some" for line in lines)


def test_without_a_folder_to_write_to_answers_are_computed_each_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ATTAR_CACHE", str(tmp_path / "file"))
    cells = Cells()
    for _ in range(2):
        assert cells.answer({}, ("x",), lambda: ANSWERS).tolist() == ANSWERS.tolist()
    assert (cells.computed, cells.found) == (2, 0)


def test_a_file_with_something_else_is_no_answer():
    cells = Cells()
    cells.answer({}, ("x",), lambda: ANSWERS)
    (file,) = cache_folder().glob("cells/*/*.safetensors")
    file.write_text("something else")
    assert cells.answer({}, ("x",), lambda: ANSWERS + 1).tolist() == (ANSWERS + 1).tolist()

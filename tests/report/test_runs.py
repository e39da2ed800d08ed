"""Runs on the page: whose they are, their logs and their frames, and how paths are told apart."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import attar
from attar.cli.evaluate import training_images
from attar.distilled.journey import write_frame
from attar.distilled.own_run import run_of, set_of
from attar.errors import ArtefactError
from attar.report.arguments import tell_apart
from attar.run import Run
from report.test_page import document, make_set, noise, pixels
from small import manifest
from stub_hub import serving_hub

SETTINGS = manifest().settings


def test_frames_of_the_run_become_a_strip_for_each_image(tmp_path):
    one, run = make_set(tmp_path / "a.attar"), Run.begin(tmp_path / "a.attar", SETTINGS)
    greys = (20, 120, 220)
    for step, grey in zip((0, 7, 30), greys, strict=True):
        write_frame(run.journey, step, np.full((6, 3, 16, 16), grey, dtype=np.uint8))
    (details,) = document(attar.write_report([one], out=tmp_path), "details")
    assert details["journey"]["steps"] == [0, 7, 30] and len(details["journey"]["strips"]) == 6
    strip = pixels(details["journey"]["strips"][4]).astype(int)
    assert strip.shape == (3, 16, 48)
    for place, grey in enumerate(greys):
        assert abs(strip[:, :, 16 * place + 4 : 16 * place + 12] - grey).max() < 6


@pytest.mark.parametrize("left", [{"steps": 3}, {"method": "sfm"}, {**SETTINGS, "lr": 0.2}, {**SETTINGS, "new": 1}])
def test_what_another_run_left_beside_a_set_is_not_taken_for_its_own(tmp_path, left):
    run = Run.begin(tmp_path / "a.attar", left)
    write_frame(run.journey, 1, noise(6, 8))
    run.log(0, {"loss": 1.0})
    run.note_place(train="digits")
    one = make_set(tmp_path / "a.attar")
    page = attar.write_report(tell_apart([one.path]).sets, out=tmp_path)
    assert document(page, "details")[0]["journey"] is None and "Some lines of its log" not in page.read_text()
    assert training_images(one.path) is None
    given = tell_apart([run.folder])
    assert not given.sets
    assert "a.attar, not finished" in attar.write_report(runs=given.runs, out=tmp_path).read_text()


def test_the_run_with_the_settings_of_a_set_is_its_own(tmp_path):
    run = Run.begin(tmp_path / "a.attar", SETTINGS)
    run.log(0, {"loss": 1.0})
    run.note_place(train="digits")
    one = make_set(tmp_path / "a.attar")
    assert run_of(one) == run and set_of(run).path == one.path and training_images(one.path) == "digits"
    text = attar.write_report([one], out=tmp_path).read_text()
    assert "Some lines of its log" in text and "not finished" not in text


def test_an_imported_set_has_no_run(tmp_path):
    Run.beside(tmp_path / "a.attar").note_place(train="digits")  # as attar edits does, which keeps no settings
    assert training_images(make_set(tmp_path / "a.attar").path) == "digits"
    assert training_images(make_set(tmp_path / "a.attar", train_images=0).path) is None


def test_damaged_settings_are_told_in_the_part_of_the_run(tmp_path):
    one, run = make_set(tmp_path / "a.attar"), Run.begin(tmp_path / "a.attar", SETTINGS)
    (run.folder / "settings.toml").write_text("steps = ")
    page = attar.write_report(tell_apart([one.path]).sets, out=tmp_path)
    text = page.read_text()
    assert "Its settings.toml is damaged" in text and "not finished" not in text
    assert document(page, "details")[0]["journey"] is None


def test_figures_that_no_float_holds_are_left_out(tmp_path):
    run = Run.begin(tmp_path / "b.attar", {"steps": 3})
    huge = "1" + 400 * "0"
    lines = [
        "0, 'loss': 3",
        f"1, 'loss': {huge}, 'cosine': 0.25",
        f"{huge}, 'loss': 2",
        "2, 'loss': NaN",
        "3, 'loss': 1",
    ]
    (run.folder / "log.jsonl").write_text("".join(f"{{'step': {line}}}\n" for line in lines).replace("'", '"'))
    assert run.logged() == [
        {"step": 0, "loss": 3},
        {"step": 1, "cosine": 0.25},
        {"step": 2},
        {"step": 3, "loss": 1},
    ]
    run.log(4, {"loss": 1.7e308})
    assert "loss by step" in attar.write_report(runs=[run], out=tmp_path).read_text()


def test_frames_of_several_runs_share_one_budget(tmp_path):
    runs = [Run.begin(tmp_path / name, {"steps": 1}) for name in "bc"]
    for run in runs:
        write_frame(run.journey, 1, noise(400, 64))

    def size(runs: list[Run]) -> int:
        found = document(attar.write_report(runs=runs, out=tmp_path), "sheets")
        return sum(len(sheet) for each in found for sheet in each["sheets"])

    assert 1_000_000 < size(runs[:1]) < 2_000_000 and size(runs) < 2_000_000


def test_an_unfinished_run_shows_its_frames_and_its_log(tmp_path):
    run = Run.begin(tmp_path / "b.attar", {"steps": 30, "note": "<i>"})
    for step in (0, 10, 20):
        run.log(step, {"loss": 3.0 - step / 10, "cosine": step / 20})
    log = run.folder / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 25, "lo')  # cut by a kill
    write_frame(run.journey, 20, noise(6, 8))
    given = tell_apart([tmp_path / "b.attar"])
    page = attar.write_report(runs=given.runs, out=tmp_path)
    text = page.read_text()
    assert "b.attar, not finished" in text and "&lt;i&gt;" in text and "loss by step" in text
    (sheets,) = document(page, "sheets")
    assert sheets["steps"] == [20] and pixels(sheets["sheets"][0]).shape == (3, 10, 60)
    assert '<td class="right">20</td>' in text


def test_paths_are_told_apart(tmp_path):
    one = make_set(tmp_path / "a.attar")
    Run.begin(one.path, SETTINGS)
    Run.begin(tmp_path / "b.attar", {"steps": 1})
    (tmp_path / "results.json").write_text("{}")
    given = tell_apart([one.path, Run.beside(one.path).folder, tmp_path / "b.attar.run", tmp_path])
    assert [each.path for each in given.sets] == [one.path]  # the run is of the same set
    assert [run.folder.name for run in given.runs] == ["b.attar.run"] and given.evaluations == [tmp_path]
    with pytest.raises(ArtefactError, match="no distilled set, no run and no evaluation"):
        tell_apart([tmp_path / "nowhere"])


def test_a_folder_without_a_name_is_what_it_is_called(tmp_path, monkeypatch):
    one = make_set(tmp_path / "a.attar")
    monkeypatch.chdir(one.path)
    (made,) = tell_apart([Path()]).sets
    assert made.path.name == "a.attar"
    (one.path / "attar.json").unlink()
    Run.begin(tmp_path / "b.attar", {"steps": 1})
    monkeypatch.chdir(tmp_path / "b.attar.run")
    (run,) = tell_apart([Path()]).runs
    assert run.folder.name == "b.attar.run"
    assert "<title>b.attar<" in attar.write_report(runs=[run], out=tmp_path).read_text()
    monkeypatch.chdir(one.path)
    with pytest.raises(ArtefactError, match=r"^\. is no distilled set"):
        tell_apart([Path()])


def test_a_set_on_the_hub_is_fetched(tmp_path):
    with serving_hub() as hub:
        one = make_set(tmp_path / "a.attar")
        files = {
            file.relative_to(one.path).as_posix(): file.read_bytes() for file in one.path.rglob("*.*") if file.is_file()
        }
        hub.put("you/photos", files)
        (made,) = tell_apart([Path("hf:you/photos")]).sets
    assert made.manifest == one.manifest
    assert re.search(r"<title>photos@\w{12}<", attar.write_report([made], out=tmp_path).read_text())

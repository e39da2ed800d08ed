"""`attar report`: one page of what is given, and refusals before anything is written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attar.distilled import write
from attar.run import Run
from small import CLASSES, manifest


@pytest.fixture
def one(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 7, 7), dtype=np.uint8)
    return write(tmp_path / "a.attar", images, np.arange(3).repeat(2), manifest=manifest(CLASSES, image_side=7)).path


def test_it_writes_one_page_and_says_where(attar, one, tmp_path):
    code, out, _ = attar("report", one, "--out", tmp_path / "page", "--title", "Pets & co")
    page = tmp_path / "page" / "index.html"
    assert (code, out) == (0, f"{page}: {page.stat().st_size:,} bytes; open it in a browser\n")
    assert "<title>Pets &amp; co</title>" in page.read_text()
    assert list(page.parent.iterdir()) == [page]


def test_as_json_it_prints_one_document(attar, one, tmp_path):
    Run.begin(tmp_path / "b.attar", {"steps": 1})
    code, out, _ = attar("report", one, tmp_path / "b.attar.run", "--out", tmp_path / "page", "--json")
    told = json.loads(out)["report"]
    assert code == 0 and told["path"] == str(tmp_path / "page" / "index.html")
    assert (told["sets"], told["runs"], told["evaluations"]) == (1, 1, 0)
    assert told["bytes"] == (tmp_path / "page" / "index.html").stat().st_size


def test_with_a_backbone_it_shows_the_nearest_training_images_of_the_run(attar, one, train, tmp_path):
    Run.beside(one).folder.mkdir()
    Run.beside(one).note_place(train=str(train))
    given = ("--backbone", "resnet18", "--weights", "random", "--image-size", "32", "--device", "cpu")
    code, _, err = attar("report", one, "--out", tmp_path / "page", *given)
    assert code == 0, err
    assert "training photos and their file names" in err and "leave --backbone out" in " ".join(err.split())
    assert '"nearest":[[' in (tmp_path / "page" / "index.html").read_text()


def test_the_photos_of_another_run_are_not_taken_for_those_of_the_set(attar, one, train, tmp_path):
    Run.begin(one, {"method": "random"}).note_place(train=str(train))
    given = ("--backbone", "resnet18", "--weights", "random", "--image-size", "32", "--device", "cpu")
    code, _, err = attar("report", one, "--out", tmp_path / "page", *given)
    assert code == 0 and "they also need --train IMAGES" in err


def test_a_page_of_somebody_else_is_refused_and_kept(attar, one, tmp_path):
    (tmp_path / "index.html").write_text("my site")
    code, _, err = attar("report", one, "--out", tmp_path)
    assert (code, err) == (2, f"attar: {tmp_path / 'index.html'} is no page of attar's.\nChoose another --out.\n")
    assert (tmp_path / "index.html").read_text() == "my site"


def test_a_backbone_without_training_images_is_told(attar, one, tmp_path):
    given = ("--backbone", "resnet18", "--weights", "random", "--image-size", "32", "--device", "cpu")
    code, _, err = attar("report", one, "--out", tmp_path / "page", *given)
    assert code == 0 and "they also need --train IMAGES" in err


def test_what_is_nothing_of_ours_is_refused_and_nothing_is_written(attar, one, tmp_path):
    code, out, err = attar("report", one, tmp_path, "--out", tmp_path / "page")
    assert code == 2 and out == "" and not (tmp_path / "page").exists()
    told = f"attar: {tmp_path} is no distilled set, no run and no evaluation.\n"
    assert err == told + "Give folders that attar distill or attar evaluate --out wrote.\n"


def test_serve_shows_the_page_on_this_machine(attar, one, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("attar.report.serve.serve", lambda page, port, ready: shown.append((page, port)))
    code, _, _ = attar("report", one, "--out", tmp_path / "page", "--serve", "--port", "0")
    assert code == 0 and shown == [(tmp_path / "page" / "index.html", 0)]

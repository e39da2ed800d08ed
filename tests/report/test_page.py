"""What the page says is what the sets, the runs, the evaluations and the real images say."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import attar
from attar.distilled import write
from attar.distilled.journey import write_frame
from attar.errors import ArtefactError, AttarError, EvaluationError
from attar.evaluation.result import Evaluation
from attar.evaluation.rows import make_row
from attar.images import ArraySource
from attar.report.arguments import tell_apart
from attar.report.charts import SECONDS, Value, scatter, show_bytes, show_seconds
from attar.report.evidence import confidences, gather_evidence, most_frequent_wrong, nearest_rows
from attar.report.gallery import by_class, distinct
from attar.report.results import read_results, worst_pairs
from attar.report.thumbnails import LARGE, TILES, Look, encoded, pick_look, webp
from attar.run import Run
from small import CLASSES, manifest, small_backbone

LABELS = np.arange(3).repeat(2)


def noise(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def make_set(path: Path, images: np.ndarray | None = None, classes=CLASSES, **changes):
    images = noise(6, 7) if images is None else images
    about = manifest(classes, image_side=images.shape[-1], **changes)
    return write(path, images, LABELS, manifest=about, sources=["", "=evil", *"abcd"])


def document(page: Path, name: str):
    """What a JSON element of the page holds."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1])


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).transpose(2, 0, 1)


def evaluation(right: tuple[int, ...] = (9, 5)) -> Evaluation:
    labels = np.arange(12) % 3
    rows = tuple(
        make_row(
            [[np.where(np.arange(12) < number, labels, (labels + 1) % 3)]],
            labels,
            3,
            method=method,
            set="a.attar" if place == 0 else method,
            distilled_on=("small",) if place == 0 else (),
            evaluated_on="small",
            protocol="probe-v1",
            table="probe-v1",
            ipc=2,
            seeds={},
            bytes=1000 * (place + 1),
            teacher=None,
            own=place == 0,
            beside_ipc=None,
        )
        for place, (number, method) in enumerate(zip(right, ("sfm", "random"), strict=True))
    )
    about = {"classes": list(CLASSES), "sets": {"a.attar": {"seconds": 90.0}}, "test": {"name": "pets/val"}}
    return Evaluation(rows, labels, ("n/a: <full>.",), about=about)


def test_the_page_is_one_file_and_holds_the_images_of_the_set(tmp_path):
    images = noise(6, 7)
    page = attar.write_report([make_set(tmp_path / "a.attar", images)], out=tmp_path / "report")
    assert [file.name for file in page.parent.iterdir()] == ["index.html"]
    (details,) = document(page, "details")
    for number, image in enumerate(images):
        np.testing.assert_array_equal(pixels(details["large"][number]), image)  # lossless: there is room
    assert details["labels"] == LABELS.tolist() and details["sources"][1] == "'=evil"
    assert details["files"][5] == "images/cow/cow-1.png" and details["evidence"] is None
    assert "write the page with --train IMAGES and --backbone NAME" in page.read_text()


def test_names_of_classes_stay_text(tmp_path):
    evil = ("</script><script>alert(1)</script>", "<!--<script>", '"&\u2028')
    one = make_set(tmp_path / "a.attar", classes=evil, titles=evil)
    text = attar.write_report([one], out=tmp_path, title="<b>").read_text()
    assert "<script>alert" not in text and "<b>" not in text and "<!--" not in text
    assert html.escape(evil[0]) in text
    (details,) = document(tmp_path / "index.html", "details")
    assert tuple(details["titles"]) == evil


def test_nothing_in_the_page_may_be_fetched_and_only_its_own_scripts_run(tmp_path):
    text = attar.write_report([make_set(tmp_path / "a.attar")], out=tmp_path).read_text()
    policy = html.unescape(re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1])
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    assert len(re.findall(r"'sha256-[^']{44}'", policy)) == 4
    assert not re.search(r"https?://|\ssrc=|\son[a-z]+=|\sstyle=|@import|url\(", text)


def test_frames_of_the_run_become_a_strip_for_each_image(tmp_path):
    one, run = make_set(tmp_path / "a.attar"), Run.beside(tmp_path / "a.attar")
    greys = (20, 120, 220)
    for step, grey in zip((0, 7, 30), greys, strict=True):
        write_frame(run.journey, step, np.full((6, 3, 16, 16), grey, dtype=np.uint8))
    (details,) = document(attar.write_report([one], out=tmp_path), "details")
    assert details["journey"]["steps"] == [0, 7, 30] and len(details["journey"]["strips"]) == 6
    strip = pixels(details["journey"]["strips"][4]).astype(int)
    assert strip.shape == (3, 16, 48)
    for place, grey in enumerate(greys):
        assert abs(strip[:, :, 16 * place + 4 : 16 * place + 12] - grey).max() < 6


def test_frames_of_another_set_are_left_out(tmp_path):
    one = make_set(tmp_path / "a.attar")
    write_frame(Run.beside(one.path).journey, 1, noise(7, 8))
    assert document(attar.write_report([one], out=tmp_path), "details")[0]["journey"] is None


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


def test_each_table_names_its_protocol_and_says_what_the_evaluation_says(tmp_path):
    found = evaluation()
    text = attar.write_report(evaluations=[found], out=tmp_path).read_text()
    assert "Protocol probe-v1, network small, 12 test images" in text
    row = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", text[text.index("<tbody>") : text.index("</tbody>")]))
    assert row.split() == ["sfm", "a.attar", "small", "2", "75.0", "1,000", "random", "small", "2", "41.7", "2,000"]
    (_, _, difference), *_ = found.differences()
    assert f"{difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f}): {difference.verdict}" in text
    assert "n/a: &lt;full&gt;." in text and "pets/val" in text


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


def test_a_class_without_test_images_has_no_accuracy(tmp_path):
    told = evaluation().as_json()
    told["rows"][0]["per_class"][1] = float("nan")
    (tmp_path / "results.json").write_text(json.dumps(told))
    page = attar.write_report(evaluations=[tmp_path], out=tmp_path)
    assert document(page, "rows")[0]["classes"][1] is None


def test_classes_of_an_evaluation_are_called_by_the_titles_of_the_sets(tmp_path):
    one = make_set(tmp_path / "a.attar", titles=["Ameise", "Biene", "Kuh"])
    page = attar.write_report([one], evaluations=[evaluation()], out=tmp_path)
    assert document(page, "rows")[0]["titles"] == ["Ameise", "Biene", "Kuh"]


def test_the_worst_pairs_are_those_with_the_largest_share_of_their_class():
    confusion = np.array([[90, 10, 0], [1, 7, 2], [0, 5, 5]])
    worst = worst_pairs(confusion, ["a", "b", "c"])
    assert worst == [("c", "b", 50.0, 5), ("b", "c", 20.0, 2), ("a", "b", 10.0, 10), ("b", "a", 10.0, 1)]


def test_more_than_thirty_classes_leave_the_matrix_out(tmp_path):
    labels = np.arange(62) % 31
    about = {"method": "sfm", "set": "a", "distilled_on": ("s",), "evaluated_on": "s", "protocol": "p", "table": "p"}
    about |= {"ipc": 1, "seeds": {}, "bytes": None, "teacher": None, "own": True, "beside_ipc": None}
    row = make_row([[(labels + 1) % 31]], labels, 31, **about)
    names = [str(number) for number in range(31)]
    page = attar.write_report(evaluations=[Evaluation((row,), labels, (), about={"classes": names})], out=tmp_path)
    (told,) = document(page, "rows")
    assert told["matrix"] is None and len(told["worst"]) == 20 and told["worst"][0] == ["0", "1", 100.0, 2]


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


def test_nearest_rows_do_not_depend_on_how_many_are_looked_at_together(monkeypatch):
    random = np.random.default_rng(1)
    rows, real = random.normal(size=(3, 5)), random.normal(size=(23, 5))
    whole = nearest_rows(rows, real, 3)
    monkeypatch.setattr("attar.report.evidence._AT_ONCE", 7)
    for one, other in zip(nearest_rows(rows, real, 3), whole, strict=True):
        np.testing.assert_array_equal(one, other)


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


def test_training_images_of_other_classes_are_refused(tmp_path):
    train = ArraySource(noise(4, 8).transpose(0, 2, 3, 1), np.arange(4) % 2, ("ant", "bee"))
    with pytest.raises(EvaluationError, match="not of the classes"):
        gather_evidence(make_set(tmp_path / "a.attar"), train, small_backbone())


def test_a_look_that_fits_the_budget_is_picked_and_kept_to():
    images = noise(40, 64)
    full = sum(map(len, encoded(images, LARGE[0])))
    assert pick_look(images, LARGE, 2 * full) == LARGE[0]
    smaller = pick_look(images, LARGE, full // 4)
    assert smaller != LARGE[0] and sum(map(len, encoded(images, smaller))) <= full // 4
    assert pick_look(images, TILES, 1) == TILES[-1]


def test_thumbnails_are_never_enlarged():
    assert pixels(webp(noise(1, 7)[0], Look(128, 80))).shape == (3, 7, 7)
    assert pixels(webp(noise(1, 21)[0][:, :14], Look(7, 80))).shape == (3, 7, 10)


def test_classes_of_several_sets_stand_together_by_name(tmp_path):
    first = make_set(tmp_path / "a.attar", titles=["Ant", "Bee", "Cow"])
    second = make_set(tmp_path / "b.attar", classes=("cow", "dog", "ant"))
    found = by_class([first, second])
    assert [(each["name"], each["title"]) for each in found] == [
        ("ant", "Ant"),
        ("bee", "Bee"),
        ("cow", "Cow"),
        ("dog", "dog"),
    ]
    assert [each["images"] for each in found] == [[[0, 1], [4, 5]], [[2, 3], []], [[4, 5], [0, 1]], [[], [2, 3]]]
    assert distinct(["a", "b", "a"]) == ["a", "b", "a (2)"]


def test_points_lie_where_their_numbers_say_and_their_labels_apart():
    plot = scatter([Value(10.0, 50.0, (40.0, 60.0)), Value(1000.0, 50.0), Value(1000.0, 51.0)], SECONDS)
    first, second, third = plot.marks
    assert first.x < second.x == third.x and third.y < second.y == first.y
    assert first.low - first.y == pytest.approx(first.y - first.high) and second.low is None
    assert abs(second.label[1] - third.label[1]) >= 15
    ticks = {text: place for place, text in plot.x_ticks}
    assert ticks["10 s"] == pytest.approx(first.x, abs=0.1)
    assert 2 <= len(plot.x_ticks) <= 7


def test_numbers_are_written_in_the_unit_that_fits():
    assert [show_bytes(value) for value in (999.0, 12.3e3, 4.56e6, 7e12)] == ["999 B", "12.3 kB", "4.56 MB", "7 TB"]
    assert [show_seconds(value) for value in (0.25, 90.0, 7200.0)] == ["0.25 s", "1.5 min", "2 h"]


def test_paths_are_told_apart(tmp_path):
    one = make_set(tmp_path / "a.attar")
    Run.begin(one.path, {"steps": 1})
    Run.begin(tmp_path / "b.attar", {"steps": 1})
    (tmp_path / "results.json").write_text("{}")
    given = tell_apart([one.path, Run.beside(one.path).folder, tmp_path / "b.attar.run", tmp_path])
    assert [each.path for each in given.sets] == [one.path]  # the run is of the same set
    assert [run.folder.name for run in given.runs] == ["b.attar.run"] and given.evaluations == [tmp_path]
    with pytest.raises(ArtefactError, match="no distilled set, no run and no evaluation"):
        tell_apart([tmp_path / "nowhere"])


def test_nothing_is_refused(tmp_path):
    with pytest.raises(AttarError, match="nothing to report"):
        attar.write_report(out=tmp_path)

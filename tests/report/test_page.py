"""What the page says is what the sets, the runs, the evaluations and the real images say."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import attar
from attar.distilled import write
from attar.errors import AttarError, SettingsError
from attar.evaluation.result import Evaluation
from attar.evaluation.rows import make_row
from attar.images import ArraySource
from attar.progress import Progress
from attar.report.gallery import images_by_class
from attar.report.thumbnails import LARGE, TILES, Look, encoded, fitted, pick_look, webp
from small import CLASSES, manifest, small_backbone

LABELS = np.arange(3).repeat(2)


def noise(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def make_set(path: Path, images: np.ndarray | None = None, classes=CLASSES, **changes):
    images = noise(6, 7) if images is None else images
    about = manifest(classes, image_side=images.shape[-1], **changes)
    return write(path, images, LABELS, manifest=about, sources=["", "=evil", *"abcd"])


class Notes(Progress):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


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
    assert details["sources"][1] == "'=evil"
    assert details["files"][5] == "images/cow/cow-1.png" and details["evidence"] is None
    assert "write the page with --train IMAGES and --backbone NAME" in page.read_text()


def test_names_of_classes_stay_text(tmp_path):
    evil = ("</script><script>alert(1)</script>", "<!--<script>", '"&\u2028')
    one = make_set(tmp_path / "a.attar", classes=evil, titles=evil)
    text = attar.write_report([one], out=tmp_path, title="<b>").read_text()
    assert "<script>alert" not in text and "<b>" not in text and "<!--" not in text
    assert html.escape(evil[0]) in text


def test_a_page_of_somebody_else_is_kept(tmp_path):
    one = make_set(tmp_path / "a.attar")
    page = tmp_path / "index.html"
    page.write_text("my site")
    with pytest.raises(SettingsError, match="is no page of attar's"):
        attar.write_report([one], out=tmp_path)
    assert page.read_text() == "my site"
    page.unlink()
    attar.write_report([one], out=tmp_path)
    assert "<title>again" in attar.write_report([one], out=tmp_path, title="again").read_text()


def test_large_pictures_are_left_out_where_even_the_smallest_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("attar.report.gallery._LARGE", 10)
    monkeypatch.setattr("attar.report.gallery._TILES", 10)
    page = attar.write_report([make_set(tmp_path / "a.attar", noise(6, 101))], out=tmp_path)
    (details,) = document(page, "details")
    assert details["large"] is None and (details["shown"], details["side"]) == (48, 101)


def test_colours_are_plain_first_for_browsers_without_light_dark():
    style = (resources.files("attar.report") / "page" / "style.css").read_text()
    both = re.search(r"@supports \(color: light-dark\(#000, #fff\)\) \{.*?\n\}", style, re.DOTALL)[0]
    plain = style.replace(both, "")
    assert "light-dark" not in plain
    assert set(re.findall(r"var\((--[a-z-]+)\)", style)) <= set(re.findall(r"^  (--[a-z-]+): #", plain, re.MULTILINE))


def test_a_backbone_without_a_set_is_told(tmp_path):
    notes = Notes()
    train = ArraySource(noise(4, 8).transpose(0, 2, 3, 1), np.arange(4) % 2, ("ant", "bee"))
    for given in ({"backbone": small_backbone(), "train": train}, {"backbone": small_backbone()}):
        attar.write_report(evaluations=[evaluation()], out=tmp_path, device="cpu", progress=notes, **given)
    assert notes.told == ["Nearest images and confidences: n/a, they are of a set's images, and no set is given."] * 2


def test_nothing_in_the_page_may_be_fetched_and_only_its_own_scripts_run(tmp_path):
    text = attar.write_report([make_set(tmp_path / "a.attar")], out=tmp_path).read_text()
    policy = html.unescape(re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1])
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    assert len(re.findall(r"'sha256-[^']{44}'", policy)) == 4
    assert not re.search(r"https?://|\ssrc=|\son[a-z]+=|\sstyle=|@import|url\(", text)


def test_each_table_names_its_protocol_and_says_what_the_evaluation_says(tmp_path):
    found = evaluation()
    text = attar.write_report(evaluations=[found], out=tmp_path).read_text()
    assert "Protocol probe-v1, network small, 12 test images" in text
    row = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", text[text.index("<tbody>") : text.index("</tbody>")]))
    assert row.split() == ["sfm", "75.0", "2", "1,000", "a.attar", "random", "41.7", "2", "2,000"]
    (_, _, difference), *_ = found.differences()
    assert f"{difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f}): {difference.verdict}" in text
    assert "n/a: &lt;full&gt;." in text and "pets/val" in text


def test_a_set_that_real_images_beat_is_said_to_be_beaten_and_names_are_explained(tmp_path):
    beaten = evaluation((2, 11))
    assert beaten.verdicts == ("Real images beat a.attar on small: random 91.7 against 16.7 (probe-v1).",)
    text = attar.write_report(evaluations=[beaten], out=tmp_path).read_text()
    assert f'<p class="verdict">{beaten.verdicts[0]}</p>' in text and f'<p class="note">{beaten.legends[0]}</p>' in text
    assert evaluation((11, 2)).verdicts == ()


def test_a_page_is_not_written_into_a_set(tmp_path):
    one = make_set(tmp_path / "a.attar")
    with pytest.raises(SettingsError, match="is a distilled set"):
        attar.write_report([one], out=one.path)
    one.verify()


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


def test_more_than_thirty_classes_leave_the_matrix_out(tmp_path):
    labels = np.arange(62) % 31
    about = {"method": "sfm", "set": "a", "distilled_on": ("s",), "evaluated_on": "s", "protocol": "p", "table": "p"}
    about |= {"ipc": 1, "seeds": {}, "bytes": None, "teacher": None, "own": True, "beside_ipc": None}
    row = make_row([[(labels + 1) % 31]], labels, 31, **about)
    names = [str(number) for number in range(31)]
    page = attar.write_report(evaluations=[Evaluation((row,), labels, (), about={"classes": names})], out=tmp_path)
    (told,) = document(page, "rows")
    assert told["matrix"] is None and len(told["worst"]) == 20 and told["worst"][0] == ["0", "1", 100.0, 2]


def test_a_look_that_fits_the_budget_is_picked_and_kept_to():
    images = noise(40, 64)
    full = sum(map(len, encoded(images, LARGE[0])))
    assert pick_look(images, LARGE, 2 * full) == LARGE[0]
    smaller = pick_look(images, LARGE, full // 4)
    assert smaller != LARGE[0] and sum(map(len, encoded(images, smaller))) <= full // 4
    assert pick_look(images, TILES, 1) is None
    assert fitted(images, TILES, 1) == encoded(images, TILES[-1])


def test_thumbnails_are_never_enlarged():
    assert pixels(webp(noise(1, 7)[0], Look(128, 80))).shape == (3, 7, 7)
    assert pixels(webp(noise(1, 21)[0][:, :14], Look(7, 80))).shape == (3, 7, 10)


def test_classes_of_several_sets_stand_together_by_name(tmp_path):
    first = make_set(tmp_path / "a.attar", titles=["Ant", "Bee", "Cow"])
    second = make_set(tmp_path / "b.attar", classes=("cow", "dog", "ant"))
    found = images_by_class([first, second])
    assert [(each["name"], each["title"]) for each in found] == [
        ("ant", "Ant"),
        ("bee", "Bee"),
        ("cow", "Cow"),
        ("dog", "dog"),
    ]
    assert [each["images"] for each in found] == [[[0, 1], [4, 5]], [[2, 3], []], [[4, 5], [0, 1]], [[], [2, 3]]]


def test_nothing_is_refused(tmp_path):
    with pytest.raises(AttarError, match="nothing to report"):
        attar.write_report(out=tmp_path)


def test_runs_are_runs_and_a_folder_is_no_page(tmp_path):
    (tmp_path / "index.html").mkdir()
    with pytest.raises(SettingsError, match="is a folder"):
        attar.write_report([make_set(tmp_path / "a.attar")], out=tmp_path)

"""What notebooks show: text stays text, nothing is fetched, and what is missing is said."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import attar
import attar.distilled as distilled
from attar.distilled import Manifest, Origin
from attar.evaluation.matrix import matrix
from attar.evaluation.result import Evaluation
from attar.evaluation.rows import make_row
from attar.html import note, picture, sparkline, table, thumbnail
from attar.run import Run

HOSTILE = "<script>alert(1)</script>\"'&"
VOID = {"img", "polyline", "br"}


class Page(HTMLParser):
    """Elements and text of a fragment; complains of tags that don't close what is open."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def checked(html: str) -> Page:
    """The page, which runs nothing and fetches nothing."""
    page = Page(html)
    assert not {"script", "style", "iframe", "object", "link"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert re.fullmatch("[a-zA-Z-]+", name)  # else a value has ended before its time
        assert name not in ("src", "href") or str(value).startswith("data:image/webp;base64,")
        assert "url(" not in str(value)
    return page


def made(folder, images, labels, titles):
    manifest = Manifest(
        attar_version="0",
        created="2026",
        method="sfm",
        classes=[str(number) for number in range(len(titles))],
        titles=list(titles),
        folders=[],
        ipc=len(labels) // len(titles),
        image_side=images.shape[-1],
        settings={"lr": 0.01, "note": HOSTILE},
        seeds={"distill": 7},
        backbones=[Origin(name=HOSTILE, fingerprint="f")],
        data=Origin(name=HOSTILE, fingerprint="f"),
        train_images=100,
        scores={},
        files={},
    )
    return distilled.write(folder, images, np.array(labels), manifest=manifest)


def noise(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def evaluation(backbones=("small",)):
    labels = np.array([0, 1, 2] * 7)
    rows = [
        make_row(
            [[np.where(np.arange(21) < right, labels, 3 - labels)] for right in rights],
            labels,
            4,
            method=method,
            set=HOSTILE,
            distilled_on=("small",) if method == "sfm" else (),
            evaluated_on=backbone,
            protocol="probe-v1",
            table="probe-v1",
            ipc=1,
            seeds={},
            bytes=1234,
            teacher=None,
            own=method == "sfm",
            beside_ipc=None,
        )
        for backbone in backbones
        for method, rights in (("sfm", (18, 19)), ("random", (7, 9)), ("full", (21,)))
    ]
    return Evaluation(tuple(rows), labels, (f"Remember {HOSTILE}",))


def test_a_set_shows_its_images_by_class_and_what_it_is(tmp_path):
    small = made(tmp_path / "s.attar", noise(6, 11), [0, 0, 1, 1, 2, 2], ["cat", "dog", "owl"])

    page = checked(small._repr_html_())

    assert page.tags.count("img") == 6
    for word in ("cat", "dog", "owl", "sfm", "3 classes, 2 images a class", f"{small.bytes:,} bytes", "0.01"):
        assert word in page.text
    assert "more" not in page.text
    assert repr(small) == f"<DistilledSet {tmp_path / 's.attar'}: {small.manifest.ipc} x 3 images of 11 px by sfm>"


def test_names_from_anywhere_stay_text(tmp_path):
    small = made(tmp_path / "s.attar", noise(2, 5), [0, 1], [HOSTILE, "dog"])
    one, two = evaluation((HOSTILE,)), evaluation(("a", HOSTILE))

    for html in (small._repr_html_(), one._repr_html_(), two._repr_html_(), note(HOSTILE)):
        assert HOSTILE in checked(html).text
    assert f"probe-v1 on {HOSTILE}" in checked(one._repr_html_()).text
    assert f"Remember {HOSTILE}" in checked(one._repr_html_()).text


@pytest.mark.parametrize(("classes", "ipc", "shown"), [(2, 53, 50), (53, 1, 50), (7, 11, 49), (20, 1, 20)])
def test_large_sets_show_fifty_images_in_less_than_300_kb(tmp_path, classes, ipc, shown):
    titles = [f"class {number}" for number in range(classes)]
    labels = [label for label in range(classes) for _ in range(ipc)]
    small = made(tmp_path / "s.attar", noise(classes * ipc, 224 if shown == 20 else 101), labels, titles)

    html = small._repr_html_()

    assert len(html) < 300_000  # noise packs worse than any picture
    page = checked(html)
    assert page.tags.count("img") == shown
    if shown < classes * ipc:
        assert f"{shown} images are shown; there are {classes * ipc - shown} more." in page.text


@pytest.mark.parametrize("lost", ["images/0/0-0.png", "images/metadata.csv"])
def test_a_set_that_lost_a_file_says_so(tmp_path, lost):
    small = made(tmp_path / "s.attar", noise(2, 5), [0, 1], ["cat", "dog"])
    (small.path / lost).unlink()

    assert lost in checked(attar.DistilledSet(small.path, small.manifest)._repr_html_()).text


def test_a_run_shows_the_curve_the_last_figures_and_the_last_picture(tmp_path):
    run = Run(tmp_path / "s.attar.run")
    run.pictures.mkdir(parents=True)
    (run.folder / "settings.toml").write_text('lr = 0.01\nmethod = "sfm"\n')
    for step, loss in enumerate((4.0, 2.5, 1.25)):
        run.log(step * 10, {"loss": loss, "cosine": 0.5})
    with (run.folder / "log.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')  # a kill cut it
    small = made(tmp_path / "s.attar", noise(2, 5), [0, 1], ["cat", "dog"])
    (small.path / "preview.png").rename(run.pictures / "step-000020.png")

    page = checked(run._repr_html_())

    assert "step 20, loss 1.25, cosine 0.5" in page.text
    assert "loss: 4 at the start, 1.25 at the end" in page.text
    assert ("alt", "step-000020") in page.attributes
    assert "sfm" in page.text


def test_a_run_without_files_says_so_in_words(tmp_path):
    text = checked(Run(tmp_path / "none.run")._repr_html_()).text
    for word in ("no step was logged yet", "No curve", "no picture"):
        assert word in text


def test_a_damaged_run_is_shown_all_the_same(tmp_path):
    run = Run(tmp_path / "s.run")
    run.pictures.mkdir(parents=True)
    (run.folder / "settings.toml").write_bytes(b"\xff = [")
    (run.folder / "log.jsonl").write_bytes(b'\xff{\n{"step": "three"}\n{"step": 1, "loss": "x"}\n[]\n')
    (run.pictures / "step-000001.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")

    text = checked(run._repr_html_()).text

    assert "settings.toml is damaged" in text
    assert "step-000001.png can't be shown" in text


def test_an_evaluation_shows_rows_with_protocol_and_interval_and_the_verdicts():
    found = evaluation()
    (_, _, gain), *_ = found.differences()

    text = re.sub(r"\s+", " ", checked(found._repr_html_()).text)

    assert "probe-v1 on small, 21 test images" in text
    row = found.row("sfm", "probe-v1")
    assert f"{row.accuracy:.1f} {row.std:.1f} {row.ci95[0]:.1f} to {row.ci95[1]:.1f} {found.gap(row):.2f} 1,234" in text
    assert repr(found) == "<Evaluation of 3 rows: probe-v1 on small>"
    assert f"random probe-v1 small above {gain.mean:+.1f} {gain.low:+.1f} to {gain.high:+.1f}" in text


def test_several_backbones_make_a_matrix():
    found = evaluation(("small", "large"))
    shown = matrix(found, "probe-v1")

    assert shown._repr_html_() in found._repr_html_()
    text = re.sub(r"\s+", " ", checked(shown._repr_html_()).text)
    assert "method small large own others worst" in text
    assert f"sfm on small {found.rows[0].accuracy:.1f}" in text


def test_a_curve_goes_from_the_first_value_to_the_last():
    html = sparkline([3.0, float("nan"), 1.0, 2.0], "loss")
    points = [tuple(map(float, pair.split(","))) for pair in re.search('points="(.*?)"', html)[1].split()]

    assert [x for x, _ in points] == [0, 120, 240]
    assert points[0][1] < points[2][1] < points[1][1]  # down the page is less
    assert points[2][1] == pytest.approx((points[0][1] + points[1][1]) / 2)
    assert len(sparkline(np.sin(np.arange(10_000)).tolist(), "loss")) < 4000
    assert "No curve" in sparkline([1.0], "loss")


def test_small_pictures_keep_their_pixels_and_large_ones_are_scaled():
    assert "pixelated" in thumbnail(noise(1, 8)[0], 64, "eight")
    assert "pixelated" not in thumbnail(noise(1, 101)[0], 64, "many")


def test_a_table_refuses_rows_of_another_length():
    with pytest.raises(ValueError, match="zip"):
        table(("a", "b"), [("1",)], caption="short")


def test_a_picture_that_is_gone_is_a_sentence(tmp_path):
    assert checked(picture(tmp_path / "gone.png")).text.strip() == "gone.png can't be shown."

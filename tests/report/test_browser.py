"""The page in a browser: keys, screen readers, sorting, search, phones, print, hostile names, a thousand classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from attar.distilled import write
from attar.distilled.journey import write_frame
from attar.images import ArraySource
from attar.report.page import write_report
from attar.run import Run
from report.test_page import LABELS, evaluation, noise
from small import CLASSES, manifest, small_backbone

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

EVIL = "</script><script>alert(1)</script>"
TITLES = ["Ant", "Bee " + EVIL, "Cow"]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium or google-chrome on PATH")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Two sets with journeys, evidence, an evaluation and an unfinished run."""
    folder = tmp_path_factory.mktemp("report")
    train = ArraySource(noise(12, 8, 3).transpose(0, 2, 3, 1), np.arange(12) % 3, CLASSES)
    about = manifest(CLASSES, TITLES, image_side=7)
    sets = [write(folder / name, noise(6, 7, seed), LABELS, manifest=about) for seed, name in enumerate("ab")]
    for run in (Run.begin(folder / "a", about.settings), Run.begin(folder / "c", {"steps": 9})):
        for step in (0, 5, 9):
            write_frame(run.journey, step, noise(6, 8, step))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ATTAR_CACHE", str(folder / "cache"))
        runs = [Run.beside(folder / "c")]
        return write_report(
            sets, runs, [evaluation()], out=folder, train=train, backbone=small_backbone(), device="cpu"
        )


@pytest.fixture
def visit(browser) -> Iterator:
    """Open a page in a context with the options given; nothing may be asked of a network, and nothing may go wrong."""
    contexts, asked, wrong = [], [], []

    def opened(path: Path, **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong and all(url.startswith(("file:", "data:")) for url in asked)


def until(page, expression: str) -> None:
    """Wait for it; the page's policy forbids Playwright's own way, which evaluates text in the page."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def violations(page) -> list[str]:
    return [f"{found['id']}: {found['nodes'][0]['html']}" for found in axe.Axe().run(page).response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend_also_with_the_dialog_open(visit, report, scheme: str):
    page = visit(report, color_scheme=scheme)
    assert violations(page) == []
    page.click(".tile >> nth=1")
    assert violations(page) == []


def test_the_colours_follow_the_button(visit, report):
    page = visit(report, color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) != light and page.inner_text("#theme") == "Light colours"
    assert violations(page) == []
    page.click("#theme")
    assert page.evaluate(paper) == light


def test_the_dialog_is_opened_turned_and_closed_by_keys(visit, report):
    page = visit(report)
    page.focus(".tile >> nth=0")
    page.keyboard.press("Enter")
    assert page.inner_text("#detail-title") == "Ant, 1 of 2, a"
    page.keyboard.press("ArrowLeft")  # there is none before
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#detail-title") == "Ant, 2 of 2, a"
    assert "images/ant/ant-1.png" in page.inner_text("#facts")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#detail-title") == "Ant, 1 of 2, b"
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Ant, 1 of 2, b"


def test_the_dialog_shows_neighbours_views_and_the_journey(visit, report):
    page = visit(report)
    page.click(".tile >> nth=0")
    assert page.locator("#neighbours li").count() == 3 and page.locator("#views li").count() == 20
    assert "centre crop" in page.locator("#views li").first.text_content()
    assert not page.locator("#lacking").is_visible()
    assert page.inner_text("#step") == "after step 9, frame 3 of 3"
    page.focus("#scrub")
    page.keyboard.press("ArrowLeft")  # moves the slider, not the dialog
    assert page.inner_text("#step") == "after step 5, frame 2 of 3"
    assert page.get_attribute("#scrub", "aria-valuetext") == "after step 5, frame 2 of 3"
    assert page.inner_text("#detail-title") == "Ant, 1 of 2, a"
    moved = page.evaluate("strip.getBoundingClientRect().left - frame.getBoundingClientRect().left")
    assert moved == pytest.approx(-page.evaluate("frame.clientWidth"), abs=1)
    page.keyboard.press("Escape")
    page.click(".tile >> nth=2")  # of the set without a journey
    assert not page.locator("#journey").is_visible()


def test_the_large_picture_is_the_image(visit, report):
    page = visit(report)
    page.click(".tile >> nth=0")
    until(page, "large.complete && large.naturalWidth > 0")
    drawn = page.evaluate(
        """() => { const canvas = document.createElement("canvas"); canvas.width = canvas.height = 7;
        const draw = canvas.getContext("2d"); draw.drawImage(large, 0, 0);
        return [...draw.getImageData(0, 0, 7, 7).data]; }"""
    )
    pixels = np.array(drawn).reshape(7, 7, 4)[:, :, :3].transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, noise(6, 7, 0)[0])


def test_sorting_changes_the_order_and_says_so(visit, report):
    page = visit(report)
    heading = page.locator(".sortable th", has_text="Accuracy")
    methods = page.locator(".sortable tbody th")
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending" and methods.all_inner_texts() == ["sfm", "random"]
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending" and methods.all_inner_texts() == ["random", "sfm"]
    page.locator(".sortable th", has_text="Method").locator("button").click()
    assert heading.get_attribute("aria-sort") is None and methods.all_inner_texts() == ["sfm", "random"]


def test_the_search_narrows_as_one_types_and_says_how_many_are_left(visit, report):
    page = visit(report)
    page.locator("#search").press_sequentially("CO")
    assert page.locator("#classes > li:visible h3").all_inner_texts() == ["Cow"]
    assert page.inner_text("#found") == "1 of 3 classes"
    page.fill("#search", "nobody")
    assert page.locator("#nothing").is_visible()
    page.fill("#search", "bee")  # a name, not a title alone
    assert page.locator("#classes > li:visible").count() == 1
    page.fill("#search", "")
    assert page.inner_text("#found") == "3 classes"


def test_one_set_or_all_side_by_side(visit, report):
    page = visit(report)
    assert page.locator(".tile:visible").count() == 12
    page.select_option("#view", label="b")
    assert page.locator(".tile:visible").count() == 6
    page.click(".tile:visible >> nth=1")
    page.keyboard.press("ArrowRight")  # turns within the set
    assert page.inner_text("#detail-title").endswith("1 of 2, b")


def test_names_that_are_markup_show_as_text(visit, report):
    page = visit(report)
    assert page.locator("#classes h3").nth(1).inner_text() == TITLES[1]
    page.click("#classes li >> nth=1 >> .tile >> nth=0")
    assert page.inner_text("#detail-title") == f"{TITLES[1]}, 1 of 2, a"
    assert TITLES[1] in page.inner_text("#bars") and TITLES[1] in page.inner_text("#confusion")


def test_classes_of_two_rows_stand_beside_each_other_in_the_order_chosen(visit, report):
    page = visit(report)
    page.select_option("#row-b", "1")
    page.select_option("#order", "worst")
    cells = """[...bars.tBodies[0].rows].map((row) =>
        [...row.cells].slice(1).map((cell) => parseFloat(cell.textContent) || 0))"""
    lines = page.evaluate(cells)
    expected = evaluation()
    assert sorted(lines) == sorted(
        [one, other, one - other] for one, other in zip(*(row.per_class for row in expected.rows), strict=True)
    )
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)
    page.select_option("#row-a", "1")
    percent = page.evaluate(cells.replace("bars", "confusion"))
    counts = expected.rows[1].confusion
    assert percent == (100 * counts / counts.sum(1, keepdims=True)).tolist()


def test_classes_of_one_title_are_told_apart_by_name_and_those_without_images_come_last(visit, tmp_path):
    told = evaluation().as_json()
    told["rows"][0]["per_class"] = [10.0, 20.0, float("nan")]
    told["rows"][1]["per_class"] = [30.0, 40.0, 50.0]
    (tmp_path / "results.json").write_text(json.dumps(told))
    one = write(
        tmp_path / "a", noise(6, 7), LABELS, manifest=manifest(CLASSES, ["Crane", "Crane", "Cow"], image_side=7)
    )
    page = visit(write_report([one], evaluations=[tmp_path], out=tmp_path))
    page.select_option("#row-b", "1")
    cells = "[...bars.tBodies[0].rows].map((row) => [...row.cells].slice(1).map((cell) => cell.textContent))"
    rising = [["10.0 %", "30.0 %", "-20.0"], ["20.0 %", "40.0 %", "-20.0"], ["n/a", "50.0 %", "n/a"]]
    page.select_option("#order", "worst")
    assert page.evaluate(cells) == rising
    page.select_option("#order", "best")
    assert page.evaluate(cells) == [rising[1], rising[0], rising[2]]


def test_a_phone_needs_no_scrolling_sideways(visit, report):
    page = visit(report, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.click(".tile >> nth=0")
    assert page.evaluate("detail.scrollWidth - detail.clientWidth") <= 0
    assert page.evaluate("detail.getBoundingClientRect().right") <= 360


def test_print_shows_every_picture_and_no_controls(visit, report):
    page = visit(report, viewport={"width": 600, "height": 40})
    waiting = "[...document.querySelectorAll('.tile img')].filter((image) => !image.src).length"
    page.emulate_media(media="print")
    until(page, f"{waiting} === 0")
    assert not page.locator("#theme").is_visible() and not page.locator("#search").is_visible()
    assert page.locator(".tile img >> visible=true").count() == 12


def test_the_frames_of_an_unfinished_run_are_scrubbed(visit, report):
    page = visit(report)
    box = page.locator(".journey[data-run]")
    before = box.locator("img").get_attribute("src")
    box.locator("input").focus()
    page.keyboard.press("Home")
    assert box.locator("output").inner_text() == "after step 0, frame 1 of 3"
    assert box.locator("img").get_attribute("src") not in (before, None)


def test_of_a_thousand_classes_only_those_near_the_screen_are_decoded(visit, tmp_path, monkeypatch):
    titles = [f"class {number}" for number in range(1000)]
    about = manifest(titles, image_side=8, ipc=1)
    images = noise(1000, 8)
    monkeypatch.setattr("attar.files.os.fsync", lambda descriptor: None)  # a thousand files would wait for the disk
    one = write(tmp_path / "a", images, np.arange(1000), manifest=about)
    page = visit(write_report([one], out=tmp_path))
    decoded = "[...document.querySelectorAll('.tile img')].filter((image) => image.src).length"
    until(page, f"{decoded} > 0")
    assert page.evaluate(decoded) < 200
    assert page.evaluate("document.querySelectorAll('.tile img')[999].src") == ""
    page.locator(".tile >> nth=999").scroll_into_view_if_needed()
    until(page, "document.querySelectorAll('.tile img')[999].naturalWidth === 8")
    assert page.evaluate(decoded) < 400

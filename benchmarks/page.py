"""The report page of 1000 classes: its size, and the seconds until a browser shows it.

    python benchmarks/page.py             # 1000 classes, an image of 224 px each, a journey of 10 frames

The pictures are random and smooth, as distilled images are: noise of 28 pixels a side, enlarged. Seconds run from the
navigation to the load of the page with the first pictures drawn, in headless Chromium; the median of 3. Needs
playwright and chromium (or google-chrome) on PATH.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import attar
from attar.distilled import DistilledSet, Manifest, Origin, write
from attar.distilled.journey import write_frame
from attar.run import Run
from bars import Bar, arguments, report

SIDE, FRAME_SIDE, FRAMES, TIMES = 224, 64, 10, 3
# Only pictures near the screen have a source; asking all of them where they lie would lay out the whole page.
_SHOWN = """() => {
    const asked = [...document.querySelectorAll(".tile img[src]")];
    return asked.length > 0 && asked.every((image) => image.complete && image.naturalWidth > 0);
}"""


def main() -> None:
    given = arguments(__doc__).parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium or google-chrome on PATH")
    classes = 100 if given.quick else 1000
    with tempfile.TemporaryDirectory() as folder:
        made = make_set(Path(folder), classes)
        started = time.perf_counter()
        page = attar.write_report([made], out=Path(folder) / "report")
        written = time.perf_counter() - started
        seconds = statistics.median(opening(browser, page) for _ in range(TIMES))
        size = page.stat().st_size / 1e6
    about = f"{classes} classes, an image of {SIDE} px each, {FRAMES} frames"
    bars = [
        Bar("page size", size, 30, "MB", f"{about}; written in {written:.0f} s"),
        Bar("page opens", seconds, 2, "s", f"{about}; median of {TIMES}"),
    ]
    report(bars, given.json)


def make_set(folder: Path, classes: int) -> DistilledSet:
    """Random pictures, and a journey from grey to them."""
    random = np.random.default_rng(0)
    images = np.stack([smooth(random) for _ in range(classes)])
    small = np.stack([resized(image, FRAME_SIDE) for image in images])
    run = Run.begin(folder / "thousand.attar", {})
    for step in range(FRAMES):
        share = step / (FRAMES - 1)
        write_frame(run.journey, 100 * step, (128 * (1 - share) + share * small).astype(np.uint8))
    names = [f"n{number:08d}" for number in range(classes)]
    manifest = Manifest(
        attar_version="0",
        created="",
        method="sfm",
        classes=names,
        titles=[f"class {number}" for number in range(classes)],
        folders=[],
        ipc=1,
        image_side=SIDE,
        settings={},
        seeds={"distill": 0},
        backbones=[Origin(name="none", fingerprint="")],
        data=Origin(name="random", fingerprint=""),
        train_images=0,
        scores={},
        files={},
    )
    return write(folder / "thousand.attar", images, np.arange(classes), manifest=manifest)


def smooth(random: np.random.Generator) -> np.ndarray:
    """A picture [3, 224, 224] of noise with 28 pixels a side."""
    return resized(random.integers(0, 256, (3, 28, 28), dtype=np.uint8), SIDE)


def resized(image: np.ndarray, side: int) -> np.ndarray:
    picture = Image.fromarray(image.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture).transpose(2, 0, 1)


def opening(browser: str, page: Path) -> float:
    """Seconds from the navigation until the page is loaded and the pictures in view are drawn."""
    with sync_playwright() as started:
        launched = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        view = launched.new_page(viewport={"width": 1280, "height": 800})
        begun = time.perf_counter()
        view.goto(page.as_uri())
        while not view.evaluate(_SHOWN):
            view.wait_for_timeout(10)
        seconds = time.perf_counter() - begun
        launched.close()
    return seconds


if __name__ == "__main__":
    main()

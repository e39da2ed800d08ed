"""Pictures of a report page for the docs: at a desk and on a phone, an image opened on each.

    python benchmarks/page_pictures.py report/index.html --out docs/pictures

Needs Chromium or Chrome on the path.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZES = {"report-desk": (1280, 900, "light"), "report-phone": (390, 844, "dark")}
HEIGHT = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="what attar report wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--image", type=int, default=0, help="which image to open")
    chosen = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if browser_path is None:
        parser.error("there is no Chromium on the path")
    chosen.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, (width, height, colours) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            page.goto(chosen.page.resolve().as_uri())
            _save([_shot(page), _opened(page, chosen.image)], chosen.out / f"{name}.jpg")
        browser.close()


def _opened(page: Page, number: int) -> Image.Image:
    page.locator(".tile").nth(number).click()
    return _shot(page)


def _shot(page: Page) -> Image.Image:
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _save(shots: list[Image.Image], path: Path) -> None:
    """The shots side by side."""
    small = [shot.resize((shot.width * HEIGHT // shot.height, HEIGHT), Image.Resampling.LANCZOS) for shot in shots]
    both = Image.new("RGB", (sum(shot.width for shot in small) + 12 * (len(small) - 1), HEIGHT), "grey")
    left = 0
    for shot in small:
        both.paste(shot, (left, 0))
        left += shot.width + 12
    both.save(path, quality=80)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""The documentation site builds without a warning, has no dead link, and fetches nothing from another host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import attar

ROOT = Path(__file__).parents[2]
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


class Page(HTMLParser):
    """The links of a page, what it fetches, the ids that links may point to, and its text."""

    def __init__(self, file: Path):
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        wanted = FETCHED.get(tag)
        if wanted in given and given.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(given[wanted])

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `mkdocs build --strict` makes it."""
    pytest.importorskip("material", reason="mkdocs-material isn't installed")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All pages by their file."""
    return {file: Page(file) for file in sorted(site.rglob("*.html"))}


def test_every_link_leads_to_a_page_and_an_anchor_that_exist(pages: dict[Path, Page]):
    missing = []
    for file, page in pages.items():
        if file.name == "404.html":
            continue  # its links begin at the root of whatever host shows it
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            known = target.is_file() and (not parts.fragment or unquote(parts.fragment) in pages[target].ids)
            missing += [] if known else [f"{file.name}: {link}"]
    assert not missing


def test_nothing_is_fetched_from_another_host(site: Path, pages: dict[Path, Page]):
    foreign = [f"{file.name}: {url}" for file, page in pages.items() for url in page.fetched if _is_foreign(url)]
    for file in site.rglob("*.css"):
        urls = re.findall(r"url\(\s*[\"']?([^)\"']+)|@import\s+[\"']([^\"']+)", file.read_text("utf-8"))
        foreign += [f"{file.name}: {url}" for pair in urls for url in pair if _is_foreign(url)]
    assert not foreign


def _is_foreign(url: str) -> bool:
    return urlsplit(url).scheme not in ("", "data") or url.startswith("//")


def test_every_public_name_has_a_place_in_the_reference(pages: dict[Path, Page]):
    anchors = {name for file, page in pages.items() if file.parent.name == "reference" for name in page.ids}
    assert not [name for name in attar.__all__ if f"attar.{name}" not in anchors]


def test_the_commands_page_shows_every_command_and_each_of_its_options(pages: dict[Path, Page]):
    from typer.main import get_command

    from attar.cli.main import app

    text = next(page.text for file, page in pages.items() if file.name == "cli.html")
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        help_text = text.split(f"Usage: attar {name} ")[1].split("Usage: attar")[0]
        options = [next(iter(sorted(option.opts, key=len, reverse=True))) for option in command.params]
        assert not [option for option in options if option.startswith("--") and option not in help_text], name


def test_the_settings_page_has_every_setting_with_its_default(site: Path):
    from attar.synthesis.settings import Settings

    html = (site / "reference" / "settings.html").read_text("utf-8")
    row = re.compile(r"<td><code>(\w+)</code></td>\n<td>[^\n]*</td>\n<td><code>([^\n]*)</code></td>")
    shown = dict(reversed(row.findall(html)))  # where two tables have a name, the first counts
    fields = Settings.model_fields.items()
    assert {name: str(field.default) for name, field in fields if name != "options"}.items() <= shown.items()


def test_examples_in_docstrings_are_code(pages: dict[Path, Page], site: Path):
    html = (site / "reference" / "backbones.html").read_text("utf-8")
    assert "dinov2_vits14" in html
    assert not [file.name for file in pages if "<blockquote>\n<blockquote>" in file.read_text("utf-8")]


def test_the_search_finds_a_method_and_a_setting(site: Path):
    entries = json.loads((site / "search" / "search_index.json").read_text("utf-8"))["docs"]
    for word in ("gradient matching", "w_mean"):
        assert any(word in entry["text"] for entry in entries)

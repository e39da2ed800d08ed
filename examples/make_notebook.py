"""docs/tutorial.md as a notebook: `python examples/make_notebook.py` writes examples/tutorial.ipynb.

Blocks of Python become cells of code, but those that show what was printed are left out after one: the notebook prints
it itself. All else becomes cells of text. The same page always gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "tutorial.md"
NOTEBOOK = HERE / "tutorial.ipynb"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)]+)\)")


def notebook(page: str, docs: str = "../docs") -> str:
    """The notebook of a Markdown page, as JSON; links that are relative to the page start at `docs`."""
    cells = [_cell(number, kind, text) for number, (kind, text) in enumerate(_parts(page, docs))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def _parts(page: str, docs: str) -> list[tuple[str, str]]:
    """("code" | "markdown", text) in the page's order; empty ones are left out."""
    parts, text, last = [], "", 0
    for block in _FENCE.finditer(page):
        between = page[last : block.start()]
        text, last = text + between, block.end()
        if block[1] == "python":
            parts += [("markdown", text), ("code", block[2])]
            text = ""
        elif block[1] == "text" and parts and parts[-1][0] == "code" and not text.strip():
            text = ""
        else:
            text += block[0]
    parts.append(("markdown", text + page[last:]))
    moved = [(kind, _moved(text, docs) if kind == "markdown" else text) for kind, text in parts]
    return [(kind, text.strip()) for kind, text in moved if text.strip()]


def _moved(text: str, docs: str) -> str:
    """`text` with links to pages and pictures as they are from the notebook's folder."""
    return _LINK.sub(lambda link: f"]({os.path.normpath(f'{docs}/{link[1]}')})", text)


def _cell(number: int, kind: str, text: str) -> dict[str, object]:
    cell = {"cell_type": kind, "id": f"tutorial-{number:02d}", "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    NOTEBOOK.write_text(notebook(PAGE.read_text()))
    print(NOTEBOOK)

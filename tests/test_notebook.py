"""examples/tutorial.ipynb is docs/tutorial.md, and runs from top to bottom."""

from __future__ import annotations

import importlib.util
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from docs.blocks import blocks

ROOT = Path(__file__).parents[1]
LAST = """
import json
print(json.dumps(result.as_json()))
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "examples" / "make_notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_notebook_is_what_the_script_makes_of_the_page(script):
    made = script.notebook(script.PAGE.read_text())
    assert script.NOTEBOOK.read_text() == made, "run `python examples/make_notebook.py`"


def test_the_notebook_is_valid_and_holds_every_block_of_the_page(script):
    nbformat = pytest.importorskip("nbformat")
    found = nbformat.reads(script.NOTEBOOK.read_text(), as_version=4)
    nbformat.validate(found)
    code = [cell.source for cell in found.cells if cell.cell_type == "code"]
    assert len(code) == script.PAGE.read_text().count("```python\n")
    assert not any(cell.get("outputs") for cell in found.cells)


def test_code_becomes_cells_and_what_it_printed_is_left_to_them(script):
    kept = "Words.\n\n```bash\nattar demo\n```\n\n```text\nkept\n```"
    page = f"# Title\n\n```python\nx = 1\n```\n\n```text\n1\n```\n\n{kept}\n"
    cells = json.loads(script.notebook(page))["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == [
        ("markdown", "# Title"),
        ("code", "x = 1"),
        ("markdown", kept),
    ]


def test_links_lead_from_the_notebook_to_the_page_s_neighbours(script):
    page = "[a](how-to/x.md#y) ![b](pictures/z.png) [c](../README.md) [d](https://e.org/f) [g](#here)\n"
    (cell,) = json.loads(script.notebook(page))["cells"]
    assert "".join(cell["source"]) == (
        "[a](../docs/how-to/x.md#y) ![b](../docs/pictures/z.png) [c](../README.md) [d](https://e.org/f) [g](#here)"
    )


def test_links_of_the_stored_notebook_lead_to_files(script):
    cells = json.loads(script.NOTEBOOK.read_text())["cells"]
    text = "".join(line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"])
    links = [link[1].partition("#")[0] for link in script._LINK.finditer(text)]
    assert len(links) > 5
    assert [link for link in links if not (script.NOTEBOOK.parent / link).is_file()] == []


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def on_any_machine(text):
    """`text` without what is measured: numbers with a fraction or thousands, and the blanks before them."""
    return re.sub(r" *[+-]?\d+(\.\d+|(,\d{3})+)", " #", text).strip()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # of the kernel's own packages
def test_the_notebook_prints_what_the_page_shows_and_its_digits_beat_random_ones(script, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("ATTAR_CACHE", str(tmp_path / "cache"))
    found = nbformat.reads(script.NOTEBOOK.read_text(), as_version=4)
    found.cells.append(nbformat.v4.new_code_cell(LAST))

    nbclient.NotebookClient(found, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    *code, last = [cell for cell in found.cells if cell.cell_type == "code"]
    shown = [output.data for cell in code for output in cell.outputs if output.output_type == "execute_result"]
    assert sum("text/html" in data for data in shown) == 3  # the set, the evaluation, the rival
    assert "image/png" in shown[0]
    page = blocks(script.PAGE)
    cells = dict(zip((block for block in page if block.language == "python"), code, strict=True))
    pairs = [(printed(cells[before]), block.text) for before, block in pairwise(page) if block.language == "text"]
    assert len(pairs) == 8
    assert [on_any_machine(text) for text, _ in pairs] == [on_any_machine(text) for _, text in pairs]
    told = json.loads(printed(last))
    accuracy = {row["method"]: row["accuracy"] for row in told["rows"]}
    assert 75 < accuracy["sfm"] < accuracy["full"] < 100
    (against,) = [each for each in told["differences"] if each["against"] == "random"]
    assert against["verdict"] == "above"


def test_only_what_is_measured_may_differ_from_the_page():
    text = "sfm  probe-v1  87.4   -1.3  (+19.8 to -2): 10 of 23,108 bytes\n"
    assert on_any_machine(text) == "sfm  probe-v1 # #  ( # to -2): 10 of # bytes"

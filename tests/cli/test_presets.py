"""`attar presets` lists what `attar distill --preset` takes."""

from __future__ import annotations

import json
import subprocess
import sys

from attar.synthesis import PRESETS, choose_settings

NETWORK = ("--backbone", "py:small:network", "--weights", "random", "--device", "cpu")


def test_the_table_names_each_preset_with_method_steps_and_views(attar):
    code, shown, err = attar("presets")
    cells = [[cell.strip() for cell in line.split("│")[1:5]] for line in shown.splitlines() if line.startswith("│")]
    rows = {row[0]: row[1:] for row in cells if row[0]}
    assert code == 0 and not err and rows.keys() == PRESETS.keys()
    assert rows["attar"] == ["any", "2000", "1"] and rows["paper"] == ["any", "5001", "1, lgm 10"]
    assert rows["lgm-imagenet-1k"] == ["lgm", "5001", "3"]
    assert "mocov3_vitb16 63.2 %" in shown and "top-1 by lgm-probe unknown" in shown


def test_json_has_all_settings_and_figures(attar):
    code, shown, _ = attar("presets", "--json")
    rows = {row["name"]: row for row in json.loads(shown)["presets"]}
    assert code == 0 and [*rows] == [*PRESETS]
    for name, row in rows.items():
        assert row["settings"] == choose_settings(name).flat() and row["method"] == PRESETS[name].method
    assert rows["paper"]["by_method"]["lgm"]["views"] == 10 and rows["paper"]["published"] is None
    published = rows["lgm-imagenet-100"]["published"]
    assert published["accuracy"]["eva02_vitb14"] == 89.0 and published["hours"] is None and published["ipc"] == 1


def test_help_is_shown_without_torch():
    code = (
        "import sys\nfrom attar.cli.main import app\napp(['presets', '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'numpy', 'timm'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "attar presets" in done.stdout


def test_another_method_than_the_presets_is_one_sentence(attar, train, tmp_path):
    out = tmp_path / "x.attar"
    code, _, err = attar("distill", train, *NETWORK, "--preset", "lgm-imagenet-100", "--method", "centroids", "-o", out)
    assert code == 2 and not out.exists()
    assert err.startswith("attar: Preset lgm-imagenet-100 is of method lgm, not centroids.\n")


def test_a_preset_of_a_paper_distils_with_its_method(attar, train, tmp_path):
    out = tmp_path / "x.attar"
    code, shown, _ = attar(
        "distill", train, *NETWORK, "--preset", "lgm-imagenet-1k", "--steps", 2, "-o", out, "--json"
    )  # fmt: skip
    made = json.loads(shown)["sets"][0]
    assert code == 0 and made["method"] == "lgm"
    assert (made["settings"]["views"], made["settings"]["real"]) == (3, "batch")

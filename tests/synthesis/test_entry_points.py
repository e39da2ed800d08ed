"""Objectives of other packages: found by their entry point, run by the same loop, and one sentence where broken."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
import torch

from attar.errors import SettingsError
from attar.synthesis import choose_settings, distill
from attar.synthesis.objectives import OBJECTIVES, find_objective, objective_names
from attar.testing import check_objective
from small import coloured, small_backbone

EXAMPLE = Path(__file__).parents[2] / "examples" / "attar-nearest"
_GROUP = "attar.objectives"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(PACKAGE, {name: value}) leaves on the path what pip leaves of a package with these objectives."""

    def install(package: str, points: dict[str, str]) -> None:
        record = tmp_path / f"{package}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (record / "entry_points.txt").write_text("\n".join([f"[{_GROUP}]", *lines]) + "\n")

    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield install
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith((str(tmp_path), str(EXAMPLE))):
            del sys.modules[name]


@pytest.fixture
def nearest(install, monkeypatch):
    """The example, as its pyproject.toml registers it."""
    monkeypatch.syspath_prepend(EXAMPLE)
    install("attar_nearest", tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"][_GROUP])


def test_the_example_is_found_by_name_and_keeps_the_contract(nearest):
    assert objective_names() == [*OBJECTIVES, "nearest"]
    found = find_objective("nearest")
    assert found.__module__ == "attar_nearest"
    check_objective(found)


def test_the_example_distils_images_nearer_to_their_class(nearest, tmp_path):
    source, backbone = coloured(5), small_backbone()

    def recognised(steps: int) -> float:
        settings = choose_settings("fast", method="nearest", steps=steps, temperature=0.3, grow_every=7)
        made = distill(source, backbone, tmp_path / f"{steps}.attar", settings=settings, device="cpu")
        assert made.manifest.method == "nearest" and made.manifest.settings["temperature"] == 0.3
        views = backbone(torch.from_numpy(made.images).float() / 255)
        real = backbone(torch.stack([torch.from_numpy(image) for _, image in source.read(range(len(source)), 8)]) / 255)
        means = torch.stack([real[source.labels == label].mean(0) for label in range(3)])
        distances = torch.cdist(views, means)
        return float((distances.diagonal() / distances.sum(1)).mean())

    assert recognised(41) < recognised(1) - 0.05


def test_a_setting_of_the_example_is_checked_like_ours(nearest):
    with pytest.raises(SettingsError, match=r"temperature = -1.*greater than 0"):
        choose_settings(method="nearest", temperature=-1)
    with pytest.raises(SettingsError, match=r"(?i)temperature is no setting of method sfm") as caught:
        choose_settings(temperature=0.3)
    assert "nearest" in caught.value.hint


def test_ours_cannot_be_replaced(install):
    install("usurper", {"sfm": "usurper:Objective"})
    assert find_objective("sfm") is OBJECTIVES["sfm"] and objective_names() == [*OBJECTIVES]


def test_an_unknown_name_is_none(install):
    install("other", {"far": "other:Far"})
    assert find_objective("farther") is None


BROKEN = {
    "no module": ("", "absent:Thing", "objective mine of absent:Thing can't be loaded: No module named 'absent'"),
    "an import that fails": ("1 / 0", "broken:Thing", "Objective mine of broken:Thing can't be loaded: division by"),
    "no such name": ("", "broken:Thing", "can't be loaded: module 'broken' has no attribute 'Thing'"),
    "no class": ("Thing = 7", "broken:Thing", "broken:Thing is no objective"),
    "another class": ("class Thing: pass", "broken:Thing", "broken:Thing is no objective"),
    "no at": ("class Thing(Objective):\n build = classmethod(print)", "broken:Thing", "broken:Thing is no objective"),
    "no build": ("class Thing(Objective):\n at = print", "broken:Thing", "broken:Thing is no objective"),
    "options of its own": (
        "class Thing(Objective):\n at = print\n build = classmethod(print)\n Options = dict",
        "broken:Thing",
        "broken:Thing is no objective",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_package_is_one_sentence(fault, install, tmp_path):
    text, value, sentence = BROKEN[fault]
    (tmp_path / "broken.py").write_text(f"from attar.synthesis.objectives import Objective\n{text}\n")
    install("broken", {"mine": value})
    with pytest.raises(SettingsError) as caught:
        choose_settings(method="mine")
    assert sentence.lower() in str(caught.value).lower() and caught.value.hint


def test_one_name_of_two_packages_is_refused(install):
    install("one", {"mine": "one:Thing"})
    install("two", {"mine": "two:Thing"})
    with pytest.raises(SettingsError, match=r"Several packages have an objective mine: (one|two):Thing, (one|two)"):
        find_objective("mine")

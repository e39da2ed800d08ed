"""Settings: presets, a file, flags; later wins."""

from __future__ import annotations

import pydantic
import pytest

from attar.backbones.catalogue import AMBIGUOUS, ENTRIES
from attar.errors import SettingsError
from attar.evaluation.protocols import protocol
from attar.synthesis import PRESETS, choose_settings
from attar.synthesis.objectives import OBJECTIVES, Options
from attar.synthesis.objectives import Objective as Base
from attar.synthesis.presets import Preset, published_for
from attar.synthesis.published import Published


def test_paper_is_what_the_authors_published():
    paper = choose_settings("paper").flat()
    published = {
        "steps": 5001,
        "lr": 2e-3,
        "grow_every": 200,
        "restart_adam": True,
        "normalise": "imagenet",
        "views": 1,
        "noise": 0.5,
        "noise_mean": 0.5,
        "noise_std": 0.2,
        "scale_low": None,
        "scale_high": 1.0,
        "flip": None,
        "canvas": "pyramid",
        "tail": 0.0,
        "w_mean": 0.0,
        "w_scale": 0.0,
        "statistics_views": 0,
        "seed": 3407,
    }  # fmt: skip; a crop's size and mirroring are the published ones by the size of the image
    assert {name: paper[name] for name in published} == published


def test_the_authors_noise_is_in_their_own_presets_alone():
    noisy = {name for name in PRESETS if choose_settings(name).noise}
    assert noisy == PRESETS.keys() - {"attar", "fast"}


AUTHORS = {  # lgm.md 1, 4-6; sfm.md 3, 8
    "lgm": {
        "steps": 5001, "lr": 2e-3, "tail": 0.0, "canvas": "pyramid", "grow_every": 200, "restart_adam": True,
        "scale_low": None, "scale_high": 1.0, "flip": None, "noise": 0.5, "noise_mean": 0.5, "noise_std": 0.2,
        "normalise": "imagenet", "seed": 3407, "ipc": 1, "method": "lgm", "real": "batch", "prior": "empirical",
        "heads": 1, "head_std": 0.01, "head_scale": None,
    },
    "sfm": {
        "steps": 5001, "lr": 2e-3, "tail": 0.0, "canvas": "pyramid", "grow_every": 200, "restart_adam": True,
        "scale_low": None, "scale_high": 1.0, "flip": None, "noise": 0.5, "noise_mean": 0.5, "noise_std": 0.2,
        "normalise": "imagenet", "seed": 3407, "ipc": 1, "method": "sfm", "views": 1, "statistics_views": 0,
        "w_mean": 0.0, "w_scale": 0.0, "group_balanced": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PRESETS if "imagenet" in name])
def test_a_row_of_a_paper_has_its_authors_settings(name: str):
    settings = choose_settings(name).flat()
    expected = AUTHORS[name[:3]]
    assert {each: settings[each] for each in expected} == expected
    assert choose_settings("paper", method=name[:3], views=settings["views"]) == choose_settings(name)


@pytest.mark.parametrize(
    ("name", "classes", "rows"), [("lgm-imagenet-100", 100, 1000), ("lgm-imagenet-1k", 1000, 3000)]
)
def test_a_real_batch_is_as_large_as_the_authors(name: str, classes: int, rows: int):
    settings = choose_settings(name)
    assert classes * settings.ipc * settings.views == rows  # lgm.md 1


@pytest.mark.parametrize("flags", [{"method": "sfm"}, {"method": "random"}, {"method": 5}])
def test_a_row_of_a_paper_refuses_another_method(flags):
    with pytest.raises(
        SettingsError, match=r"Preset lgm-imagenet-1k is of method lgm, not \w+\.\nLeave the method out"
    ):
        choose_settings("lgm-imagenet-1k", **flags)
    assert choose_settings("lgm-imagenet-1k", method="lgm", views=2).views == 2


def test_a_row_of_a_paper_refuses_another_method_in_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text('method = "sfm"')
    with pytest.raises(SettingsError, match="is of method lgm, not sfm"):
        choose_settings("lgm-imagenet-100", tmp_path / "mine.toml")


@pytest.mark.parametrize(("name", "mean"), [("lgm-imagenet-100", 87.2), ("lgm-imagenet-1k", 67.9)])
def test_the_published_accuracies_have_the_published_mean(name: str, mean: float):
    """The mean over the four backbones is a column of its own in lgm.md 11."""
    accuracy = PRESETS[name].published.accuracy
    assert len(accuracy) == 4 and sum(accuracy.values()) / 4 == pytest.approx(mean, abs=0.051)


def test_published_figures_are_of_backbones_and_protocols_that_exist():
    for preset in PRESETS.values():
        if preset.published is not None:
            assert {*(preset.published.accuracy or {})} <= ENTRIES.keys() | AMBIGUOUS.keys()
            assert protocol(preset.published.protocol) and preset.published.source


def test_what_is_published_is_said_and_what_is_not():
    lgm, sfm = published_for("lgm-imagenet-1k"), published_for("sfm-imagenet-100")
    assert "ImageNet-1k with 1 image a class" in lgm and "dinov2_vitb14 75.0 %" in lgm and "lgm-probe" in lgm
    assert "time unknown; memory unknown" in lgm and "ViT-B/32" in lgm and "linear-gradient-matching.github.io" in lgm
    assert "top-1 by lgm-probe unknown" in sfm and "arXiv 2602.05391" in sfm
    assert [name for name in PRESETS if published_for(name) is None] == ["attar", "fast", "paper"]
    with pytest.raises(SettingsError, match="no preset 'lgm'"):
        published_for("lgm")


def test_hours_and_gigabytes_are_said_where_they_are_known(monkeypatch):
    known = Published("Flowers", "a poster", hours=0.5, gigabytes=11.0, ipc=7)
    monkeypatch.setitem(PRESETS, "mine", Preset("a test", {}, published=known))
    assert "Flowers with 7 images a class (a poster)" in published_for("mine")
    assert "time 0.5 hours; memory 11 GB." in published_for("mine")


def test_the_default_is_attar():
    assert choose_settings() == choose_settings("attar")


def test_the_file_wins_over_the_preset_and_flags_over_both(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('steps = 11\nlr = 1\ncanvas = "pixels"\n')
    chosen = choose_settings("paper", file, steps=12, views=None)
    assert (chosen.steps, chosen.lr, chosen.canvas, chosen.views) == (12, 1.0, "pixels", 1)
    assert chosen.grow_every == 200 and chosen.noise == 0.5


def test_an_unknown_setting_or_preset_names_the_nearest(tmp_path):
    with pytest.raises(SettingsError, match="no setting 'step'") as caught:
        choose_settings(step=3)
    assert "steps" in caught.value.hint
    (tmp_path / "mine.toml").write_text("grow_evry = 3")
    with pytest.raises(SettingsError, match="grow_evry") as caught:
        choose_settings(file=tmp_path / "mine.toml")
    assert "grow_every" in caught.value.hint
    with pytest.raises(SettingsError, match="no preset 'papr'") as caught:
        choose_settings("papr")
    assert "paper" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ipc", 0), ("steps", 0), ("views", 1.5), ("lr", 0), ("lr", float("inf")), ("lr", "fast"), ("tail", 1.1),
        ("noise_mean", float("nan")), ("scale_low", 0), ("canvas", "cubes"), ("seed", -1),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_what_is_permitted(name: str, value):
    with pytest.raises(SettingsError) as caught:
        choose_settings(**{name: value})
    assert str(caught.value).startswith(f"Setting {name} = {value!r}: input should be ")


@pytest.mark.parametrize("content", [None, b"steps = ", b"\xff"])
def test_a_file_that_is_missing_or_no_toml_is_one_sentence(tmp_path, content):
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"Can't read settings from .*mine\.toml"):
        choose_settings(file=file)


def test_a_crop_cannot_be_smaller_than_its_smallest():
    with pytest.raises(SettingsError, match=r"scale_low 0\.9 is above scale_high 0\.5"):
        choose_settings(scale_low=0.9, scale_high=0.5)
    with pytest.raises(SettingsError, match="seed"):
        choose_settings(seed=2**63)


def test_a_setting_of_another_method_is_refused_with_the_methods_that_have_it():
    with pytest.raises(SettingsError, match="equal_clusters is no setting of method sfm") as caught:
        choose_settings(equal_clusters=False)
    assert caught.value.hint == "It is one of sfm-sub."


def test_an_option_may_not_be_called_as_a_setting_of_every_run(monkeypatch):
    class Greedy(Options):
        views: int = 3

    class Objective(Base):
        Options = Greedy

        def at(self, step):
            raise NotImplementedError

    monkeypatch.setitem(OBJECTIVES, "greedy", Objective)
    with pytest.raises(SettingsError, match="Option views of method greedy has a name that stands"):
        choose_settings(method="greedy")
    with pytest.raises(SettingsError, match="no setting 'stps'"):  # not hindered by what is broken
        choose_settings(stps=3)


def test_a_method_that_is_no_name_is_one_sentence():
    with pytest.raises(SettingsError, match="Setting method = "):
        choose_settings(method=["sfm"])


@pytest.mark.parametrize("name", ["groups", "data", "precision"])
def test_an_option_may_not_hide_what_a_run_is_known_by(monkeypatch, name: str):
    own = pydantic.create_model("Own", __base__=Options, **{name: (int, 3)})
    monkeypatch.setitem(OBJECTIVES, "mine", type("Mine", (Base,), {"Options": own, "at": lambda self, step: None}))
    with pytest.raises(SettingsError, match=f"Option {name} of method mine"):
        choose_settings(method="mine")

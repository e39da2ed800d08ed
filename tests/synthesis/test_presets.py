"""Settings: presets, a file, flags; later wins."""

from __future__ import annotations

import pytest

from attar.errors import SettingsError
from attar.synthesis import PRESETS, choose_settings


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


def test_the_authors_noise_is_in_paper_alone():
    assert {name: choose_settings(name).noise for name in PRESETS} == {"paper": 0.5, "attar": 0.0, "fast": 0.0}


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
    assert caught.value.message.startswith(f"Setting {name} = {value!r}: input should be ")


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

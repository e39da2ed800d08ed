"""Settings of EDITS: the authors' presets, what wins, and what is refused."""

from __future__ import annotations

import pytest

from attar.diffusion.edits.settings import EDITS_PRESETS, STAGES, EditsSettings, choose_edits
from attar.errors import SettingsError

AUTHORS = {  # edits.md 8, row by row
    "edits": {"fuse": "query", "image_proto": "mean", "text_proto": "llm", "scheduler": "ddim", "guidance": 10},
    "vlcp": {"fuse": "vae", "image_proto": "centre", "text_proto": "frequency", "scheduler": "own", "outliers": 0.1},
    "d4m": {"fuse": "vae", "text_proto": "label-all", "captioner": "none", "guidance": 8, "algorithm": "minibatch"},
}  # fmt: skip
SHARED = {"strength": 0.7, "steps": 50, "negative_prompt": "cartoon, anime, painting"}


@pytest.mark.parametrize("preset", AUTHORS)
def test_presets_hold_the_settings_of_the_authors(preset: str):
    chosen = choose_edits(preset).model_dump()
    assert chosen.items() >= (AUTHORS[preset] | SHARED | {"method": preset}).items()


@pytest.mark.parametrize("preset", EDITS_PRESETS)
def test_every_setting_decides_some_stage(preset: str):
    chosen = choose_edits(preset)
    decided = {name for stage in STAGES for name in chosen.of(stage)}
    # where a key is found decides nothing, and clusters decide the number of prototypes
    assert EditsSettings.model_fields.keys() - decided == {"llm_key", "clusters"} and "prototypes" in decided


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("guidance = 3.0\nk_text = 7\n")
    chosen = choose_edits("d4m", file, guidance=5.0, seed=None)
    assert (chosen.guidance, chosen.k_text, chosen.seed, chosen.fuse) == (5.0, 7, 0, "vae")


def test_a_control_is_called_after_its_method():
    assert choose_edits().name == "edits"
    assert choose_edits("vlcp", control="text-only").name == "vlcp/text-only"


def test_a_class_has_as_many_prototypes_as_images_unless_told_otherwise():
    assert choose_edits(ipc=6).prototypes == 6 and choose_edits(ipc=6, clusters=3).prototypes == 3


MISTAKES = {
    "preset": ("d4n", {}, "There is no preset 'd4n' of EDITS.\nDid you mean d4m?"),
    "name": ("attar", {"k_images": 3}, "K_images is no setting of EDITS"),
    "range": ("attar", {"strength": 1.5}, "Setting strength = 1.5: input should be less than or equal to 1."),
    "no step": ("attar", {"strength": 0.1, "steps": 7}, "Strength 0.1 of 7 steps leaves no step to take."),
    "centre": ("attar", {"image_proto": "centre"}, "A centre is an image prototype where latents are clustered"),
    "multiple": ("attar", {"ipc": 7, "clusters": 3}, "Ipc 7 is not a multiple of the 3 clusters per class."),
    "no captions": ("attar", {"captioner": "none"}, "Fuse query with text_proto medoid needs captions"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_fit_is_one_sentence(mistake: str):
    preset, flags, sentence = MISTAKES[mistake]
    with pytest.raises(SettingsError) as caught:
        choose_edits(preset, **flags)
    assert sentence.lower() in str(caught.value).lower()

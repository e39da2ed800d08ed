"""Tiny models on the disk, in the hub's layout, for the tests of EDITS."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tiny_diffusion
from attar.diffusion import stock


@pytest.fixture(scope="session")
def sd(tmp_path_factory) -> Path:
    """Stable Diffusion for images of 16 pixels."""
    return _saved(tiny_diffusion.stable_diffusion(), tmp_path_factory.mktemp("sd") / "tiny-sd")


@pytest.fixture(scope="session")
def wide_sd(tmp_path_factory) -> Path:
    """The same with latents of 8 channels."""
    from diffusers import UNet2DConditionModel

    made = tiny_diffusion.stable_diffusion()
    made.register_modules(
        vae=tiny_diffusion.vae(8),
        unet=UNet2DConditionModel.from_config({**made.unet.config, "in_channels": 8, "out_channels": 8}).eval(),
    )
    return _saved(made, tmp_path_factory.mktemp("sd") / "wide-sd")


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    with stock.quiet():
        return tiny_diffusion.save_clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


@pytest.fixture
def out(finished, tmp_path) -> Path:
    """A copy of a finished run, to be spoiled."""
    shutil.copytree(finished, tmp_path / "out")
    shutil.copytree(f"{finished}.run", tmp_path / "out.run")
    return tmp_path / "out"


def _saved(pipeline, folder: Path) -> Path:
    with stock.quiet():
        pipeline.save_pretrained(folder)
    return folder

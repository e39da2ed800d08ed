"""Image prototypes: means of latents against NumPy, and the VAE that makes latents of images of any shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attar.diffusion.edits.image_prototypes import image_prototype, open_coder, squashed
from attar.diffusion.edits.settings import choose_edits
from attar.errors import AttarError, BackboneError

CPU = torch.device("cpu")


def latents(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(1, 3, (count, 3, 5, 7)))


def test_mean_and_medoid_are_what_they_are_called():
    several = latents(5)
    assert torch.equal(image_prototype("medoid", several), several[0])
    np.testing.assert_allclose(image_prototype("mean", several), several.numpy().mean(0), atol=1e-12)


@pytest.mark.parametrize("kind", ["mean", "medoid", "mean-rescaled"])
def test_equal_latents_are_their_own_prototype(kind: str):
    one = latents(1)
    torch.testing.assert_close(image_prototype(kind, one.repeat(5, 1, 1, 1)), one[0])


def test_the_mean_of_unlike_latents_loses_contrast_as_the_root_of_their_number():
    unlike = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 1, 101, 101)))
    assert image_prototype("mean", unlike).std().item() == pytest.approx(5**-0.5, rel=0.05)


@given(st.integers(2, 7), st.integers(0, 99))
def test_rescaling_restores_the_spread_and_keeps_the_mean_of_each_channel(count: int, seed: int):
    several = latents(count, seed)
    rescaled, pixels = image_prototype("mean-rescaled", several).numpy(), several.numpy()
    np.testing.assert_allclose(rescaled.std((1, 2), ddof=1), pixels.std((2, 3), ddof=1).mean(0), atol=1e-5)
    np.testing.assert_allclose(rescaled.mean((1, 2)), pixels.mean((0, 2, 3)), atol=1e-9)
    moved = image_prototype("mean-rescaled", several + 2)  # and it moves with them
    np.testing.assert_allclose(moved, rescaled + 2, atol=1e-9)


def test_latents_that_cancel_out_leave_a_flat_prototype_not_a_broken_one():
    one = latents(1)
    assert torch.equal(image_prototype("mean-rescaled", torch.cat([one, -one])), torch.zeros_like(one[0]))


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (3, *shape), dtype=np.uint8) for shape in ((16, 16), (23, 11), (5, 31))]


@pytest.fixture(scope="module")
def coder(sd):
    return open_coder(choose_edits(model=str(sd)), CPU)


def test_latents_are_scaled_modes_of_the_squashed_images(coder, photos):
    wanted = np.stack(
        [np.asarray(Image.fromarray(each.transpose(1, 2, 0)).resize((16, 16), Image.LANCZOS)) for each in photos]
    )
    pixels = torch.from_numpy(wanted.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    with torch.no_grad():
        moments = coder.network.quant_conv(coder.network.encoder(pixels))
    assert coder.side == 16
    torch.testing.assert_close(coder.encode(photos), 0.18215 * moments[:, :4], atol=1e-5, rtol=1e-5)


def test_latents_depend_on_their_own_image_and_seed_alone(coder, photos):
    together = coder.encode(photos, [3, 4, 5])
    assert torch.equal(coder.encode(photos[1:2], [4])[0], together[1])
    assert not torch.equal(coder.encode(photos[1:2], [5])[0], together[1])


def test_samples_lie_around_the_mode_as_wide_as_the_posterior(coder, photos):
    image = photos[0]
    pixels = torch.from_numpy(image / np.float32(127.5) - 1)[None]
    with torch.no_grad():
        spread = coder.network.encode(pixels).latent_dist.std[0] * 0.18215
    drawn = coder.encode([image] * 200, range(200)) - coder.encode([image])
    assert (drawn / spread).std().item() == pytest.approx(1, abs=0.03)


def test_decoding_is_the_networks_own_in_whole_pixels(coder, photos):
    code = coder.encode(photos[:2])
    with torch.no_grad():
        wanted = coder.network.decode(code / 0.18215).sample
    shown = coder.decode(code)
    assert shown.dtype == np.uint8
    np.testing.assert_allclose(shown, ((wanted.clip(-1, 1) + 1) * 127.5).numpy(), atol=0.51)


def test_squashing_keeps_the_whole_image():
    stripes = np.zeros((3, 10, 30), dtype=np.uint8)
    stripes[:, :, 15:] = 255
    square = squashed(stripes, 8)
    assert square.shape == (3, 8, 8) and square[:, :, :3].max() < 3 and square[:, :, 5:].min() > 252


def test_another_side_and_latents_of_any_channels(wide_sd, photos):
    coder = open_coder(choose_edits(model=str(wide_sd), vae_side=23), CPU)
    assert coder.side == 22 and coder.encode(photos[:1]).shape == (1, 8, 11, 11)  # the VAE halves sides


def test_another_vae_takes_the_place_of_the_models_own(sd, wide_sd, photos):
    coder = open_coder(choose_edits(model=str(sd), vae=str(wide_sd / "vae")), CPU)
    assert coder.encode(photos[:1]).shape == (1, 8, 8, 8)


def test_a_model_that_is_not_here_is_refused_by_name():
    with pytest.raises(BackboneError) as caught:
        open_coder(choose_edits(vae="nobody/vae"), CPU)
    assert str(caught.value) == (
        'EDITS needs "nobody/vae" (VAE); it is not on this machine.\nPass a path or --allow-download.'
    )
    with pytest.raises(AttarError):
        open_coder(choose_edits(model="nobody/model"), CPU)

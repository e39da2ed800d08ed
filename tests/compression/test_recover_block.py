"""One block: its settings, views, canvas, loss and steps (scdd.md 3, 4; cases of section 12)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.compression.batch_norm import norm_layers
from attar.compression.block import Block, block_noise, recovery_loss
from attar.compression.block_views import BlockView, draw_view
from attar.compression.canvas import NormalisedPixels
from attar.compression.matching import MatchedNetwork
from attar.compression.recovery_settings import RECOVERIES, RECOVERY_PRESETS, choose_recovery, is_recovery
from attar.errors import SettingsError
from attar.testing import check_canvas
from frozen import squeezed

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
TINY = (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)
CLIPPED = {
    IMAGENET: [(-2.1179, 2.2489), (-2.0357, 2.4286), (-1.8044, 2.6400)],
    CIFAR: [(-2.4291, 2.5141), (-2.4183, 2.5968), (-2.2214, 2.7537)],
    TINY: [(-2.0860, 2.2580), (-1.9784, 2.4366), (-1.7573, 2.6636)],
}


def block(chosen=None, *, network=None, labels=(0, 1, 2)) -> Block:
    one = squeezed() if network is None else network
    chosen = chosen or choose_recovery(steps=7)
    return Block(0, torch.tensor(labels), one, MatchedNetwork(one.network).__enter__(), chosen.for_side(8))


CURRICULUM = {
    ("cosine", 1.0): {0: 1.0, 250: 0.865269119346, 500: 0.54, 999: 0.080002270007},
    ("linear", 1.0): {0: 1.0, 250: 0.77, 500: 0.54, 999: 0.08092},
    ("cosine", 0.5): {0: 1.0, 250: 0.54, 500: 0.08, 999: 0.08},
    ("linear", 0.5): {0: 1.0, 250: 0.54, 500: 0.08},
    ("step", 0.5): {0: 1.0, 499: 1.0, 500: 0.08},
    ("cosine", 0.0): {0: 0.08},
    ("none", 1.0): {0: 0.08, 999: 0.08},
}


@pytest.mark.parametrize(("shape", "milestone"), CURRICULUM)
def test_the_crop_bound_comes_down_as_published(shape: str, milestone: float):
    chosen = choose_recovery("cda-in1k", steps=1000, curriculum=shape, milestone=milestone)
    for step, bound in CURRICULUM[shape, milestone].items():
        assert chosen.crop_bound(step) == pytest.approx(bound, abs=5e-13)
    bounds = [chosen.crop_bound(step) for step in range(1000)]
    assert bounds == sorted(bounds, reverse=True)


def test_the_rate_falls_along_a_cosine():
    chosen = choose_recovery("sre2l-in1k")
    assert chosen.rate(0) == 0.25 and chosen.rate(2000) == pytest.approx(0.125)
    assert chosen.rate(1) == pytest.approx(0.2499999614468598, rel=1e-15)
    assert chosen.rate(3999) == pytest.approx(3.8553e-8, rel=1e-4)


PUBLISHED = {  # lr, bn_weight, steps, block, crop, curriculum: scdd.md 3.6
    "sre2l-in1k": (0.25, 0.01, 4000, 100, "random", "none"),
    "sre2l-tiny": (0.1, 1.0, 4000, 100, "random", "none"),
    "sre2l-cifar100": (0.25, 0.01, 1000, 100, "none", "none"),
    "cda-in1k": (0.25, 0.01, 4000, 100, "random", "cosine"),
    "cda-tiny": (0.4, 0.05, 4000, 100, "random", "cosine"),
    "cda-in21k": (0.05, 0.25, 2000, 100, "random", "cosine"),
    "scdd-in1k": (0.25, 0.01, 1000, 50, "random", "none"),
    "scdd-tiny": (0.6, 0.05, 1000, 100, "random", "none"),
    "scdd-cifar100": (0.4, 0.005, 1000, 100, "none", "none"),
}


def test_the_published_settings_have_names():
    assert {name for name, preset in RECOVERY_PRESETS.items() if preset.method} == set(PUBLISHED)
    for name, row in PUBLISHED.items():
        chosen = choose_recovery(name)
        assert (chosen.lr, chosen.bn_weight, chosen.steps, chosen.block, chosen.crop, chosen.curriculum) == row
        assert chosen.method == name.partition("-")[0] and chosen.flip == (chosen.crop == "random")
        assert (chosen.beta1, chosen.beta2, chosen.first_weight) == (0.5, 0.9, 10)
        assert chosen.roll_high == (32 if "in" in name.partition("-")[2][:2] else 4)
        assert chosen.roll_low == (-4 if name == "sre2l-tiny" else 0)


@pytest.mark.parametrize("preset", ["attar", "fast", "paper"])
@pytest.mark.parametrize("method", RECOVERIES)
def test_every_method_has_the_general_presets(preset: str, method: str):
    chosen = choose_recovery(preset, method=method)
    assert chosen.method == method and (chosen.curriculum == "cosine") == (method == "cda")


def test_the_side_settles_what_was_left_open():
    small, tiny, large = (choose_recovery().for_side(side) for side in (32, 64, 224))
    assert (small.crop, small.flip, small.roll_high) == ("none", False, 4)
    assert (tiny.crop, tiny.flip, tiny.roll_high) == ("random", True, 4)
    assert (large.crop, large.flip, large.roll_high) == ("random", True, 32)
    assert choose_recovery(method="cda").for_side(32).crop == "random"
    assert choose_recovery(crop="random", flip=False, roll_high=0).for_side(32).flip is False


def test_later_settings_win(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('method = "cda"\nsteps = 77\nlr = 0.5\n')
    chosen = choose_recovery("paper", file, lr=0.75, ipc=None)
    assert (chosen.method, chosen.steps, chosen.lr, chosen.block, chosen.ipc) == ("cda", 77, 0.75, 100, 1)


def test_a_recovery_is_known_by_its_method_or_its_preset(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('method = "scdd"\n')
    assert is_recovery(method="cda") and is_recovery("scdd-tiny") and is_recovery(file=file)
    assert not is_recovery() and not is_recovery("paper") and not is_recovery("scdd-tiny", method="sfm")
    assert not is_recovery(method="random", file=file)


WRONG = {
    "unknown preset": (("scdd-cifar10",), {}, "no preset 'scdd-cifar10' of a recovery.\nDid you mean scdd-cifar100"),
    "another method": (("cda-tiny",), {"method": "scdd"}, "preset cda-tiny is of method cda, not scdd"),
    "unknown name": ((), {"stps": 3}, "stps is no setting of method scdd.\nDid you mean steps"),
    "of another method": ((), {"views": 3}, "views is no setting of method scdd"),
    "out of range": ((), {"milestone": 1.5}, "Setting milestone = 1.5: input should be less than or equal to 1."),
    "an unknown word": ((), {"crop": "some"}, "Setting crop = 'some': input should be 'none' or 'random'."),
    "together": (("cda-tiny",), {"crop": "none"}, "cosine curriculum is one of crops, and crop is none"),
    "rolls": ((), {"roll_low": 3, "roll_high": 2}, "roll_low 3 is above roll_high 2"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_settings_are_named(mistake: str):
    preset, flags, sentence = WRONG[mistake]
    with pytest.raises(SettingsError) as refused:
        choose_recovery(*preset, **flags)
    assert sentence.lower() in str(refused.value).lower()


@pytest.mark.parametrize("side", [32, 64, 224])
def test_a_bound_of_one_shows_the_whole_image(side: int):
    chosen = choose_recovery("sre2l-in1k", scale_low=1.0, roll_high=0, flip=False)
    assert {draw_view(chosen, side, block=1, step=step) for step in range(50)} == {BlockView(0, 0, side, side)}


def test_views_are_whole_and_moved_as_they_say():
    images = torch.randn(2, 3, 7, 7)
    assert BlockView(0, 0, 7, 7)(images) is images
    assert torch.equal(BlockView(0, 0, 7, 7, down=7, right=7)(images), images)
    flipped = BlockView(0, 0, 7, 7, flipped=True)
    assert torch.equal(flipped(flipped(images)), images) and torch.equal(flipped(images)[..., 0], images[..., 6])
    moved = BlockView(0, 0, 7, 7, down=2, right=3)(images)
    assert torch.equal(moved[:, :, 2:, 3:], images[:, :, :5, :4]) and torch.equal(moved[:, :, 0, 3], images[:, :, 5, 0])
    both = BlockView(0, 0, 7, 7, flipped=True, right=1)(images)
    assert torch.equal(both[..., 1], images[..., 6])  # mirrored first, then moved


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from([5, 8, 13]))
def test_a_crop_is_enlarged_as_torch_does(data, side: int):
    height, width = (data.draw(st.integers(1, side)) for _ in range(2))
    top, left = data.draw(st.integers(0, side - height)), data.draw(st.integers(0, side - width))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side), dtype=torch.float64)
    window = images[:, :, top : top + height, left : left + width]
    expected = torch.nn.functional.interpolate(window, (side, side), mode="bilinear", align_corners=False)
    torch.testing.assert_close(BlockView(top, left, height, width)(images), expected, rtol=0, atol=1e-12)


def test_views_are_drawn_by_name_within_their_bounds():
    chosen = choose_recovery("sre2l-tiny")
    drawn = [draw_view(chosen, 64, block=3, step=step) for step in range(400)]
    assert drawn[7] == draw_view(chosen, 64, block=3, step=7) != draw_view(chosen, 64, block=4, step=7)
    assert {view.down for view in drawn} == {view.right for view in drawn} == set(range(-4, 5))
    assert 150 < sum(view.flipped for view in drawn) < 250
    areas = [view.height * view.width / 64**2 for view in drawn]
    assert min(areas) > 0.07 and max(areas) <= 1 and min(areas) < 0.12
    assert all(view.top + view.height <= 64 and view.left + view.width <= 64 for view in drawn)
    still = choose_recovery("scdd-cifar100")
    assert {draw_view(still, 32, block=0, step=step).down for step in range(99)} == {0, 1, 2, 3, 4}
    assert {draw_view(still, 32, block=0, step=step).flipped for step in range(99)} == {False}


def test_the_canvas_keeps_the_contract():
    check_canvas(lambda: NormalisedPixels(torch.randn(3, 3, 7, 7, generator=torch.Generator().manual_seed(0)), *CIFAR))


@pytest.mark.parametrize("normalisation", CLIPPED)
def test_pixels_are_clipped_to_what_images_can_be(normalisation):
    canvas = NormalisedPixels(torch.linspace(-9, 9, 12).view(1, 1, 2, 6).repeat(2, 3, 3, 1), *normalisation)
    canvas.after_step()
    low, high = canvas.pixels.detach().amin((0, 2, 3)), canvas.pixels.detach().amax((0, 2, 3))
    for channel, (lowest, highest) in enumerate(CLIPPED[normalisation]):
        assert float(low[channel]) == pytest.approx(lowest, abs=5e-5)
        assert float(high[channel]) == pytest.approx(highest, abs=5e-5)
    once = canvas.pixels.detach().clone()
    canvas.after_step()
    assert torch.equal(canvas.pixels, once)
    images = canvas.images(torch.arange(2)).detach()
    assert float(images.min()) == pytest.approx(0, abs=1e-6) and float(images.max()) == pytest.approx(1, abs=1e-6)


def test_the_first_step_moves_each_pixel_by_the_rate():
    one = block(choose_recovery(lr=0.25, steps=100, bn_weight=0.0))
    adam = one._adam
    with torch.no_grad():
        one.canvas.pixels.zero_()
    one.canvas.pixels.grad = torch.zeros_like(one.canvas.pixels)
    one.canvas.pixels.grad.view(-1)[:3] = torch.tensor([1.0, -2.0, 1e-3])
    adam.step()
    assert one.canvas.pixels.view(-1)[:3].tolist() == pytest.approx([-0.25, 0.25, -0.25], abs=1e-4)


@pytest.mark.parametrize("shown", [BlockView(0, 0, 8, 8), BlockView(1, 2, 5, 4, flipped=True, down=3, right=1)])
def test_the_gradient_of_the_whole_loss_is_that_of_finite_differences(shown: BlockView):
    network = squeezed().to(dtype=torch.float64)
    chosen = choose_recovery(bn_weight=0.3)
    random = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 3, 8, 8, generator=random, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(pixels.shape, generator=random, dtype=torch.float64)
    direction /= direction.norm()
    with MatchedNetwork(network.network) as matched:

        def loss(images: torch.Tensor) -> torch.Tensor:
            return recovery_loss(matched(shown(images)), torch.tensor([2, 0, 1]), chosen).total

        loss(pixels).backward()
        with torch.no_grad():
            slope = (loss(pixels + 1e-4 * direction) - loss(pixels - 1e-4 * direction)) / 2e-4
    assert float((pixels.grad * direction).sum()) == pytest.approx(float(slope), rel=1e-6)


def test_the_stem_counts_ten_times_in_the_loss():
    network = squeezed()
    with MatchedNetwork(network.network) as matched:
        passed = matched(torch.randn(3, 3, 8, 8))
    loss = recovery_loss(passed, torch.tensor([0, 1, 2]), choose_recovery(bn_weight=0.5))
    stem, other = passed.mismatches.tolist()
    assert float(loss.weighted) == pytest.approx(0.5 * (10 * stem + other), rel=1e-6)
    logits = passed.logits.detach().double()
    expected = -(logits.log_softmax(1)[torch.arange(3), torch.arange(3)]).mean()
    assert float(loss.cross_entropy) == pytest.approx(float(expected), rel=1e-6)


def test_terms_taken_apart_give_the_gradient_of_the_whole(monkeypatch):
    """At its first step a block takes the terms' gradients apart, to compare them; at its second it doesn't."""
    apart, whole = block(), block()
    whole.steps = 1
    monkeypatch.setattr("attar.compression.block.draw_view", lambda *_, **__: BlockView(0, 0, 8, 8))
    for one in (apart, whole):
        one.step()
    torch.testing.assert_close(apart.canvas.pixels.grad, whole.canvas.pixels.grad, rtol=1e-5, atol=1e-8)
    assert apart.figures()["ratio"] > 0 and "ratio" not in whole.figures()


def test_a_block_begins_as_noise_of_its_own():
    noise = block_noise(5, 3, 67, 8)
    assert noise.shape == (67, 3, 8, 8) and abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05
    assert torch.equal(noise, block_noise(5, 3, 67, 8))
    assert not torch.equal(noise, block_noise(5, 4, 67, 8)) and not torch.equal(noise, block_noise(6, 3, 67, 8))


def test_a_loss_that_is_not_finite_is_one_sentence():
    one = block()
    with torch.no_grad():
        one.canvas.pixels[0, 0, 0, 0] = torch.nan
    one.step()
    with pytest.raises(SettingsError, match="images of block 0 are not finite after step 0"):
        one.figures()


def test_half_precision_computes_the_network_alone():
    network = squeezed()
    half = network.to(dtype=torch.bfloat16)
    with MatchedNetwork(half.network, norm_layers(network.network)) as matched:
        one = Block(0, torch.tensor([0, 1, 2]), half, matched, choose_recovery(steps=3).for_side(8))
        one.step()
    assert one.canvas.pixels.dtype == torch.float32 and one.figures()["mismatch"] > 0

"""Views of students: what they show, that they are functions of their names, and how batches are mixed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.compression.jitter import jittered
from attar.compression.mixing import Mixing, cutmix_box, draw_mixing, mixed
from attar.compression.views import Recipe, draw_batch, epoch_batches, make_batch
from attar.compression.windows import crop_boxes, permuted
from attar.errors import SettingsError

SEEDS = st.integers(0, 2**63)


def pictures(count: int, side: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).integers(0, 256, (count, 3, side, side), dtype=np.uint8))


def batch_of(images, recipe, ids=None, *, seed=3, epoch=2, number=1):
    ids = torch.arange(len(images)) if ids is None else ids
    return make_batch(images, ids, recipe, seed=seed, epoch=epoch, number=number)


def test_the_whole_image_comes_out_bit_by_bit():
    images = pictures(3, 11)
    plain = batch_of(images, Recipe(11, "none", flip=False))
    assert torch.equal(plain.images, images.float() / 255) and plain.share == 1
    assert torch.equal(plain.ids, torch.arange(3)) and torch.equal(plain.partners, torch.arange(3))


@pytest.mark.parametrize("side", [32, 64, 224])
def test_crops_of_the_whole_area_are_the_whole_image(side):
    boxes = crop_boxes(np.random.default_rng(1).random((50, 22)), (1.0, 1.0), side)
    assert all((part == value).all() for part, value in zip(boxes, (0, 0, side, side), strict=True))


def test_flips_mirror_about_half_of_the_views():
    images = pictures(41, 5)
    views = batch_of(images, Recipe(5, "none")).images
    mirrored = [torch.equal(view, image.flip(-1)) for view, image in zip(views, images.float() / 255, strict=True)]
    assert 10 < sum(mirrored) < 31
    kept = [torch.equal(view, image) for view, image in zip(views, images.float() / 255, strict=True)]
    assert sum(mirrored) + sum(kept) == 41


@pytest.mark.parametrize(("stored", "side"), [(13, 13), (17, 11), (11, 17)])
def test_a_crop_is_what_torch_makes_of_its_box(stored, side):
    images, recipe, ids = pictures(7, stored), Recipe(side), torch.tensor([6, 2, 3, 0, 5])
    views = batch_of(images, recipe, ids).images
    drawn = draw_batch(recipe, stored, ids, seed=3, epoch=2, number=1).windows
    boxes = zip(drawn.top, drawn.left, drawn.height, drawn.width, drawn.flipped, strict=True)
    for view, image, (top, left, height, width, flipped) in zip(views, images[ids].double(), boxes, strict=True):
        box = image[None, :, top : top + height, left : left + width]
        wanted = F.interpolate(box, (side, side), mode="bilinear", align_corners=False)[0] / 255
        torch.testing.assert_close(view.double(), wanted.flip(-1) if flipped else wanted, atol=1e-6, rtol=0)


@given(seed=SEEDS, stored=st.sampled_from([2, 3, 7, 32, 64, 224, 375, 500]), low=st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_every_box_lies_inside_its_image(seed, stored, low):
    top, left, height, width = crop_boxes(np.random.default_rng(seed % 2**32).random((31, 22)), (low, 1.0), stored)
    assert (top >= 0).all() and (left >= 0).all() and (height > 0).all() and (width > 0).all()
    assert (top + height <= stored).all() and (left + width <= stored).all()


def test_boxes_have_the_shares_and_ratios_that_were_asked_for():
    _, _, height, width = crop_boxes(np.random.default_rng(0).random((4000, 22)), (0.08, 0.5), 500)
    share, ratio = height * width / 500**2, width / height
    assert 0.079 < share.min() < 0.085 and 0.49 < share.max() < 0.501
    assert abs(share.mean() - 0.29) < 0.01
    assert ratio.min() > 0.74 and ratio.max() < 1.35 and abs(np.log(ratio).mean()) < 0.01


@given(seed=st.integers(0, 2**32), stored=st.sampled_from([2, 7, 32, 375]), low=st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_boxes_are_those_of_ten_tries_one_after_the_other(seed, stored, low):
    drawn = np.random.default_rng(seed).random((29, 22))
    found = np.stack(crop_boxes(drawn, (low, 1.0), stored), axis=1)
    assert found.tolist() == [_box(row[:10], row[10:20], row[20], row[21], low, stored) for row in drawn]


def _box(areas, ratios, down, right, low, stored):
    height = width = stored
    for area, ratio in zip(areas, ratios, strict=True):
        area, ratio = stored**2 * (low + (1 - low) * area), (3 / 4) ** (1 - ratio) * (4 / 3) ** ratio
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= stored and 0 < h <= stored:
            height, width = h, w
            break
    return [int(down * (stored - height + 1)), int(right * (stored - width + 1)), height, width]


def test_shifts_move_by_up_to_four_pixels_over_black():
    images = 1 + pictures(97, 7) // 2
    padded = F.pad(images.float() / 255, (4, 4, 4, 4))
    views = batch_of(images, Recipe(7, "pad4", flip=False)).images
    found = set()
    for view, image in zip(views, padded, strict=True):
        places = [(y, x) for y in range(9) for x in range(9) if torch.equal(view, image[:, y : y + 7, x : x + 7])]
        assert len(places) == 1
        found.update(places)
    assert {y for y, _ in found} == {x for _, x in found} == set(range(9))


def test_shifts_of_another_side_are_those_of_the_resized_image():
    images = 1 + pictures(5, 10) // 2
    recipe = Recipe(7, "pad4", flip=False)
    drawn = draw_batch(recipe, 10, torch.arange(5), seed=3, epoch=2, number=1).windows
    resized = F.interpolate(images.double(), (7, 7), mode="bilinear", align_corners=False) / 255
    for view, image, down, right in zip(batch_of(images, recipe).images, resized, drawn.down, drawn.right, strict=True):
        wanted = F.pad(image, (4, 4, 4, 4))[:, 4 - down : 11 - down, 4 - right : 11 - right]
        torch.testing.assert_close(view.double(), wanted, atol=1e-6, rtol=0)


def test_images_far_larger_than_a_view_are_averaged_first():
    images = pictures(3, 15)
    views = batch_of(images, Recipe(5, "none", flip=False)).images
    wanted = images.double().reshape(3, 3, 5, 3, 5, 3).mean((3, 5)) / 255
    torch.testing.assert_close(views.double(), wanted, atol=1e-6, rtol=0)


def test_strips_are_permuted_in_columns_and_in_rows():
    images = pictures(23, 6)
    views = batch_of(images, Recipe(6, "none", flip=False, shuffle=2)).images * 255
    swapped = torch.tensor([3, 4, 5, 0, 1, 2])
    kinds = [
        [torch.equal(view.round(), image[:, rows][:, :, columns]) for rows in (torch.arange(6), swapped)
         for columns in (torch.arange(6), swapped)]
        for view, image in zip(views, images.float(), strict=True)
    ]  # fmt: skip
    assert all(sum(kind) == 1 for kind in kinds) and all(any(kind[i] for kind in kinds) for i in range(4))


def test_strips_of_unequal_width_stay_whole():
    order = permuted(np.array([[0.9, 0.1, 0.5]]), 7)
    assert order.tolist() == [[3, 4, 5, 6, 0, 1, 2]]


@given(seed=SEEDS, epoch=st.integers(0, 999), count=st.integers(1, 40), size=st.integers(1, 17))
@settings(max_examples=50, deadline=None)
def test_an_epoch_shows_every_image_once(seed, epoch, count, size):
    batches = epoch_batches(count, size, seed, epoch)
    assert torch.cat(batches).sort().values.tolist() == list(range(count))
    assert [len(part) for part in batches[:-1]] == [size] * (len(batches) - 1) and 1 <= len(batches[-1]) <= size


def test_epochs_have_orders_of_their_own():
    orders = {tuple(epoch_batches(29, 29, 1, epoch)[0].tolist()) for epoch in range(5)}
    assert len(orders) == 5


@given(seed=SEEDS, epoch=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_a_view_is_the_same_in_any_company(seed, epoch):
    images, recipe = pictures(7, 6), Recipe(5, shuffle=2)
    together = batch_of(images, recipe, torch.tensor([4, 1, 6, 2]), seed=seed, epoch=epoch, number=0)
    alone = batch_of(images, recipe, torch.tensor([6]), seed=seed, epoch=epoch, number=8)
    assert torch.equal(together.images[2], alone.images[0])


def test_views_change_with_seed_epoch_and_image():
    images, recipe = pictures(1, 9).expand(2, -1, -1, -1), Recipe(9)
    first = batch_of(images, recipe, seed=1, epoch=1).images
    others = [first[1], *(batch_of(images, recipe, seed=s, epoch=e).images[0] for s, e in ((2, 1), (1, 2)))]
    assert all(not torch.equal(first[0], other) for other in others)


@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_a_mixed_batch_says_what_is_in_it(mix):
    images, ids = pictures(11, 8), torch.tensor([9, 3, 4, 7, 1, 0, 2])
    plain = batch_of(images, Recipe(8), ids)
    batch = batch_of(images, Recipe(8, mix=mix), ids)
    assert sorted(batch.partners.tolist()) == sorted(ids.tolist()) and 0 < batch.share < 1
    places = [ids.tolist().index(partner) for partner in batch.partners.tolist()]
    if mix == "mixup":
        wanted = batch.share * plain.images + (1 - batch.share) * plain.images[places]
        torch.testing.assert_close(batch.images, wanted)
    else:
        own = (batch.images == plain.images).all(1)
        pasted = (batch.images == plain.images[places]).all(1)
        assert (own | pasted).all() and batch.share == pytest.approx(1 - float((~own).any(0).float().mean()), abs=1e-6)


def test_boxes_of_cutmix_follow_the_papers_rule():
    assert all(cutmix_box(1.0, row, 2, 7) == (row, 2, row, 2) for row in range(7))
    assert cutmix_box(0.0, 4, 4, 8) == (0, 0, 8, 8)
    assert cutmix_box(0.75, 0, 6, 7) == (0, 5, 1, 7)  # cut 3, half 1, cut off at two edges


@given(
    kept=st.floats(0, 1), side=st.sampled_from([1, 2, 7, 32, 224]), row=st.floats(0, 0.999), column=st.floats(0, 0.999)
)
def test_every_pasted_box_lies_inside_the_image(kept, side, row, column):
    top, left, bottom, right = cutmix_box(kept, int(row * side), int(column * side), side)
    assert 0 <= top <= bottom <= side and 0 <= left <= right <= side


def test_mixing_an_image_with_itself_changes_nothing():
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(mixed(images, Mixing(np.arange(3), 0.75, (2, 2, 6, 6))), images)


def test_both_images_are_read_before_one_is_written():
    images = torch.arange(3.0)[:, None, None, None].expand(3, 3, 4, 4).clone()
    result = mixed(images, Mixing(np.array([1, 2, 0]), 0.0, (0, 0, 4, 4)))
    assert result[:, 0, 0, 0].tolist() == [1, 2, 0] and images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_shares_follow_the_beta_distribution():
    random = np.random.default_rng(0)
    shares = np.array([draw_mixing("mixup", 0.8, 1.0, 2, 8, random).share for _ in range(3000)])
    assert abs(shares.mean() - 0.5) < 0.02 and abs(shares.var() - 1 / (4 * 2.6)) < 0.005  # 1/(4 (2a + 1))


def test_as_many_batches_are_mixed_as_was_asked_for():
    images, recipe = pictures(2, 4), Recipe(4, "none", mix="mixup", mix_probability=0.3)
    unmixed = sum(batch_of(images, recipe, number=number).share == 1 for number in range(400))
    assert abs(unmixed / 400 - 0.7) < 0.07


def test_jitter_is_the_authors_in_any_order():
    images, uniform, normal = torch.rand(2, 3, 5, 7), torch.rand(2, 3), torch.randn(2, 3)
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    for image, strengths, alpha, result in zip(
        images.double().numpy(), 0.8 * uniform.double().numpy() - 0.4, normal.double().numpy(),
        jittered(images, uniform, normal), strict=True,
    ):  # fmt: skip
        brightness, contrast, saturation = strengths
        for order in ("bcs", "scb", "cbs"):
            wanted = image
            for step in order:
                grey = np.tensordot([0.299, 0.587, 0.114], wanted, 1)
                towards, share = {"b": (0, brightness), "c": (grey.mean(), contrast), "s": (grey, saturation)}[step]
                wanted = (1 - share) * wanted + share * towards
            light = vectors @ (0.1 * alpha * np.array([0.2175, 0.0188, 0.0045]))
            np.testing.assert_allclose(result.numpy(), wanted + light[:, None, None], atol=1e-6)


def test_colours_are_jittered_where_asked_for():
    images = pictures(3, 5)
    plain, coloured = (batch_of(images, Recipe(5, colour=colour)).images for colour in (False, True))
    assert not torch.allclose(plain, coloured, atol=1e-3)
    assert torch.equal(coloured[1:2], batch_of(images, Recipe(5, colour=True), torch.tensor([1])).images)


def test_recipes_have_fingerprints_of_their_own():
    recipes = [Recipe(7), Recipe(8), Recipe(7, "pad4"), Recipe(7, scale=(0.5, 1.0)), Recipe(7, shuffle=2)]
    assert len({recipe.fingerprint for recipe in recipes}) == 5 and Recipe(7).fingerprint == recipes[0].fingerprint


@pytest.mark.parametrize(
    "changes",
    [{"scale": (0.0, 1.0)}, {"scale": (0.9, 0.5)}, {"shuffle": 0}, {"strength": 0.0}, {"mix_probability": 2.0}],
)
def test_impossible_recipes_are_refused(changes):
    with pytest.raises(SettingsError):
        Recipe(7, **changes)

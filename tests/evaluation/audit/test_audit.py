"""The audit finds what was planted, and leaves alone what wasn't."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

import attar
from attar.distilled import Origin, write
from attar.errors import EvaluationError
from attar.evaluation.audit import contact_sheet, near_duplicates
from attar.evaluation.audit.hashes import nearest_hashes
from attar.evaluation.audit.pixels import search
from attar.evaluation.audit.thumbnails import Thumbnails
from attar.images import ArraySource
from small import manifest, small_backbone

CPU = torch.device("cpu")
REALS, HELD, SIDE = 53, 31, 67


class ColoursOnly(torch.nn.Module):
    """Features that any shuffling of the pixels keeps: the image's mean colour."""

    def forward(self, images):
        return images.mean((2, 3))


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch):
    """Clouds are told apart at first sight; the controls on photographs have all 50."""
    monkeypatch.setattr("attar.evaluation.audit.pixels._CANDIDATES", 5)


@pytest.fixture
def train(pictures, as_source) -> ArraySource:
    return as_source(pictures(REALS, seed=1))


@pytest.fixture
def test_images(pictures, as_source) -> ArraySource:
    return as_source(pictures(HELD, seed=2))


def images_of(source, indices) -> np.ndarray:
    return np.stack([image.transpose(1, 2, 0) for _, image in source.read(indices)])


def a_set(folder, images: np.ndarray, *, sources=None, backbones=(), classes=("class0", "class1", "class2")):
    """Images [n, side, side, 3] as if distilled; labels 0, 1, 2, 0, ..."""
    labels = np.arange(len(images)) % len(classes)
    record = manifest(classes, image_side=images.shape[1], backbones=list(backbones))
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return write(folder / "made", channels_first, labels, manifest=record, sources=sources)


def test_copies_are_found_whatever_was_done_to_them(tmp_path, train, test_images, spoil):
    chosen = [5, 50, 33, 41, 2, 47, 19]
    made = a_set(tmp_path, spoil(images_of(train, chosen)))
    done = attar.audit(made, train=train, test=test_images, device="cpu")
    by_pixels = done.searches[0]
    assert done.copies == tuple(range(7)) and by_pixels.flagged.all()
    assert by_pixels.nearest.tolist() == chosen
    assert {pair.train_index for pair in done.pairs if "pixels" in pair.flagged} == set(chosen)


def test_new_pictures_and_noise_are_no_copies(tmp_path, train, test_images, pictures):
    fresh = pictures(11, seed=3)
    noise = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    flat = np.full((2, SIDE, SIDE, 3), 120, dtype=np.uint8)
    made = a_set(tmp_path, np.concatenate([fresh, noise, flat]))
    done = attar.audit(made, train=train, test=test_images, device="cpu")
    assert done.copies == () and done.leaks == () and done.test_copies == () and done.real_images == 0


def test_a_single_planted_copy_is_named(tmp_path, train, test_images, pictures):
    images = pictures(7, seed=3)
    images[4] = images_of(train, [17])[0]
    done = attar.audit(a_set(tmp_path, images), train=train, test=test_images, device="cpu")
    first = done.pairs[0]
    assert done.copies == (4,) and (first.image, first.train_index) == (4, 17)
    assert first.name == "class1/class1-1.png" and first.train_name == train.name(17)
    assert not first.same_class  # image 17 is of class 2, the copy was labelled 1
    # Seven images and 31 held out: p alone can't fall low enough for one copy; the audit says so.
    assert any("p is at least 0.0312: among 7 images 5 copies" in remark for remark in done.remarks)
    assert done.searches[0].beyond == 1
    assert [pair.image for pair in done.pairs if "hash" in pair.scores] == [4]  # the others' nearest hash says nothing


def test_the_window_says_where_a_part_was_taken(train, pictures, as_source):
    whole = images_of(train, [40])[0]
    part = np.asarray(Image.fromarray(whole[20:54, 30:64]).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    found = search(Thumbnails.of(as_source(part[None], 1)), Thumbnails.of(train), device=CPU)
    assert found.index.tolist() == [40] and found.similarity.item() > 0.7
    np.testing.assert_allclose(found.window[0].numpy(), [20 / SIDE, 30 / SIDE, 34 / SIDE], atol=0.03)


def test_blocks_change_nothing(train, pictures, as_source, monkeypatch):
    queries = Thumbnails.of(as_source(pictures(3, seed=5)))
    reals = Thumbnails.of(train)
    whole = search(queries, reals, device=CPU)
    monkeypatch.setattr("attar.evaluation.audit.pixels._BLOCK", 13)
    monkeypatch.setattr("attar.evaluation.audit.pixels._pairs", lambda device: 5)
    parts = search(queries, reals, device=CPU)
    assert whole.index.tolist() == parts.index.tolist()
    torch.testing.assert_close(whole.similarity, parts.similarity)


@pytest.mark.parametrize("spoil", ["darker", "jpeg", "mirrored", "same"], indirect=True)
def test_repeated_test_images_are_listed_and_kept_out_of_the_scale(tmp_path, train, test_images, pictures, spoil):
    repeated = spoil(images_of(train, [8, 50]))
    images = np.concatenate([images_of(test_images, range(9)), repeated])
    labels = np.arange(11) % 3
    leaky = ArraySource(images, labels, train.classes)
    assert near_duplicates(leaky, train).tolist() == [9, 10]
    done = attar.audit(a_set(tmp_path, pictures(3, seed=3)), train=train, test=leaky, device="cpu")
    assert [(each.index, each.train_index) for each in done.leaks] == [(9, 8), (10, 50)]
    assert len(done.searches[0].null) == 9
    assert done.as_json()["test_images_in_train"]["count"] == 2


def test_flat_pictures_share_a_hash_and_are_no_duplicates(as_source):
    flat = as_source(np.stack([np.full((9, 9, 3), shade, dtype=np.uint8) for shade in (90, 120, 150)]))
    assert nearest_hashes(Thumbnails.of(flat).small, Thumbnails.of(flat).small)[1].tolist() == [0, 0, 0]
    assert len(near_duplicates(flat, flat)) == 0


def test_distilled_images_that_repeat_test_images_are_listed(tmp_path, train, test_images):
    made = a_set(tmp_path, images_of(test_images, [7, 3, 30]))
    done = attar.audit(made, train=train, test=test_images, device="cpu")
    assert [each.train_index for each in done.test_copies] == [7, 3, 30]


def test_features_say_which_backbone_distilled_the_set(tmp_path, train, test_images):
    used, other = small_backbone(0), small_backbone(1)
    origin = Origin(name=used.name, fingerprint=used.fingerprint)
    chosen = [5, 49, 33]
    made = a_set(tmp_path, images_of(train, chosen), backbones=[origin])
    done = attar.audit(made, train=train, test=test_images, backbones=[used, other], device="cpu")
    assert [each.distilled_through for each in done.searches] == [None, None, True, False]
    assert [each.nearest.tolist() for each in done.searches[2:]] == [chosen, chosen]
    assert all(each.flagged.all() for each in done.searches[2:])
    assert [each.backbone for each in done.memberships] == [used.name, other.name]
    assert all(each.low <= each.auc <= each.high for each in done.memberships)
    assert [each for pair in done.pairs for each in pair.flagged].count(used.name) == 0
    alone = attar.audit(made, train=train, backbones=[used], device="cpu")
    assert alone.memberships == () and any("Every backbone given distilled" in each for each in alone.remarks)


def test_nearness_in_the_features_that_distilled_the_set_is_no_copy(tmp_path, train, test_images, pictures):
    """The same network opened under another name counts as the one that distilled."""
    net = small_backbone(0)
    images = images_of(train, [5, 49, 33])
    shuffled = np.random.default_rng(0).permuted(images.reshape(3, -1, 3), axis=1).reshape(images.shape)
    alike = dataclasses.replace(net, module=ColoursOnly(), dim=3, name="timm:colours")
    for origin, copies in (("hub/colours", ()), ("other", (0, 1, 2))):
        made = a_set(tmp_path / origin, shuffled, backbones=[Origin(name=origin, fingerprint="f")])
        done = attar.audit(made, train=train, test=test_images, backbones=[alike], device="cpu")
        assert done.searches[2].flagged.all() and done.copies == copies
        assert any("no sign of a copy" in remark for remark in done.remarks) == (copies == ())


def test_without_a_test_set_a_tenth_of_the_training_images_is_the_scale(tmp_path, train, pictures):
    made = a_set(tmp_path, images_of(train, range(7)))
    done = attar.audit(made, train=train, device="cpu")
    assert len(done.searches[0].null) == 5 and done.leaks is None and done.test_copies is None
    assert done.searches[0].null.max() < 0.9  # held-out images aren't searched for among themselves
    assert any("--test" in remark for remark in done.remarks)


def test_selections_contain_training_images_by_their_own_record(tmp_path, train):
    made = a_set(tmp_path, images_of(train, range(3)), sources=["a.png", "b.png", ""])
    assert attar.audit(made, train=train, device="cpu").real_images == 2


def test_the_record_is_json_and_the_sheet_shows_the_pairs(tmp_path, train, test_images):
    made = a_set(tmp_path, images_of(train, range(3)))
    done = attar.audit(made, train=train, test=test_images, device="cpu")
    document = json.loads(json.dumps(done.as_json()))
    assert document["copies"] == [0, 1, 2] and document["searches"][0]["flagged"] == 3
    sheet = np.asarray(contact_sheet(done, made, train))
    tile = np.asarray(Image.fromarray(made.images[0].transpose(1, 2, 0)).resize((160, 160), Image.Resampling.NEAREST))
    assert np.array_equal(sheet[10:170, 10:170], tile)
    assert sheet[7, 50].tolist() == [255, 0, 0]  # the frame of a flagged pair
    with pytest.raises(EvaluationError, match="another set"):
        contact_sheet(done, made, test_images)


def test_one_training_image_is_refused(tmp_path, train):
    with pytest.raises(EvaluationError, match="has 1 image"):
        attar.audit(a_set(tmp_path, images_of(train, range(3))), train=train.subset([0]), device="cpu")

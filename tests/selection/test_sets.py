"""Selections as distilled sets."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

import attar
from attar import choose_settings, distill, load, select
from attar.distilled import write
from attar.errors import ArtefactError, SettingsError
from attar.features import read_squares
from attar.run import Run
from attar.selection import DRAWN, LIKE_A_SET, SELECTIONS, herding_images, jpeg_files, random_images
from attar.synthesis.views import centre_crop
from small import CLASSES, coloured, manifest, small_backbone, write_folder


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def large_backbone():
    """One of 70 pixels: views are smaller than the canvas of 80."""
    return replace(small_backbone(), image_size=70)


@pytest.fixture
def like(tmp_path):
    """Two images a class, in another order of classes."""
    order = ("cow", "ant", "bee")
    source = coloured(2, seed=50)
    labels = np.array([order.index(CLASSES[label]) for label in source.labels])
    record = manifest(order, image_side=8)
    return write(tmp_path / "like", read_squares(source, 8, range(6)), labels, manifest=record)


def names_of(made) -> list[str]:
    with (made.path / "images" / "metadata.csv").open(newline="") as file:
        return [row["source"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("method", SELECTIONS)
def test_every_selection_is_a_distilled_set_that_says_how_it_was_made(tmp_path, backbone, like, method: str):
    source = coloured(9)
    reference = {"like": like} if method in LIKE_A_SET else {"ipc": 2}
    made = select(source, backbone, tmp_path / "x", method=method, seed=4, **reference, device="cpu")
    made.verify()
    each = made.manifest.ipc
    assert made.labels.tolist() == np.repeat([0, 1, 2], each).tolist() and each >= (1 if method == "jpeg" else 2)
    assert made.images.shape == (3 * each, 3, 8, 8) and made.manifest.method == method
    assert made.manifest.data.fingerprint == source.fingerprint and made.manifest.seeds == {"distill": 4}
    assert made.manifest.settings["backbone_fingerprint"] == backbone.fingerprint
    assert len(made.train_hashes) == 27 and made.manifest.scores["seconds"] >= 0
    assert Run.beside(tmp_path / "x").settings()["method"] == method
    if method == "noise":
        assert names_of(made) == [""] * 6
    elif method == "rded":
        assert all(name.startswith(CLASSES[label]) for name, label in zip(names_of(made), made.labels, strict=True))
    elif method != "jpeg":
        numbers = [int(name.partition("/")[2]) for name in names_of(made)]
        assert (made.images == read_squares(source, 8, numbers)).all()
        assert source.labels[numbers].tolist() == made.labels.tolist() and len(set(numbers)) == 6


def test_choices_are_made_on_centre_crops(tmp_path, large_backbone):
    source = coloured(5)
    squares = torch.from_numpy(read_squares(source, 80, range(15))).float() / 255
    features = large_backbone(centre_crop(squares, 70)).numpy()
    made = select(source, large_backbone, tmp_path / "x", method="herding", ipc=2, device="cpu")
    numbers = [int(name.partition("/")[2]) for name in names_of(made)]
    assert numbers == herding_images(features, source.labels, 3, 2).tolist() and made.images.shape[-1] == 80


def test_a_random_set_holds_the_images_that_tables_draw(tmp_path, backbone):
    source = coloured(9)
    made = select(source, backbone, tmp_path / "x", method="random", ipc=3, seed=2, device="cpu")
    assert [int(name[-5:]) for name in names_of(made)] == random_images(source.labels, 3, 3, seed=2).tolist()


@pytest.mark.parametrize("method", sorted(set(SELECTIONS) - LIKE_A_SET))
def test_a_seed_decides_what_is_drawn_and_nothing_else(tmp_path, backbone, method: str):
    first, second, third = (
        select(coloured(13), backbone, tmp_path / name, method=method, ipc=3, seed=seed, device="cpu").images
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert (first == second).all()
    assert method == "kmeans" or (first != third).any() == (method in DRAWN)  # k-means may end where it did


def test_neighbours_find_the_images_that_a_set_was_made_of(tmp_path, backbone, like):
    """Among others, in another order of classes."""
    real = coloured(2, seed=50)
    source = attar.open([real, coloured(5)])
    made = select(source, backbone, tmp_path / "x", method="neighbours", like=like, device="cpu")
    assert sorted(map(np.ndarray.tobytes, made.images)) == sorted(map(np.ndarray.tobytes, like.images))
    assert made.manifest.ipc == 2 and made.classes == CLASSES


def test_jpeg_files_take_no_more_bytes_than_the_set_they_are_like(tmp_path, backbone, like):
    source = coloured(9)
    made = select(source, backbone, tmp_path / "x", method="jpeg", like=like, seed=1, device="cpu")
    stored = jpeg_files(source, 8, like.bytes, seed=1)
    assert made.manifest.scores["jpeg_bytes"] == stored.size <= like.bytes
    assert (made.images == stored.decoded(8)).all()
    assert [int(name[-5:]) for name in names_of(made)] == stored.chosen.tolist()


def test_weights_of_k_means_are_kept(tmp_path, backbone):
    made = select(coloured(9), backbone, tmp_path / "x", method="kmeans", ipc=2, device="cpu")
    assert made.weights.reshape(3, 2).sum(axis=1) == pytest.approx([2, 2, 2]) and made.weights.std() > 0


def test_copies_are_left_out_of_the_centroids(tmp_path, backbone):
    one = coloured(5)
    source = attar.open([one, one])
    made = select(source, backbone, tmp_path / "x", method="centroids", ipc=3, device="cpu")
    assert len({image.tobytes() for image in made.images}) == 9


def test_names_of_images_do_not_tell_where_they_lay(tmp_path, backbone, monkeypatch):
    write_folder(coloured(3), tmp_path / "home" / "photos" / "train")
    write_folder(coloured(3, seed=1), tmp_path / "home" / "more")
    one, other = tmp_path / "home" / "photos" / "train", tmp_path / "home" / "more"
    made = select(attar.open(one), backbone, tmp_path / "x", method="random", ipc=3, device="cpu")
    assert set(names_of(made)) == {f"{CLASSES[index % 3]}/{index:04d}.png" for index in range(9)}
    joined = select(attar.open(f"{one}+{other}"), backbone, tmp_path / "y", method="random", ipc=6, device="cpu")
    assert {name.rpartition("/")[0].rpartition("/")[0] for name in names_of(joined)} == {"photos/train", "home/more"}


def test_a_finished_set_is_not_made_again(tmp_path, backbone, like, monkeypatch):
    settings = {"method": "neighbours", "like": like, "device": "cpu"}
    made = select(coloured(9), backbone, tmp_path / "x", **settings)
    with monkeypatch.context() as patch:
        patch.setitem(SELECTIONS, "neighbours", lambda task: pytest.fail("made again"))
        again = select(coloured(9), backbone, tmp_path / "x", **settings)
        assert again.manifest == made.manifest
    assert select(coloured(9), backbone, tmp_path / "x", **settings, restart=True).manifest.checksum


def test_a_set_with_other_settings_is_refused_and_restart_replaces_it(tmp_path, backbone):
    out = tmp_path / "x"
    first = select(coloured(9), backbone, out, method="random", device="cpu")
    for source, changes in [
        (coloured(9), {"seed": 1}),
        (coloured(9), {"ipc": 2}),
        (coloured(9), {"method": "herding"}),
        (coloured(9, seed=1), {}),
    ]:
        with pytest.raises(SettingsError, match="holds a set with other settings"):
            select(source, backbone, out, **({"method": "random", "device": "cpu"} | changes))
    with pytest.raises(SettingsError, match="holds a set with other settings"):
        distill(coloured(9), backbone, out, settings=choose_settings("fast", steps=1), device="cpu")
    assert load(out).manifest == first.manifest
    assert len(select(coloured(9), backbone, out, method="herding", ipc=2, device="cpu", restart=True)) == 6


def test_a_run_that_is_not_finished_is_not_overwritten_and_refused_before_the_work(tmp_path, backbone, monkeypatch):
    Run.begin(tmp_path / "x", {"method": "sfm"}).save_checkpoint(1, {}, images=1)
    with monkeypatch.context() as patch, pytest.raises(SettingsError, match="holds a run with other settings"):
        patch.setitem(SELECTIONS, "random", lambda task: pytest.fail("worked in vain"))
        select(coloured(9), backbone, tmp_path / "x", method="random", device="cpu")
    select(coloured(9), backbone, tmp_path / "x", method="random", device="cpu", restart=True)
    assert not Run.beside(tmp_path / "x").started


def test_the_training_images_are_found_again_by_an_evaluation(tmp_path, backbone):
    write_folder(coloured(3), tmp_path / "photos")
    select(attar.open(tmp_path / "photos"), backbone, tmp_path / "x", method="random", device="cpu")
    assert Run.beside(tmp_path / "x").place("train") == str(tmp_path / "photos")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "hearding"}, "There is no selection 'hearding'.\nDid you mean herding"),
        ({"ipc": 0}, "Ipc = 0 or seed = 0 is too small"),
        ({"seed": -1}, "seed = -1 is too small"),
        ({"ipc": 10}, "Class ant has 9 images, fewer than the 10 asked for"),
        ({"method": "rded", "ipc": 10}, "Class ant has 9 images"),
        ({"method": "neighbours"}, "need a distilled set to be like"),
        ({"method": "jpeg"}, "need a distilled set to be like"),
    ],
)
def test_what_can_not_be_chosen_is_refused(tmp_path, backbone, changes, sentence: str):
    with pytest.raises(SettingsError, match=sentence):
        select(coloured(9), backbone, tmp_path / "x", **({"method": "random", "device": "cpu"} | changes))
    assert not list(tmp_path.iterdir())


def test_a_set_to_be_like_has_to_fit(tmp_path, backbone, like):
    for changes, sentence in [
        ({"method": "random"}, "Random has no use for --like"),
        ({"ipc": 2}, "Neighbours has as many images as fit the set"),
        ({"out": like.path}, "would replace the set"),
        ({"source": coloured(9, classes=("ant", "bee", "dog"))}, "lack cow, dog"),
        ({"source": coloured(1)}, "Class 0 has 1 images, fewer than the 2 distilled"),
    ]:
        given = {"source": coloured(9), "out": tmp_path / "x", "method": "neighbours", "like": like} | changes
        source, out = given.pop("source"), given.pop("out")
        with pytest.raises(SettingsError, match=sentence):
            select(source, backbone, out, **given, device="cpu")
    like.verify()


def test_noise_needs_no_image_for_each_of_its_own(tmp_path, backbone):
    assert len(select(coloured(1), backbone, tmp_path / "x", method="noise", ipc=5, device="cpu")) == 15


def test_a_foreign_folder_is_never_replaced(tmp_path, backbone):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.txt").write_text("precious")
    with pytest.raises(ArtefactError, match="is not a distilled set"):
        select(coloured(9), backbone, tmp_path / "x", method="random", device="cpu", restart=True)


def test_what_is_exported_is_what_there_is():
    assert attar.select is select and "select" in attar.__all__ and attar.__all__ == sorted(attar.__all__)
    assert all(hasattr(attar.selection, name) for name in attar.selection.__all__)
    assert set(SELECTIONS) >= DRAWN | LIKE_A_SET

"""The table: a distilled set beside what it must beat."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import attar
from attar.distilled import Origin, write
from attar.errors import EvaluationError
from attar.evaluation import evaluate
from attar.evaluation import probes as probes_module
from attar.evaluation.bench import Bench
from attar.evaluation.cells import Cells
from attar.features import read_squares
from attar.files import cache_folder
from attar.images import ArraySource
from attar.linear import converged_probe
from attar.progress import SILENT
from small import CLASSES, coloured, manifest, small_backbone

KEYS = {"method", "set", "distilled_on", "evaluated_on", "protocol", "ipc", "accuracy", "std", "ci95", "n_test"}
KEYS |= {"seeds", "bytes", "teacher", "table", "own", "beside_ipc", "per_class", "confusion", "gap_closed"}


def a_set(out: Path, *, seed: int = 0, classes=CLASSES, method: str = "sfm", shuffle: bool = False):
    """Two real images a class, written as if distilled."""
    source = coloured(2, seed=50 + seed)
    images = read_squares(source, 8, range(6))
    labels = np.array([classes.index(CLASSES[label]) for label in source.labels])
    if shuffle:
        labels = (labels + 1) % 3
    record = manifest(
        classes,
        method=method,
        image_side=8,
        seeds={"distill": seed},
        settings={"steps": 3, "seed": seed, "mean": [0.5, 0.5]},
        backbones=[Origin(name="small-0", fingerprint="f")],
    )
    return write(out, images, labels, manifest=record)


def accuracies(evaluation, method: str = "sfm") -> list[float]:
    return [row.accuracy for row in evaluation.rows if row.method == method]


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


def test_all_rows_are_there_and_beat_chance(tmp_path, backbone):
    made = a_set(tmp_path / "x")
    done = evaluate([made], test=coloured(40, seed=1), train=coloured(9), backbone=backbone, device="cpu")
    methods = ["sfm", "random", "centroids", "kmeans", "sub-centres", "ncm", "class-means", "lda", "full"]
    assert [(row.table, row.method) for row in done.rows] == [
        (name, method) for name in ("probe-v1", "probe-v1/std") for method in methods
    ]
    assert all(row.n_test == 120 and row.evaluated_on == "small-0" for row in done.rows)
    assert min((row.accuracy, row.method, row.protocol) for row in done.rows) > (50.0,)
    assert {row.method: row.ipc for row in done.rows} == {
        "sfm": 2,
        "random": 2,
        "centroids": 2,
        "kmeans": 2,
        "sub-centres": 2,
        "ncm": 1,
        "class-means": 1,
        "lda": 9,
        "full": 9,
    }
    assert done.row("sfm", "probe-v1").distilled_on == ("small-0",)
    assert done.row("random", "probe-v1").seeds["selection"] == [0, 1, 2, 3, 4]
    assert done.row("ncm", "probe-v1").bytes == 4 * 3 * 28 and done.row("sfm", "probe-v1").bytes == made.bytes
    assert [(row.method, other.method) for row, other, _ in done.differences()] == 2 * [
        ("sfm", method) for method in ("random", "centroids", "kmeans", "sub-centres", "class-means", "full")
    ]
    assert done.remarks == (
        "The training images given are not those that every set was distilled from.",
        "small-0 has other weights or preprocessing here than when it distilled.",
    )


def test_rows_in_json_have_the_documented_keys(tmp_path, backbone):
    sets = [a_set(tmp_path / "x")]
    document = evaluate(sets, test=coloured(5, seed=1), train=coloured(5), backbone=backbone, device="cpu").as_json()
    about = {"attar", "date", "hardware", "precision", "classes", "test", "train", "backbones", "sets"}
    assert document.keys() == {"rows", "differences", "verdicts", "remarks", "legends"} | about
    assert document["sets"]["x"]["checksum"] == sets[0].manifest.checksum and document["classes"] == list(CLASSES)
    assert document["sets"]["x"]["parts"]["images"] > 0 and document["backbones"] == {"small-0": backbone.fingerprint}
    for row in document["rows"]:
        assert row.keys() == (KEYS | {"gap_ci95", "lrs"} if row["distilled_on"] else KEYS)
        assert row["seeds"].keys() <= {"distill", "probe", "selection"}
        assert isinstance(row["distilled_on"], list) and 0 <= row["accuracy"] <= 100
        assert row["ci95"] is None or row["ci95"][0] <= row["accuracy"] <= row["ci95"][1]
    for difference in document["differences"]:
        assert difference["verdict"] in {"above", "below", "not below", "undecided"}


def test_the_order_of_the_classes_does_not_matter(tmp_path, backbone):
    test = coloured(40, seed=1)
    order = ("cow", "ant", "bee")
    labels = np.array([order.index(CLASSES[label]) for label in test.labels])
    other_test = ArraySource(np.stack([image for _, image in test.read(range(120))]), labels, order)
    plain = evaluate([a_set(tmp_path / "x")], test=test, train=coloured(9), backbone=backbone, device="cpu")
    other = evaluate(
        [a_set(tmp_path / "y", classes=("bee", "cow", "ant"))],
        test=other_test,
        train=coloured(9),
        backbone=backbone,
        device="cpu",
    )
    for method in ("sfm", "ncm", "class-means", "full"):
        assert accuracies(plain, method) == pytest.approx(accuracies(other, method))
    # The same centroids in another order are seen through other views.
    assert accuracies(plain, "centroids") == pytest.approx(accuracies(other, "centroids"), abs=5)


def test_missing_and_extra_classes_are_refused_by_name(tmp_path, backbone):
    made = a_set(tmp_path / "x")
    fewer, more = coloured(5, classes=("ant", "bee")), coloured(5, classes=(*CLASSES, "dog"))
    for test, train, sentence in [
        (fewer, None, "the test set lacks cow"),
        (more, None, "the test set has dog beside them"),
        (coloured(5), coloured(5, classes=("ant", "bee", "dog")), "the training set lacks cow and has dog"),
    ]:
        with pytest.raises(EvaluationError, match=sentence):
            evaluate([made], test=test, train=train, backbone=backbone, device="cpu")


def test_without_training_images_the_rows_are_missing_and_a_remark_says_so(tmp_path, backbone):
    done = evaluate([a_set(tmp_path / "x")], test=coloured(5), train=None, backbone=backbone, device="cpu")
    assert {row.method for row in done.rows} == {"sfm"}
    assert any("n/a: random, centroids, ncm, class-means and full" in remark for remark in done.remarks)


def test_sets_that_differ_in_seed_make_one_row_with_an_interval(tmp_path, backbone):
    sets = [a_set(tmp_path / str(seed), seed=seed) for seed in range(3)]
    other = a_set(tmp_path / "other", method="dm")
    test, one = coloured(40, seed=1), ("probe-v1",)
    done = evaluate([*sets, other], test=test, train=None, backbone=backbone, protocols=one, device="cpu")
    assert [(row.method, row.set) for row in done.rows] == [("sfm", "0, 1, 2"), ("dm", "other")]
    row = done.rows[0]
    alone = [
        accuracies(evaluate([each], test=test, train=None, backbone=backbone, protocols=one, device="cpu"))[0]
        for each in sets
    ]
    assert row.seeds["distill"] == [0, 1, 2]
    assert row.accuracy == pytest.approx(np.mean(alone)) and row.std == pytest.approx(np.std(alone, ddof=1))
    half = 4.303 * row.std / np.sqrt(3)
    assert row.ci95 == pytest.approx((row.accuracy - half, min(100, row.accuracy + half)), abs=1e-2)
    assert done.rows[1].ci95 is None
    assert row.correct.shape == (3, 120) and 100 * row.correct.mean() == pytest.approx(row.accuracy)


def test_wrong_labels_are_wrong_and_mixed_labels_near_chance(tmp_path, backbone):
    test = coloured(100, seed=1)
    wrong = evaluate([a_set(tmp_path / "x", shuffle=True)], test=test, train=None, backbone=backbone, device="cpu")
    assert max(accuracies(wrong)) < 25
    mixed = coloured(9)
    labels = np.random.default_rng(1).permutation(mixed.labels)
    train = ArraySource(np.stack([image for _, image in mixed.read(range(27))]), labels, CLASSES)
    random_test = ArraySource(
        np.random.default_rng(0).integers(0, 256, (600, 9, 9, 3), dtype=np.uint8), np.arange(600) % 3, CLASSES
    )
    done = evaluate([], test=random_test, train=train, backbone=backbone, device="cpu")
    chance, deviation = 100 / 3, 100 * np.sqrt(2 / 9 / 600)
    assert abs(done.row("full", "probe-v1").accuracy - chance) < 3 * deviation
    assert any("hardly better than chance" in remark for remark in done.remarks)


def test_a_class_with_fewer_images_than_ipc_is_a_remark(tmp_path, backbone):
    made = a_set(tmp_path / "x")
    done = evaluate([made], test=coloured(5, seed=1), train=coloured(1), backbone=backbone, device="cpu")
    assert {row.method for row in done.rows} == {"sfm", "ncm", "class-means", "full"}
    assert any("n/a: real images at 2 a class" in remark for remark in done.remarks)


def test_training_on_the_set_uses_its_weights(tmp_path, backbone):
    """An image of weight 0 might as well hold another class' picture."""
    source = coloured(2, seed=50)
    images = read_squares(source, 8, range(6))
    spoilt = np.concatenate([images, images[::-1]])
    labels = np.concatenate([source.labels, source.labels])
    record = manifest(CLASSES, image_side=8, settings={})
    clean = write(tmp_path / "clean", images, source.labels, manifest=record)
    weighted = write(tmp_path / "w", spoilt, labels, manifest=record, weights=[1.0] * 6 + [0.0] * 6)
    plain = write(tmp_path / "p", spoilt, labels, manifest=record)
    clean_row, weighted_row, plain_row = (
        evaluate([each], test=coloured(40, seed=1), train=None, backbone=backbone, protocols=["probe-v1"], device="cpu")
        for each in (clean, weighted, plain)
    )
    assert accuracies(clean_row) == pytest.approx(accuracies(weighted_row))
    assert accuracies(plain_row)[0] < accuracies(clean_row)[0] - 5


@pytest.mark.parametrize(("fresh_limit", "expected"), [(600, "lgm-probe"), (0, "lgm-probe/bank64")])
def test_the_published_probe_takes_cached_views_where_fresh_ones_take_too_long(
    tmp_path, backbone, monkeypatch, fresh_limit, expected
):
    recipes = []

    def short(view, labels, classes, dim, *, seed, **recipe):
        recipes.append((seed, recipe))
        return probes_module.adam_probe(view, labels, classes, dim, seed=seed, epochs=2, batch=recipe.get("batch", 100))

    module = importlib.import_module("attar.evaluation.bench")
    monkeypatch.setattr(module, "_FRESH_LIMIT_SECONDS", fresh_limit)
    monkeypatch.setattr(module, "adam_probe", short)
    done = evaluate(
        [a_set(tmp_path / "x")],
        test=coloured(5, seed=1),
        train=coloured(5),
        backbone=backbone,
        protocols=["lgm-probe"],
        device="cpu",
    )
    assert {row.method: row.protocol for row in done.rows} == {
        "sfm": expected,
        "random": expected,
        "centroids": expected,
        "kmeans": expected,
        "ncm": "ncm",
        "full": "lgm-probe/bank8",
    }
    assert {row.table for row in done.rows} == {expected}
    assert [seed for seed, _ in recipes[:5]] == [3407, 3408, 3409, 3410, 3411]
    assert recipes[-1][1] == {"epochs": 100, "batch": 128}


def test_a_sub_centre_an_image_is_the_full_data(tmp_path, backbone):
    done = evaluate(
        [a_set(tmp_path / "x")],
        test=coloured(9, seed=1),
        train=coloured(2, seed=3),
        backbone=backbone,
        protocols=["probe-v1"],
        device="cpu",
    )
    centres, full = done.row("sub-centres", "probe-v1"), done.row("full", "probe-v1")
    assert np.array_equal(centres.correct, full.correct)
    assert centres.bytes == 4 * 6 * 28


def test_small_grey_images_are_not_mirrored(backbone):
    for grey, flip in ((True, False), (False, True)):
        assert Bench(backbone, coloured(3, grey=grey), CLASSES, Cells(), SILENT).policy.flip is flip


def test_each_set_meets_real_images_of_its_own_number(tmp_path, backbone):
    one, two = a_set(tmp_path / "one"), a_set(tmp_path / "two", method="dm")
    few = coloured(1, seed=60)
    record = manifest(
        CLASSES, ipc=1, image_side=8, settings={"steps": 1}, backbones=[Origin(name="b", fingerprint="f")]
    )
    single = write(tmp_path / "single", read_squares(few, 8, range(3)), few.labels, manifest=record)
    sets = [single, one, two]
    done = evaluate(
        sets, test=coloured(9, seed=1), train=coloured(9), backbone=backbone, protocols=["probe-v1"], device="cpu"
    )
    met = {(row.set, other.method): other.ipc for row, other, _ in done.differences()}
    assert met["single", "random"] == 1 and met["one", "random"] == 2 and met["two", "kmeans"] == 2
    assert ("single", "kmeans") not in met
    named = {(each["set"], each["ipc"]) for each in done.as_json()["differences"]}
    assert named == {("single", 1), ("one", 2), ("two", 2)}


def test_test_images_that_were_trained_on_are_refused_or_left_out(tmp_path, backbone):
    train = coloured(9)
    copied = coloured(5, seed=1)
    images = [image for _, image in copied.read(range(15))]
    images[4] = next(train.read([13]))[1]
    test = ArraySource(np.stack(images), copied.labels, CLASSES)
    settings = {"test": test, "train": train, "backbone": backbone, "protocols": ["probe-v1"], "device": "cpu"}
    with pytest.raises(EvaluationError, match="1 of 15 test images are exact copies"):
        evaluate([a_set(tmp_path / "x")], **settings)
    done = evaluate([a_set(tmp_path / "x")], **settings, drop_shared=True)
    assert done.rows[0].n_test == 14 and any("1 test images were left out" in remark for remark in done.remarks)
    known = write(
        tmp_path / "known",
        read_squares(train, 8, [0, 9, 18]),
        train.labels[[0, 9, 18]],
        manifest=manifest(CLASSES, image_side=8, settings={}),
        train_hashes=train.hashes(),
    )
    with pytest.raises(EvaluationError, match="exact copies"):
        evaluate([known], **(settings | {"train": None}))


def test_a_set_given_twice_is_refused(tmp_path, backbone):
    made = a_set(tmp_path / "x")
    with pytest.raises(EvaluationError, match="given twice"):
        evaluate([made, made], test=coloured(5, seed=1), train=None, backbone=backbone, device="cpu")


def renamed(source: ArraySource, order: tuple[str, ...]) -> ArraySource:
    """The same images in folders whose names have changed places."""
    return ArraySource(np.stack([image for _, image in source.read(range(len(source)))]), source.labels, order)


def test_test_images_whose_folders_were_renamed_are_refused(tmp_path, backbone):
    made, train, test = a_set(tmp_path / "x"), coloured(40), coloured(40, seed=1)
    settings = {"train": train, "backbone": backbone, "protocols": ["probe-v1"], "device": "cpu"}
    turned = renamed(test, ("bee", "cow", "ant"))
    with pytest.raises(EvaluationError, match="classes seem to be mixed up") as caught:
        evaluate([made], test=turned, **settings)
    assert "bee looks like ant" in caught.value.hint
    assert evaluate([made], test=test, **settings).row("full", "probe-v1").accuracy > 80


def test_several_backbones_make_one_evaluation_with_a_column_each(tmp_path):
    first, second = small_backbone(0), small_backbone(1)
    made = a_set(tmp_path / "x")
    settings = {"test": coloured(40, seed=1), "train": coloured(9), "protocols": ["probe-v1"], "device": "cpu"}
    both = evaluate([made], backbone=[first, second], **settings)
    assert both.backbones == ("small-0", "small-1")
    for each in (first, second):
        alone = evaluate([made], backbone=each, **settings)
        part = [row for row in both.rows if row.evaluated_on == each.name]
        assert [(row.method, row.accuracy) for row in part] == [(row.method, row.accuracy) for row in alone.rows]
    assert all(row.evaluated_on == other.evaluated_on for row, other, _ in both.differences())


def logged(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_no_cell_is_computed_twice(tmp_path, backbone, monkeypatch):
    settings = {"test": coloured(9, seed=1), "train": coloured(9), "backbone": [backbone, small_backbone(1)]}
    settings |= {"protocols": ["probe-v1", "knn-v1"], "device": "cpu"}
    sets, module = [a_set(tmp_path / "x")], importlib.import_module("attar.evaluation.bench")
    fitted = []

    def counting(*given, **named):
        if len(fitted) == 7:
            raise KeyboardInterrupt
        fitted.append(given)
        return converged_probe(*given, **named)

    monkeypatch.setattr(module, "converged_probe", counting)
    with pytest.raises(KeyboardInterrupt):
        evaluate(sets, log=tmp_path / "first.jsonl", **settings)
    monkeypatch.setattr(module, "converged_probe", converged_probe)
    second = evaluate(sets, log=tmp_path / "second.jsonl", **settings)
    third = evaluate(sets, log=tmp_path / "third.jsonl", **settings)
    first_cells, second_cells, third_cells = (
        logged(tmp_path / f"{name}.jsonl") for name in ("first", "second", "third")
    )
    done = {line["cell"] for line in first_cells if line["computed"]}
    assert len(done) >= 7 and {line["cell"] for line in second_cells if not line["computed"]} >= done
    computed = [line["cell"] for line in first_cells + second_cells if line["computed"]]
    assert len(computed) == len(set(computed)) > 2 * 7
    assert not any(line["computed"] for line in third_cells)
    assert [row.accuracy for row in second.rows] == [row.accuracy for row in third.rows]


def test_a_damaged_cell_is_computed_again(tmp_path, backbone):
    settings = {"test": coloured(9, seed=1), "train": None, "backbone": backbone, "protocols": ["knn-v1"]}
    sets = [a_set(tmp_path / "x")]
    before = accuracies(evaluate(sets, **settings, device="cpu"))
    for file in cache_folder().glob("cells/*/*.safetensors"):
        file.write_bytes(file.read_bytes()[:-3])
    assert accuracies(evaluate(sets, **settings, log=tmp_path / "log", device="cpu")) == before
    assert all(line["computed"] for line in logged(tmp_path / "log"))


def test_controls_are_at_chance_or_below(tmp_path, backbone):
    settings = {"test": coloured(40, seed=1), "train": coloured(9), "backbone": backbone, "device": "cpu"}
    made = a_set(tmp_path / "x")
    done = evaluate([made], **settings, protocols=["probe-v1"], controls=True)
    assert done.row("jpeg", "probe-v1").bytes <= made.bytes
    chance, deviation = 100 / 3, 100 * np.sqrt(2 / 9 / 120)
    assert done.row("shuffled", "probe-v1").accuracy < chance
    assert done.row("noise", "probe-v1").accuracy < chance + 5 * deviation
    assert done.row("sfm", "probe-v1").accuracy > chance + 5 * deviation


def test_answers_of_all_probes_are_counted_by_class(tmp_path, backbone):
    done = evaluate([a_set(tmp_path / "x")], test=coloured(7, seed=1), train=None, backbone=backbone, device="cpu")
    row = done.row("sfm", "probe-v1")
    assert row.confusion.sum(1).tolist() == 3 * [7 * 3]  # three probes
    assert row.confusion.trace() / row.confusion.sum() == pytest.approx(row.accuracy / 100)
    assert np.mean(row.per_class) == pytest.approx(row.accuracy)


def test_inheritance_stands_beside_its_controls(tmp_path):
    teacher, student = small_backbone(0), small_backbone(1)
    source = coloured(2, seed=50)
    origin = [Origin(name="small-0", fingerprint=teacher.fingerprint)]
    record = manifest(CLASSES, image_side=8, settings={}, backbones=origin)
    made = write(tmp_path / "x", read_squares(source, 8, range(6)), source.labels, manifest=record)
    other = a_set(tmp_path / "other", method="dm")
    settings = {"test": coloured(40, seed=1), "train": coloured(20), "backbone": [teacher, student], "device": "cpu"}
    done = evaluate([made, other], protocols=["probe-v1", "inherit-ridge-v1"], **settings)
    rows = [row for row in done.rows if row.table == "inherit-ridge-v1"]
    assert {row.teacher for row in rows} == {"small-0"}
    assert [(row.evaluated_on, row.method) for row in rows] == [
        (name, method) for name in ("small-0", "small-1") for method in ("sfm", "random", "centroids", "noise", "jpeg")
    ]
    same = done.row("sfm", "inherit-ridge-v1", evaluated_on="small-0")
    assert same.accuracy == pytest.approx(done.row("full", "probe-v1", evaluated_on="small-0").accuracy, abs=3)
    # a map from 28 features to three logits, and its bias, is stored beside the images
    assert same.bytes == made.bytes + 4 * 3 * 29
    found = [
        (row.evaluated_on, other.table) for row, other, _ in done.differences() if row.teacher and other.distilled_on
    ]
    assert found == [("small-0", "probe-v1"), ("small-1", "probe-v1")]
    assert any("nothing is inherited by other" in remark for remark in done.remarks)
    with pytest.raises(EvaluationError, match="inherit-ridge-v1 needs the training images"):
        evaluate([made], protocols=["inherit-ridge-v1"], **(settings | {"train": None}))


def test_a_selection_is_a_set_among_others_and_no_rival_of_itself(tmp_path, backbone):
    train = coloured(9)
    chosen = attar.select(train, backbone, tmp_path / "chosen", method="random", ipc=2, device="cpu")
    settings = {"test": coloured(40, seed=1), "train": train, "backbone": backbone, "protocols": ["probe-v1"]}
    done = evaluate([chosen, a_set(tmp_path / "x")], **settings, device="cpu")
    rivals = [(row.set, other.method, len(other.correct)) for row, other, _ in done.differences()]
    assert ("chosen", "random", 5) in rivals and ("x", "random", 5) in rivals
    assert all(not other.distilled_on for _, other, _ in done.differences())


def test_each_set_meets_jpeg_files_in_the_bytes_of_sets_of_its_number(tmp_path, backbone):
    train = coloured(40)
    two = attar.select(train, backbone, tmp_path / "two", method="random", ipc=6, device="cpu")
    one = attar.select(train, backbone, tmp_path / "one", method="random", ipc=12, device="cpu")
    settings = {"test": coloured(20, seed=1), "train": train, "backbone": backbone, "protocols": ["probe-v1"]}
    done = evaluate([two, one], **settings, controls=True, device="cpu")
    met = {row.set: other for row, other, _ in done.differences() if other.method == "jpeg"}
    assert met["two"].bytes < two.bytes < met["one"].bytes < one.bytes
    assert (met["two"].beside_ipc, met["one"].beside_ipc) == (6, 12)


def test_an_inherited_classifier_of_all_images_meets_no_probe_on_few(tmp_path):
    """Only all images and class means, which inherit from nobody, come from the table of plain probes."""
    backbone = small_backbone(0)
    source = coloured(2, seed=50)
    origin = [Origin(name="small-0", fingerprint=backbone.fingerprint)]
    record = manifest(CLASSES, image_side=8, settings={}, backbones=origin)
    made = write(tmp_path / "x", read_squares(source, 8, range(6)), source.labels, manifest=record)
    settings = {"test": coloured(40, seed=1), "train": coloured(20), "backbone": [backbone, small_backbone(1)]}
    done = evaluate([made], **settings, protocols=["probe-v1", "inherit-ridge-v1"], device="cpu")
    met = {other.method for row, other, _ in done.differences() if row.teacher and other.table == "probe-v1"}
    assert met == {"class-means", "full", "sfm"}  # and the same set by itself


def test_a_backbone_is_known_by_its_weights_and_not_by_its_name(tmp_path):
    teacher, other = small_backbone(0), small_backbone(1)
    source = coloured(2, seed=50)
    origin = [Origin(name="small-0", fingerprint=teacher.fingerprint)]
    record = manifest(CLASSES, image_side=8, settings={}, backbones=origin)
    made = write(tmp_path / "x", read_squares(source, 8, range(6)), source.labels, manifest=record)
    disguised = [replace(teacher, name="alias"), replace(other, name="small-0")]
    done = evaluate(
        [made], test=coloured(9, seed=1), train=None, backbone=disguised, protocols=["probe-v1"], device="cpu"
    )
    assert {row.evaluated_on: row.own for row in done.rows} == {"alias": True, "small-0": False}


def test_the_tuned_probe_tunes_the_full_data_too_and_knows_whose_labels_it_chose_by(tmp_path, backbone):
    sets, test = [a_set(tmp_path / "x")], coloured(40, seed=1)
    train, turned = coloured(20), renamed(coloured(20), ("bee", "cow", "ant"))
    settings = {"backbone": backbone, "protocols": ["probe-v1/tuned"], "device": "cpu"}
    right = evaluate(sets, test=test, train=train, **settings)
    assert right.row("full", "probe-v1/tuned").protocol == "probe-v1/tuned"
    assert right.row("full", "probe-v1/tuned").accuracy > 80
    log = tmp_path / "log"
    evaluate(sets, test=renamed(test, ("bee", "cow", "ant")), train=turned, **settings, log=log)
    assert all(line["computed"] for line in logged(log))
    with pytest.raises(EvaluationError, match="two images of each class"):
        evaluate(sets, test=test, train=coloured(1), **settings)


@pytest.mark.parametrize("each", [1, 2, 3, 4])
def test_few_training_images_leave_rows_out_and_end_nothing(tmp_path, backbone, each):
    settings = {"test": coloured(9, seed=1), "train": coloured(each), "backbone": backbone, "device": "cpu"}
    done = evaluate([a_set(tmp_path / "x")], **settings, protocols=["probe-v1", "ridge-v1"])
    assert (done.row("lda", "probe-v1") is not None) is (each >= 4)
    assert done.row("full", "ridge-v1").protocol == ("ridge" if each >= 4 else "probe-v1")

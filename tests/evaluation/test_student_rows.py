"""Students in a table: sets beside random images, whose labels they learn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import attar
from attar.compression.relabel import relabel
from attar.distilled import write
from attar.errors import AttarError, BackboneError, EvaluationError
from attar.evaluation import student_rows, students
from attar.evaluation.matrix import matrix
from attar.evaluation.student_protocols import student_protocol
from attar.files import cache_folder
from attar.images import ArraySource
from pupils import SIDE, a_set, a_student, a_teacher
from small import CLASSES, coloured, manifest, small_backbone

QUICK = "soft-rded/epochs=3"


def evaluate(sets, *, teacher=None, protocols=(QUICK,), train=True, seeds=2, **options):
    return attar.evaluate(
        sets,
        test=coloured(5, seed=1),
        train=coloured(4, seed=2) if train is True else train,
        protocols=protocols,
        students=["convnet3"],
        teacher=teacher,
        student_seeds=seeds,
        device="cpu",
        **options,
    )


@pytest.fixture(autouse=True)
def _small_students(monkeypatch):
    """Whatever its name, a student is tiny."""
    monkeypatch.setattr(
        student_rows, "make_classifier", lambda name, classes, *, side, norm, seed: a_student(classes, seed)
    )


@pytest.fixture
def teacher(tmp_path):
    return a_teacher(tmp_path / "t.safetensors")


@pytest.fixture
def trainings(monkeypatch):
    """The names of students' images, as they are trained."""
    done, train = [], student_rows.train_student

    def counted(*args, task, **kwargs):
        done.append(task)
        return train(*args, task=task, **kwargs)

    monkeypatch.setattr(student_rows, "train_student", counted)
    return done


def test_sets_stand_beside_random_images_under_the_same_labels(tmp_path, teacher, trainings):
    sets = [a_set(tmp_path / f"x{seed}", seed=seed) for seed in (0, 1)]
    done = evaluate(sets, teacher=teacher, protocols=(QUICK, "hard-rded/epochs=3"))
    assert [(row.table, row.method, row.evaluated_on) for row in done.rows] == [
        (name, method, "convnet3") for name in (QUICK, "hard-rded/epochs=3") for method in ("sfm", "random")
    ]
    assert len(trainings) == 2 * (2 * 2 + 3)
    made, random = done.rows[:2]
    assert made.seeds == {"distill": [0, 1], "student": [0, 1]} and made.correct.shape == (2, 15)
    assert random.seeds == {"selection": [0, 1, 2], "student": [0, 1, 2]} and random.correct.shape == (3, 15)
    assert random.bytes > 0 and made.bytes > 0 and all(row.best >= row.accuracy for row in done.rows)
    assert done.about["teacher"] == {"name": teacher.name, "fingerprint": teacher.fingerprint}
    assert all("best" in row for row in done.as_json()["rows"])
    assert [(row.set, other.method) for row, other, _ in done.differences()] == [("x0, x1", "random")] * 2


def test_the_network_that_a_set_was_distilled_on_stands_apart(tmp_path):
    made = a_set(tmp_path / "x", architecture="convnet3")
    done = attar.evaluate(
        [made],
        test=coloured(5, seed=1),
        train=coloured(4, seed=2),
        protocols=("hard-rded/epochs=1",),
        students=["convnet3", "resnet18", "cifar_resnet20"],
        student_seeds=1,
        device="cpu",
    )
    of_set, random = matrix(done, "hard-rded/epochs=1").lines
    assert [row.own for row in of_set.rows] == [True, False, False]
    assert of_set.own == of_set.rows[0].accuracy
    assert of_set.others == pytest.approx((of_set.rows[1].accuracy + of_set.rows[2].accuracy) / 2)
    assert random.own is None and random.others is None


def test_a_table_is_not_computed_twice(tmp_path, teacher, trainings, monkeypatch):
    monkeypatch.setattr(students, "_CHECKPOINT_SECONDS", -1)
    made = a_set(tmp_path / "x")
    first = evaluate([made], teacher=teacher)
    count = len(trainings)
    second = evaluate([made], teacher=teacher)
    assert count == len(trainings) == 2 + 3
    for one, other in zip(first.rows, second.rows, strict=True):
        assert (one.accuracy, one.best) == (other.accuracy, other.best) and np.array_equal(one.correct, other.correct)
    assert not list((cache_folder() / "students").glob("*"))
    evaluate([made], teacher=a_teacher(tmp_path / "other.safetensors", seed=1))
    assert len(trainings) == 2 * count


def test_permuted_classes_give_the_same_answers(tmp_path, teacher):
    turned = (CLASSES[1], CLASSES[2], CLASSES[0])
    plain = evaluate([a_set(tmp_path / "x")], teacher=teacher, seeds=1)
    other = evaluate([a_set(tmp_path / "x")], teacher=a_teacher(tmp_path / "u.safetensors", classes=turned), seeds=1)
    assert [row.accuracy for row in plain.rows] == [row.accuracy for row in other.rows]
    assert np.array_equal(plain.rows[0].confusion, other.rows[0].confusion)


def test_stored_labels_replay_without_the_teacher(tmp_path, teacher):
    made = a_set(tmp_path / "x")
    stored = stored_for(made, teacher)
    alone, helped = evaluate([made]), evaluate([made], teacher=teacher)
    assert [row.method for row in alone.rows] == ["sfm"] and [row.method for row in helped.rows] == ["sfm", "random"]
    assert np.array_equal(alone.rows[0].correct, helped.rows[0].correct)
    assert any("random under soft-rded/epochs=3 needs" in remark for remark in alone.remarks)
    assert alone.about["soft_labels"][0]["bytes"] == stored.bytes
    assert alone.rows[0].bytes == made.bytes + stored.bytes
    assert any("same views under every seed" in remark for remark in alone.remarks)
    with pytest.raises(EvaluationError, match="teacher"):
        evaluate([made], teacher=a_teacher(tmp_path / "other.safetensors", seed=1))


def stored_for(made, teacher):
    """Soft labels beside a set, for all of a quick training."""
    schedule = student_protocol(QUICK).schedule(2, 3, 6, SIDE)
    told = {"protocol": QUICK, "epochs": schedule.epochs, "batch": schedule.batch, "device": "cpu"}
    return relabel(made, teacher, schedule.recipe, **told)


def test_labels_count_only_where_students_learn_them(tmp_path, teacher):
    made = a_set(tmp_path / "x")
    stored_for(made, teacher)
    done = evaluate([made], protocols=("hard-rded/epochs=1",), seeds=1)
    assert [row.bytes for row in done.rows if row.distilled_on] == [made.bytes]
    assert not any("same views" in remark for remark in done.remarks)


def test_stored_labels_of_a_teacher_that_saw_test_images_are_refused(tmp_path, trainings):
    seen = coloured(5, seed=1).hashes()
    made = a_set(tmp_path / "x")
    stored_for(made, a_teacher(tmp_path / "t.safetensors", train_hashes=frozenset(seen[:2])))
    with pytest.raises(EvaluationError, match=r"t\.safetensors was trained on 2 of 15 test images"):
        evaluate([made])
    assert not trainings


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(
    ("hashes", "ssl", "doubt"),
    [
        (frozenset([b"8 bytes."]), "none", None),
        (frozenset([b"8 bytes."]), "imported", "its file lists the images of its head alone"),
        (frozenset(), "imported", "its file lists no training images"),
        (frozenset(), "none", "its file lists no training images"),
    ],
)
def test_what_is_not_known_of_the_teachers_images_is_told(tmp_path, hashes, ssl, doubt, stored):
    made, teacher = a_set(tmp_path / "x"), a_teacher(tmp_path / "t.safetensors", train_hashes=hashes)
    object.__setattr__(teacher, "record", teacher.record.model_copy(update={"ssl": ssl}))
    if stored:
        stored_for(made, teacher)
    done = evaluate([made], teacher=None if stored else teacher, seeds=1, train=None)
    told = [remark for remark in done.remarks if "saw test images" in remark]
    assert len(told) == (doubt is not None) and all(remark.endswith(f"isn't known: {doubt}.") for remark in told)


def test_old_labels_say_that_nothing_is_known_of_their_teacher(tmp_path, teacher):
    made = a_set(tmp_path / "x")
    (stored_for(made, teacher).folder / "teacher.safetensors").unlink()
    done = evaluate([made], seeds=1)
    assert any("checked with --teacher alone" in remark for remark in done.remarks)


def test_students_of_one_set_are_its_spread(tmp_path, monkeypatch):
    """Sets of the same method, whose students are right on 3, 6 and 12 of 15 images, and random ones always on 6."""
    rights = {0: 3, 1: 6, 2: 12}

    def train(network, images, labels, schedule, *, seed, test, task, **options):
        truth, right = test.labels.numpy(), 6 if "random" in task else rights[seed]
        answers = np.where(np.arange(15) < right, truth, (truth + 1) % 3)
        return students.StudentResult(answers, answers)

    monkeypatch.setattr(student_rows, "train_student", train)
    sets = [a_set(tmp_path / f"x{seed}", seed=seed) for seed in (0, 1)]
    one = evaluate(sets[:1], protocols=("hard-rded/epochs=1",), seeds=3)
    accuracies = 100 * np.array([3, 6, 12]) / 15
    row = one.rows[0]
    assert row.accuracy == pytest.approx(accuracies.mean()) and row.std == pytest.approx(accuracies.std(ddof=1))
    assert row.correct.shape == (3, 15) and row.ci95 is not None
    assert row.as_json()["students"] == accuracies.round(2).tolist()
    assert row.seeds == {"distill": [0], "student": [0, 1, 2]}
    (_, _, found), *_ = one.differences()
    assert found.mean == pytest.approx(100 / 15) and found.verdict == "undecided"
    two = evaluate(sets, protocols=("hard-rded/epochs=1",), seeds=3).rows[0]
    assert two.correct.shape == (2, 15) and two.std == pytest.approx(0) and len(two.students) == 6


def test_every_length_of_training_is_told(tmp_path):
    plans = []

    class Told(students.Progress):
        def plan(self, text):
            plans.append(text)

    sets = [a_set(tmp_path / f"x{ipc}{seed}", ipc=ipc, seed=seed) for ipc, seed in ((1, 0), (2, 0), (2, 1))]
    for place, one in enumerate(sets):
        object.__setattr__(one.manifest, "method", ("sfm", "dm-mean", "dm-mean")[place])
    evaluate(sets, protocols=("hard-minimax/epochs=1",), train=None, seeds=1, progress=Told())
    lengths = [text.partition(" pixels, ")[2].partition(";")[0] for text in plans]
    assert lengths == ["1 epochs of 3 images in batches of 3", "1 epochs of 6 images in batches of 6"]


def test_without_training_images_random_is_not_available(tmp_path):
    done = evaluate([a_set(tmp_path / "x")], train=None, protocols=("hard-rded/epochs=3",), seeds=1)
    assert [row.method for row in done.rows] == ["sfm"]
    assert any("--train" in remark for remark in done.remarks)


def test_probes_and_students_share_a_call(tmp_path):
    protocols = ("probe-v1", "hard-rded/epochs=3")
    done = evaluate([a_set(tmp_path / "x")], protocols=protocols, backbone=small_backbone(), seeds=1)
    assert done.tables == protocols and set(done.backbones) == {"small-0", "convnet3"}
    probed = [row for row in done.rows if row.table == "probe-v1"]
    assert len(probed) > 5 and all(row.best is None and "best" not in row.as_json() for row in probed)


def test_hard_minimax_gives_students_instance_norm(tmp_path, monkeypatch):
    norms = []

    def make(name, classes, *, norm, **options):
        norms.append(norm)
        return a_student(classes)

    monkeypatch.setattr(student_rows, "make_classifier", make)
    protocols = ("hard-minimax/epochs=1", "hard-rded/epochs=1")
    evaluate([a_set(tmp_path / "x")], protocols=protocols, train=None, seeds=1)
    assert norms == ["instance", "batch"]


def test_classes_are_matched_by_name(tmp_path):
    turned = (CLASSES[2], CLASSES[0], CLASSES[1])
    made = a_set(tmp_path / "x", classes=turned, ipc=9)
    done = evaluate([made], protocols=("hard-rded/epochs=60",), train=None, seeds=1)
    assert done.rows[0].accuracy > 60


def test_large_images_are_tested_on_the_centre_of_a_larger_one(tmp_path, monkeypatch):
    shown = []

    def train(*args, test, **options):
        shown.append(test.images)
        return students.StudentResult(test.labels.numpy(), test.labels.numpy())

    monkeypatch.setattr(student_rows, "train_student", train)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    test = ArraySource(pixels, np.arange(3), CLASSES)
    made = write(
        tmp_path / "x", np.zeros((3, 3, 112, 112), np.uint8), np.arange(3), manifest=manifest(ipc=1, image_side=112)
    )
    attar.evaluate([made], test=test, train=None, protocols=["hard-rded"], students=["convnet3"], student_seeds=1)
    assert np.array_equal(shown[0].numpy(), pixels.transpose(0, 3, 1, 2)[:, :, 8:120, 8:120])


def test_a_teacher_that_saw_test_images_is_refused(tmp_path, trainings):
    seen = coloured(5, seed=1).hashes()
    spoilt = a_teacher(tmp_path / "t.safetensors", train_hashes=frozenset(seen[:2]))
    with pytest.raises(EvaluationError, match="2 of 15 test images"):
        evaluate([a_set(tmp_path / "x")], teacher=spoilt)
    assert not trainings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "--teacher"),
        ({"protocols": ("probe-v1",)}, "--backbone"),
        ({"protocols": ("soft-rdde",)}, "soft-rded"),
        ({"protocols": ("rded",)}, "rded"),
        ({"seeds": 0}, "--seeds"),
    ],
)
def test_what_lacks_something_is_refused_first(tmp_path, trainings, changes, said):
    with pytest.raises(AttarError, match=said):
        evaluate([a_set(tmp_path / "x")], **changes)
    assert not trainings


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    other = a_teacher(tmp_path / "t.safetensors")
    object.__setattr__(other, "record", other.record.model_copy(update={"classes": ("ant", "bee", "cat")}))
    with pytest.raises(EvaluationError, match="cow"):
        evaluate([a_set(tmp_path / "x")], teacher=other)


def test_an_unknown_student_is_refused_before_the_first_is_trained(tmp_path, trainings):
    with pytest.raises(BackboneError, match="resnet81"):
        attar.evaluate(
            [a_set(tmp_path / "x")],
            test=coloured(5, seed=1),
            train=None,
            protocols=["hard-rded/epochs=1"],
            students=["convnet3", "resnet81"],
            device="cpu",
        )
    assert not trainings

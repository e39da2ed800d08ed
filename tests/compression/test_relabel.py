"""Soft labels: they fit the batches that any process rebuilds, continue after a stop, and are refused elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from attar.backbones.architectures import Classifier
from attar.backbones.squeezed import Squeezed
from attar.compression import relabel as module
from attar.compression import soft_labels
from attar.compression.relabel import relabel, reordered, teacher_logits
from attar.compression.soft_labels import SoftLabels
from attar.compression.views import Recipe, draw_batch, epoch_batches, make_batch
from attar.distilled import DistilledSet, load, write
from attar.errors import EvaluationError, FileError, SettingsError
from attar.progress import Progress
from attar.tensors import read_tensors
from small import CLASSES, manifest, squeeze_record

SIDE, COUNT, BATCH = 8, 7, 3
RECIPE = Recipe(SIDE, mix="cutmix")


def teacher(classes=CLASSES, *, seed=0, side=SIDE, scale=1.0) -> Squeezed:
    """A convolution with BatchNorm whose statistics are not those of any batch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(5)
        body = nn.Sequential(nn.Conv2d(3, 5, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network = Classifier(body, 5, len(classes))
    norm.running_mean.fill_(0.3)
    norm.num_batches_tracked.fill_(1)
    network.head.weight.data *= scale
    record = squeeze_record(
        classes, architecture="tiny", stem="small", side=side, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
    )
    return Squeezed("tiny", network.eval().requires_grad_(False), record, frozenset())


@pytest.fixture
def made(tmp_path) -> DistilledSet:
    images = np.random.default_rng(2).integers(0, 256, (COUNT, 3, SIDE, SIDE), dtype=np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    return write(tmp_path / "x.attar", images, labels, manifest=manifest(image_side=SIDE))


def label(made, recipe=RECIPE, by=None, **changes) -> SoftLabels:
    values = {"protocol": "soft-fkd", "epochs": 3, "batch": BATCH, "seed": 11, "device": "cpu"} | changes
    return relabel(made, by or teacher(), recipe, **values)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_labels_are_the_teachers_answers_to_the_batches_that_students_see(made):
    labels, images, network = label(made), torch.from_numpy(made.images), teacher().network.double()
    for epoch in range(3):
        for number, ids in enumerate(epoch_batches(COUNT, BATCH, 11, epoch)):
            seen = make_batch(images, ids, RECIPE, seed=11, epoch=epoch, number=number).images.double()
            pixels = (seen - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[
                :, None, None
            ]
            found = labels.logits(epoch, number)
            assert found.dtype == torch.float16
            torch.testing.assert_close(found.double(), network(pixels), atol=1e-3, rtol=1e-3)


_READER = """
import hashlib, sys, torch
from attar.compression.soft_labels import SoftLabels
from attar.compression.views import epoch_batches, make_batch
from attar.distilled import load
torch.set_num_threads(int(sys.argv[2]))
made = load(sys.argv[1])
labels = SoftLabels.open(made, "soft-fkd")
record, images, sha = labels.record, torch.from_numpy(made.images), hashlib.sha256()
for epoch in reversed(range(record.epochs)):
    for number, ids in enumerate(epoch_batches(len(made), record.batch, record.seed, epoch)):
        batch = make_batch(images, ids, record.recipe, seed=record.seed, epoch=epoch, number=number)
        for part in (batch.images, batch.ids, batch.partners, torch.tensor(batch.share), labels.logits(epoch, number)):
            sha.update(part.numpy().tobytes())
print(sha.hexdigest())
"""


def test_another_process_rebuilds_views_and_labels_bit_by_bit(made, capsys, monkeypatch):
    recipe = Recipe(SIDE, scale=(0.2, 1.0), shuffle=2, mix="mixup", strength=0.8)
    label(made, recipe)
    monkeypatch.setattr(sys, "argv", ["reader", str(made.path), "1"])
    exec(_READER, {})
    here = capsys.readouterr().out
    there = subprocess.run(
        [sys.executable, "-c", _READER, str(made.path), "2"], capture_output=True, text=True, check=True
    )
    assert there.stdout == here and len(here) == 65


def test_an_interrupted_run_ends_as_one_that_was_not(made, monkeypatch):
    whole = files(label(made).folder)
    shutil.rmtree(made.path / "labels")
    answers, asked = module.teacher_logits, []

    def stopped(*arguments):
        asked.append(1)
        if len(asked) == 5:  # in the second epoch
            raise KeyboardInterrupt
        return answers(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "teacher_logits", stopped)
        with pytest.raises(KeyboardInterrupt, match="The same command continues after 1 of 3 epochs"):
            label(made)
    assert set(files(made.path / "labels" / "soft-fkd")) == {
        "index.json",
        "teacher.safetensors",
        "epoch-0000.safetensors",
    }
    again = []
    with monkeypatch.context() as patch:
        patch.setattr(module, "teacher_logits", lambda *arguments: again.append(1) or answers(*arguments))
        assert files(label(made).folder) == whole
    assert len(again) == 2 * 3  # the first epoch stays


def test_more_epochs_add_to_those_that_are_there(made):
    short = files(label(made, epochs=2, protocol="soft-fkd/epochs=2").folder)
    longer = label(made, epochs=5)
    assert longer.record.epochs == 5 and list((made.path / "labels").iterdir()) == [longer.folder]
    kept = files(longer.folder)
    assert all(kept[name] == data for name, data in short.items() if name != "index.json") and len(kept) == 7
    assert label(made, epochs=1).record.epochs == 5 and files(longer.folder) == kept


def test_a_damaged_epoch_is_refused_and_made_anew(made):
    labels = label(made)
    whole, shard = files(labels.folder), labels.shard(1)
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x55")
    with pytest.raises(EvaluationError, match=r"epoch-0001.safetensors is damaged.\nGive the relabel command again"):
        labels.read(1)
    assert labels.read(0).shape == (COUNT, 3)
    assert files(label(made).folder) == whole


def test_an_epoch_in_the_place_of_another_is_refused(made):
    labels = label(made)
    shutil.copy(labels.shard(0), labels.shard(1))
    with pytest.raises(EvaluationError, match=r"epoch-0001.safetensors holds labels of other batches"):
        labels.logits(1, 0)


def test_labels_of_another_order_are_refused(made, monkeypatch):
    labels = label(made, Recipe(SIDE, "none", flip=False))
    monkeypatch.setattr(soft_labels, "epoch_batches", lambda *names: [ids.flip(0) for ids in epoch_batches(*names)])
    with pytest.raises(EvaluationError, match="holds labels of other batches"):
        labels.read(0)


@pytest.mark.parametrize("mix", ["none", "mixup"])
def test_labels_of_views_that_were_drawn_otherwise_are_refused(made, monkeypatch, mix):
    labels = label(made, replace(RECIPE, mix=mix))
    monkeypatch.setattr(soft_labels, "draw_batch", lambda *names, **seeds: draw_batch(*names, **seeds | {"number": 9}))
    if mix == "none":  # views don't depend on the number of their batch
        assert labels.has(0)
        monkeypatch.setattr(
            soft_labels, "draw_batch", lambda *names, **seeds: draw_batch(*names, **seeds | {"seed": 9})
        )
    assert not labels.has(0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 12}, "seed 11 -> 12"),
        ({"batch": 4}, "batch 3 -> 4"),
        ({"recipe": replace(RECIPE, flip=False)}, "another recipe"),
        ({"by": teacher(seed=1)}, "another teacher"),
    ],
)
def test_labels_made_otherwise_are_refused_or_replaced(made, changes, told):
    label(made, epochs=4)
    with pytest.raises(SettingsError, match=f"holds labels made otherwise: {told}") as refused:
        label(made, **changes)
    assert "--restart" in str(refused.value)
    replaced = files(label(made, **changes, restart=True).folder)
    shutil.rmtree(made.path / "labels")
    assert files(label(made, **changes).folder) == replaced


def test_labels_of_other_images_are_refused(made):
    label(made)
    order = [1, 0, *range(2, COUNT)]
    other = write(made.path.with_name("y.attar"), made.images[order], made.labels, manifest=manifest(image_side=SIDE))
    shutil.copytree(made.path / "labels", other.path / "labels")
    for use in (lambda: SoftLabels.open(other, "soft-fkd"), lambda: label(other)):
        with pytest.raises(EvaluationError, match="holds labels of other images"):
            use()
    assert label(other, restart=True).record.images != label(made).record.images


def test_a_damaged_index_is_refused_or_replaced(made):
    labels = label(made)
    (labels.folder / "index.json").write_text("{}")
    with pytest.raises(EvaluationError, match=r"index.json can't be read"):
        label(made)
    assert label(made, restart=True).record == labels.record


def test_students_are_refused_labels_that_do_not_fit_them(made):
    labels = label(made)
    labels.refuse_unfit(RECIPE, epochs=3, batch=BATCH, teacher=teacher())
    for changes, told in [
        ({"recipe": Recipe(SIDE)}, "made otherwise: another recipe"),
        ({"batch": 5}, "made otherwise: batch 3 -> 5"),
        ({"teacher": teacher(seed=1)}, "made otherwise: another teacher"),
        ({"epochs": 4}, "lacks the labels of 1 of 4 epochs"),
    ]:
        values = {"recipe": RECIPE, "epochs": 3, "batch": BATCH} | changes
        with pytest.raises(EvaluationError, match=told):
            labels.refuse_unfit(values.pop("recipe"), **values)


def test_a_set_without_labels_says_so(made):
    assert SoftLabels.open(made, "soft-fkd") is None


def test_a_set_stays_whole_when_it_is_labelled(made):
    label(made)
    load(made.path).verify()


def test_the_bytes_are_told_before_and_after(made):
    class Told(Progress):
        def __init__(self):
            self.plans, self.steps = [], []

        def plan(self, text):
            self.plans.append(text)

        def advance(self, task, done, total, figures=None):
            self.steps.append((done, total))

    told = Told()
    labels = label(made, progress=told)
    assert told.plans == [f"3 of 3 epochs to label: {3 * COUNT * 3 * 2} bytes to {labels.folder}"]
    assert told.steps == [(1, 3), (2, 3), (3, 3)]
    assert labels.bytes == sum(
        len(data) for name, data in files(labels.folder).items() if name != "teacher.safetensors"
    )


def test_a_full_disk_is_told_before_the_work(made, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(500, 400, 100))
    with pytest.raises(FileError, match=r"126 bytes are needed and 100 free") as refused:
        label(made)
    assert "online" in str(refused.value)
    assert not (made.path / "labels").exists() and label(made, epochs=2).record.epochs == 2


def test_the_room_of_labels_that_go_counts_as_free(made, monkeypatch):
    old = label(made)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(500, 500, 0))
    assert old.bytes > 126 and label(made, seed=12, restart=True).record.seed == 12


def test_old_labels_stay_until_the_first_new_epoch_is_there(made, monkeypatch):
    before = files(label(made).folder)

    def refused(problem, **changes):
        with pytest.raises(problem):
            label(made, **({"seed": 12, "restart": True} | changes))
        assert files(made.path / "labels" / "soft-fkd") == before

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(500, 500, 0))
        refused(FileError, epochs=999)
    refused(EvaluationError, by=teacher(scale=1e7))
    with monkeypatch.context() as patch:
        patch.setattr(module, "teacher_logits", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        refused(KeyboardInterrupt)
    labels = label(made, seed=12, restart=True, epochs=2)
    assert len(files(labels.folder)) == 4


def test_what_the_teacher_was_trained_on_lies_beside_its_labels(made):
    hashes = frozenset([bytes(8), b"\xff" * 8, b"\x80 bytes."])
    informed = replace(teacher(), train_hashes=hashes)
    assert label(made, by=informed).teacher_data == soft_labels.TeacherData(hashes, elsewhere=False)
    elsewhere = replace(informed, record=informed.record.model_copy(update={"ssl": "imported"}))
    other = label(made, by=elsewhere, protocol="soft-rded")
    assert other.teacher_data == soft_labels.TeacherData(hashes, elsewhere=True)
    file = other.folder / "teacher.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EvaluationError, match=r"teacher.safetensors is damaged.\nGive the relabel command again"):
        _ = other.teacher_data
    file.unlink()
    assert other.teacher_data is None
    assert label(made, by=elsewhere, protocol="soft-rded").teacher_data is not None


def test_answers_come_in_the_sets_order_of_classes(made):
    same, turned = teacher(), teacher(("cow", "ant", "bee"))
    turned.network.load_state_dict(same.network.state_dict())
    first, second = label(made), label(made, by=turned, protocol="soft-rded")
    assert first.record.classes == second.record.classes == CLASSES
    assert torch.equal(second.read(0), first.read(0)[:, [1, 2, 0]])


@given(order=st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_reordered_logits_keep_their_names(order):
    names = "abcde"
    logits = torch.arange(10.0).reshape(2, 5)
    found = reordered(logits, names, [names[place] for place in order])
    assert found.tolist() == [[float(place) for place in order], [float(5 + place) for place in order]]


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("ant", "bee", "dog"), "the teacher does not know class 'cow'"),
        (("ant", "bee"), "the teacher does not know class 'cow'"),
        ((*CLASSES, "dog"), "the teacher also knows class 'dog'"),
    ],
)
def test_teachers_of_other_classes_are_refused(made, classes, told):
    with pytest.raises(EvaluationError, match=f"(?i){told}"):
        label(made, by=teacher(classes))
    assert not (made.path / "labels").exists()


def test_teachers_of_another_side_are_refused(made):
    with pytest.raises(EvaluationError, match="sees 9 pixels, and the views have 8"):
        label(made, by=teacher(side=9))


def test_answers_that_do_not_fit_into_half_precision_are_refused(made):
    with pytest.raises(EvaluationError, match="not finite"):
        label(made, by=teacher(scale=1e7))


def test_half_precision_keeps_probabilities_at_temperature_20():
    logits = 3 * torch.randn(200, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact, kept = (values.div(20).log_softmax(1) for values in (logits, logits.half().double()))
    assert (kept.exp() / exact.exp() - 1).abs().max() < 4e-4
    assert (exact.exp() * (exact - kept)).sum(1).max() < 2e-9
    assert -(exact.exp() * exact).sum(1).mean() == pytest.approx(4.594, abs=2e-3)


def test_the_teacher_answers_by_what_it_learnt_not_by_the_batch():
    network, images = teacher(), torch.rand(6, 3, SIDE, SIDE)
    before = network.fingerprint
    together, alone = teacher_logits(network, images), teacher_logits(network, images[2:3])
    torch.testing.assert_close(together[2:3], alone, atol=2e-3, rtol=0)
    assert replace(network).fingerprint == before


def test_a_teacher_in_training_mode_is_refused():
    careless = teacher()
    careless.network.train()
    with pytest.raises(EvaluationError, match="tiny is in training mode"):
        teacher_logits(careless, torch.rand(2, 3, SIDE, SIDE))


def test_impossible_numbers_are_refused(made):
    for changes in ({"epochs": 0}, {"batch": 0}, {"seed": -1}):
        with pytest.raises(SettingsError, match="can't be labelled"):
            label(made, **changes)


def test_a_shard_holds_nothing_but_two_bytes_a_class(made):
    tensors, about = read_tensors(label(made).shard(0))
    assert {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()} == {
        "logits": (torch.float16, (COUNT, 3))
    }
    assert list(about) == ["labels"]

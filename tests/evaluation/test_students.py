"""Training a student: its losses, its restart, and the labels that it replays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attar.backbones.squeezed import state_hash
from attar.compression.relabel import relabel
from attar.errors import EvaluationError
from attar.evaluation import student_checkpoint, students
from attar.evaluation.student_lessons import hard_loss, soft_loss
from attar.evaluation.students import Unseen, train_student
from attar.features import read_squares
from attar.files import write_bytes
from pupils import SIDE, a_set, a_student, a_teacher, quick
from small import CLASSES, coloured


def pixels(per_class: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = coloured(per_class, seed=seed)
    return torch.from_numpy(read_squares(source, SIDE, range(len(source)))), torch.from_numpy(source.labels)


def unseen(per_class: int = 7) -> Unseen:
    return Unseen(*pixels(per_class, seed=1))


def trained(schedule=None, **changes) -> str:
    """The state of a student after its training."""
    network = a_student()
    images, labels = pixels()
    train_student(network, images, labels, schedule or quick(soft=False), **({"seed": 3} | changes))
    return state_hash(network)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 4.0, 20.0]))
def test_the_soft_loss_is_the_divergence_of_two_distributions(seed, temperature):
    random = np.random.default_rng(seed)
    student, teacher = random.normal(0, 3, (2, 5, 7))
    p, q = (np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True) for z in (teacher, student))
    expected = (p * np.log(p / q)).sum(1).mean()
    found = soft_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_the_soft_loss_of_equal_logits_is_nothing():
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert abs(float(soft_loss(logits, logits, 20.0))) < 1e-15


@pytest.mark.parametrize("temperature", [2.0, 16.0])
def test_the_square_of_the_temperature_scales_loss_and_gradient(temperature):
    teacher, student = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for scaled in (False, True):
        student = student.detach().requires_grad_()
        loss = soft_loss(student, teacher, temperature, scaled=scaled)
        gradients.append((loss.detach(), *torch.autograd.grad(loss, student)))
    for plain, scaled in zip(*gradients, strict=True):
        assert torch.equal(scaled, plain * temperature**2)


def test_hard_labels_count_by_their_share():
    logits = torch.tensor([[0.0, np.log(3.0)]], dtype=torch.float64)  # probabilities 1/4 and 3/4
    loss = hard_loss(logits, torch.tensor([0]), torch.tensor([1]), 0.75)
    assert float(loss) == pytest.approx(0.75 * np.log(4) + 0.25 * np.log(4 / 3), rel=1e-12)


def test_a_student_learns():
    network, (images, labels) = a_student(), pixels(9)
    schedule = quick(soft=False, epochs=30, batch=9)
    found = train_student(network, images, labels, schedule, seed=0, test=unseen())
    assert found is not None and not network.training
    right = unseen().labels.numpy()
    assert np.mean(found.last == right) > 0.6
    assert np.mean(found.best == right) >= np.mean(found.last == right)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("killed_after", [1, 11])
def test_a_training_goes_on_where_it_was_killed(tmp_path, monkeypatch, optimiser, killed_after):
    monkeypatch.setattr(students, "_CHECKPOINT_SECONDS", -1)
    schedule, file = quick(soft=False, epochs=13, optimiser=optimiser), tmp_path / "x.safetensors"
    (images, labels), test = pixels(), unseen()
    whole, resumed = a_student(), a_student(seed=99)
    expected = train_student(whole, images, labels, schedule, seed=3, test=test)

    class KilledError(Exception):
        pass

    class Killer(students.Progress):
        def advance(self, task, done, total, figures=None):
            if done == killed_after + 1:
                raise KilledError

    with pytest.raises(KilledError):
        train_student(a_student(), images, labels, schedule, seed=3, test=test, checkpoint=file, progress=Killer())
    assert int(student_checkpoint.read_tensors(file)[0]["epoch"]) == killed_after
    found = train_student(resumed, images, labels, schedule, seed=3, test=test, checkpoint=file)
    assert state_hash(resumed) == state_hash(whole)
    assert np.array_equal(found.last, expected.last) and np.array_equal(found.best, expected.best)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize(("kind", "options"), [(torch.optim.AdamW, {}), (torch.optim.SGD, {"momentum": 0.9})])
def test_a_training_goes_on_where_its_weights_lie(tmp_path, kind, options):
    network, (images, labels), test = a_student(), pixels(), unseen()
    optimiser = kind(network.parameters(), lr=0.01, **options)
    torch.nn.functional.cross_entropy(network(images / 255), labels).backward()
    optimiser.step()
    student_checkpoint.save(tmp_path / "x.safetensors", network, optimiser, 1, test.labels)
    away = a_student().to("meta")
    resumed = kind(away.parameters(), lr=0.01, **options)
    epochs, best = student_checkpoint.restore(tmp_path / "x.safetensors", away, resumed)
    kept = [value for state in resumed.state.values() for value in state.values()]
    assert epochs == 1 and len(kept) == sum(len(state) for state in optimiser.state.values()) > 0
    assert {value.device.type for value in (*kept, best)} == {"meta"}


def test_a_damaged_checkpoint_counts_as_none(tmp_path):
    file = tmp_path / "x.safetensors"
    write_bytes(file, b"nonsense")
    assert trained(checkpoint=file) == trained()


def test_every_seed_sees_views_of_its_own():
    assert trained() == trained() != trained(seed=4)


def test_replayed_labels_teach_as_the_teacher_does(tmp_path):
    distilled, teacher, schedule = a_set(tmp_path / "x", ipc=3), a_teacher(tmp_path / "t.safetensors"), quick()
    stored = relabel(distilled, teacher, schedule.recipe, protocol="soft-x", epochs=5, batch=4, seed=11, device="cpu")
    images, labels = torch.from_numpy(distilled.images), torch.from_numpy(distilled.labels)
    states = []
    for seed, source in ((11, {"teacher": teacher}), (0, {"stored": stored}), (0, {"teacher": teacher})):
        network = a_student()
        train_student(network, images, labels, schedule, seed=seed, classes=distilled.classes, **source)
        states.append(state_hash(network))
    assert states[0] == states[1] != states[2]


def test_the_order_of_the_teachers_classes_does_not_matter(tmp_path):
    turned = (CLASSES[2], CLASSES[0], CLASSES[1])
    teachers = [
        a_teacher(tmp_path / f"{place}.safetensors", classes=names) for place, names in enumerate((CLASSES, turned))
    ]
    states = [trained(quick(), teacher=teacher, classes=CLASSES) for teacher in teachers]
    assert states[0] == states[1]
    assert states[0] != trained(quick(), teacher=teachers[1])  # without names the labels are those of other classes


def test_soft_labels_need_somebody_who_gives_them():
    with pytest.raises(EvaluationError, match="--teacher"):
        trained(quick())


def test_a_last_batch_of_one_image_is_left_out():
    network, (images, labels) = a_student(), pixels(3)
    network.body[0].stride = (4, 4)  # 2 x 2 pixels become 1: BatchNorm refuses one of them
    network.body.insert(1, torch.nn.AdaptiveAvgPool2d(1))
    network.head = torch.nn.Linear(28, 3)
    train_student(network, images, labels, quick(soft=False, batch=4, epochs=1), seed=0)


def test_a_diverging_training_is_told():
    with pytest.raises(EvaluationError, match="not finite after epoch 5"):
        trained(quick(soft=False, optimiser="sgd", lr=1e30))


@pytest.mark.parametrize(("decay", "moved"), [("matrices", False), ("all", True)])
def test_weight_decay_spares_vectors_unless_told(decay, moved):
    network, (images, labels) = a_student(), pixels()
    network.body[1].bias.requires_grad_(True).data.fill_(1.0)
    schedule = quick(soft=False, decay=decay, optimiser="sgd", lr=1e-12, weight_decay=1e11, epochs=1, batch=9)
    before = network.body[0].weight.detach().clone()
    train_student(network, images, labels, schedule, seed=0)
    assert bool((network.body[1].bias < 0.95).all()) is moved
    assert not torch.allclose(network.body[0].weight, before, rtol=1e-3)


def test_without_weight_decay_all_tensors_learn_alike():
    assert trained(quick(soft=False, decay="matrices", weight_decay=0.0)) == trained(
        quick(soft=False, decay="all", weight_decay=0.0)
    )


def test_half_precision_keeps_whole_weights():
    network, (images, labels) = a_student(), pixels()
    train_student(network, images, labels, quick(soft=False), seed=3, precision="bf16")
    assert all(weights.dtype == torch.float32 for weights in network.parameters())
    assert state_hash(network) != trained()

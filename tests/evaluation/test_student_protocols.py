"""Schedules of students: the numbers of the papers, and what set, side and length make of them."""

from __future__ import annotations

import pytest

from attar.errors import EvaluationError
from attar.evaluation.student_protocols import STUDENT_PROTOCOLS, is_student_protocol, student_protocol


def schedule(name: str, *, ipc: int = 10, classes: int = 10, side: int = 224, student: str = "resnet18"):
    return student_protocol(name).schedule(ipc, classes, ipc * classes, side, student)


@pytest.mark.parametrize(
    ("ipc", "classes", "epochs"),
    [
        (1, 10, 3000),
        (10, 10, 2000),
        (11, 10, 1500),
        (50, 10, 1500),
        (200, 10, 1000),
        (500, 10, 500),
        (501, 10, 300),
        (1, 100, 2000),
        (10, 100, 1300),
        (50, 100, 1000),
    ],
)
def test_minimax_trains_longer_on_fewer_images(ipc, classes, epochs):
    assert schedule("hard-minimax", ipc=ipc, classes=classes).epochs == epochs


def test_minimax_has_another_rate_for_many_classes_and_its_own_views_of_cifar():
    few, many, small = (
        schedule("hard-minimax"),
        schedule("hard-minimax", classes=101),
        schedule("hard-minimax", side=32),
    )
    assert (few.lr, few.weight_decay, few.batch) == (0.01, 5e-4, 64)
    assert (many.lr, many.weight_decay, many.batch) == (0.1, 1e-4, 128)
    assert (small.epochs, small.recipe.crop, small.recipe.mix_probability) == (1000, "pad4", 0.5)
    assert few.recipe.scale == (0.5, 1.0) and few.recipe.colour and few.recipe.mix_probability == 1.0
    assert (few.norm, schedule("soft-minimax").norm) == ("instance", "batch")


@pytest.mark.parametrize(
    ("ipc", "classes", "side", "batch"),
    [
        (1, 10, 32, 10),
        (10, 10, 32, 50),
        (50, 10, 32, 100),
        (10, 100, 32, 100),
        (50, 1000, 224, 200),
        (1, 200, 64, 100),  # Tiny-ImageNet
        (1, 200, 224, 10),
    ],
)
def test_rded_has_small_batches_for_few_images(ipc, classes, side, batch):
    assert schedule("soft-rded", ipc=ipc, classes=classes, side=side).batch == batch


def test_no_batch_is_larger_than_the_set():
    assert (
        schedule("soft-fkd", ipc=3, classes=7).batch == 21 and schedule("soft-fkd", ipc=200, classes=10).batch == 1024
    )


def test_only_tiles_are_shuffled_and_cropped_by_rded():
    tiled, whole = schedule("soft-rded").recipe, schedule("soft-rded", side=64).recipe
    assert (tiled.shuffle, tiled.crop, tiled.scale, tiled.mix) == (2, "rrc", (0.5, 1.0), "cutmix")
    assert (whole.shuffle, whole.crop, whole.mix, whole.side) == (1, "none", "cutmix", 64)


def test_rded_has_a_rate_for_each_student():
    names = ("resnet50", "mobilenetv2_100", "efficientnet_b0", "vgg11_bn", "vit_base_patch16_224")
    assert [schedule("hard-rded", student=name).lr for name in names] == [1e-3, 2.5e-3, 2e-3, 5e-4, 1e-4]


def test_rded_trains_the_smallest_network_on_cifar_100_by_its_own_numbers():
    def numbers(**changes):
        plan = schedule("soft-rded", **({"classes": 100, "side": 32, "student": "convnet3"} | changes))
        return plan.batch, plan.lr

    assert numbers() == numbers(ipc=50) == (25, 2e-3)
    others = {"student": "resnet18"}, {"student": "convnet4"}, {"side": 64}, {"classes": 101}
    assert [numbers(**other) for other in others] == [(100, 1e-3), (100, 1e-3), (100, 1e-3), (50, 1e-3)]


def test_learning_rates_follow_their_cosines():
    slow = schedule("soft-rded")
    assert [slow.factor(epoch) for epoch in (0, 150, 300)] == pytest.approx([1, 0.853553390593, 0.5], abs=1e-12)
    cifar = schedule("soft-scdd-cifar", side=32)
    assert cifar.epochs == 200 and cifar.factor(200) == pytest.approx(0.75, abs=1e-12)
    plain = schedule("soft-sre2l-cifar", side=32)
    assert [plain.factor(epoch) for epoch in (0, 200, 400)] == pytest.approx([1, 0.5, 0], abs=1e-12)


def test_minimax_steps_down_at_two_thirds_and_five_sixths():
    plan = schedule("hard-minimax/epochs=13")
    assert [plan.factor(epoch) for epoch in (0, 7, 8, 9, 10, 12)] == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])


def test_tiny_warms_up_from_a_hundredth():
    plan = schedule("soft-tiny", classes=200, side=64)
    assert [plan.factor(epoch) for epoch in (0, 5)] == pytest.approx([0.01, 1])
    assert plan.factor(100) == pytest.approx(0, abs=1e-12) and plan.scaled and plan.temperature == 20
    assert schedule("soft-tiny/epochs=1", side=64).factor(0) == 1


def test_a_length_in_the_name_stretches_the_rate():
    short = schedule("soft-scdd-cifar/epochs=7", side=32)
    assert short.epochs == 7 and short.factor(7) == pytest.approx(0.75, abs=1e-12)
    assert student_protocol("soft-scdd-cifar/epochs=7").id == "soft-scdd-cifar/epochs=7"


def test_images_are_tested_as_the_protocol_says():
    sides = {name: schedule(name).test_side for name in ("soft-rded", "soft-fkd", "hard-minimax", "soft-tiny")}
    assert sides == {"soft-rded": 256, "soft-fkd": 256, "hard-minimax": 224, "soft-tiny": 224}
    assert schedule("soft-rded", side=64).test_side == 64 and schedule("soft-rded", side=112).test_side == 128


def test_soft_and_hard_are_the_same_but_for_labels():
    for name in ("fkd", "kd-in1k", "cda-in1k", "scdd-in1k", "sre2l-cifar", "scdd-cifar", "tiny", "rded", "minimax"):
        soft, hard = vars(schedule(f"soft-{name}")), vars(schedule(f"hard-{name}"))
        assert {key for key in soft if soft[key] != hard[key]} <= {"soft", "norm"}, name
    assert len(STUDENT_PROTOCOLS) == 18 and all(map(is_student_protocol, STUDENT_PROTOCOLS))
    assert not is_student_protocol("probe-v1")


def test_batches_and_temperatures_are_the_papers():
    told = {name: (plan.epochs, plan.batch, plan.temperature, plan.decay) for name, plan in _large().items()}
    assert told == {
        "soft-fkd": (300, 1024, 20.0, "matrices"),
        "soft-cda-in1k": (300, 128, 20.0, "matrices"),
        "soft-scdd-in1k": (300, 64, 20.0, "matrices"),
        "soft-sre2l-cifar": (400, 128, 30.0, "all"),
        "soft-scdd-cifar": (200, 64, 30.0, "all"),
        "soft-tiny": (100, 256, 20.0, "all"),
    }


def _large():
    names = ("soft-fkd", "soft-cda-in1k", "soft-scdd-in1k", "soft-sre2l-cifar", "soft-scdd-cifar", "soft-tiny")
    return {name: schedule(name, ipc=200) for name in names}


@pytest.mark.parametrize("name", ["soft-rdde", "hard-", "soft-rded/epochs=0", "soft-rded/epochs=x", "soft-rded/bank20"])
def test_unknown_names_are_refused(name):
    with pytest.raises(EvaluationError, match=r"rded|Known|length"):
        student_protocol(name)

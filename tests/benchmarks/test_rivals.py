"""What the benchmark of rivals counts, by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from small import small_backbone

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for file in FOLDER.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_saved_bytes_count_each_storage_once_and_no_weights():
    from rivals import saved_bytes

    weight, images = torch.rand(7, 5, requires_grad=True), torch.rand(11, 5, requires_grad=True)

    def work():
        product = images @ weight.T  # keeps weight and images
        (product.sin() * product.cos()).sum().backward()  # keep product twice, sin(product) and cos(product)

    assert saved_bytes(work, [weight]) == 4 * (11 * 5 + 3 * 11 * 7)
    assert saved_bytes(work, [weight, images]) == 4 * 3 * 11 * 7


def test_saved_bytes_see_through_double_backward():
    from rivals import saved_bytes

    values = torch.rand(13, requires_grad=True)

    def work():
        (slope,) = torch.autograd.grad((values**3).sum(), values, create_graph=True)
        slope.square().sum().backward()

    assert saved_bytes(work, []) > saved_bytes(lambda: (values**3).sum().backward(), [])


def test_work_is_counted_by_images_and_by_whether_they_need_gradients():
    from racers import counted

    backbone = small_backbone()
    with counted(backbone) as work:
        backbone(torch.rand(5, 3, 8, 8))
        with torch.no_grad():
            backbone(torch.rand(3, 3, 8, 8))
    backbone(torch.rand(2, 3, 8, 8))
    assert work == pytest.approx([5 * 2.2, 3.0])


def test_a_finish_reaches_an_accuracy_at_its_first_good_point_in_every_seed():
    from race_table import Finish

    finish = Finish("steps", "sfm V=1", 30, 0.1, 3.0, 66.0, 1)
    right = np.arange(10)
    finish.add([1.0, 2.0, 3.0], [right < 2, right < 8, right < 7])
    finish.add([2.0, 4.0, 6.0], [right < 2, right < 5, right < 9])
    assert finish.accuracy == pytest.approx(80)
    assert finish.reaches(70) == pytest.approx((2 + 6) / 2)
    assert finish.reaches(85) is None
    assert finish.reaches() == pytest.approx((2 + 6) / 2)  # from 69.3 and 89.1 on
    assert finish.row(best=50)["to_best"] == pytest.approx((2 + 4) / 2)

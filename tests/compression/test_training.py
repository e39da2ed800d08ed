"""The training loop: resumed in mid-epoch it ends with the same bytes, and its rates are the published ones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attar.compression import training
from attar.compression.training import Course, Lesson, train
from attar.errors import SettingsError
from attar.progress import SILENT
from attar.run import Run

COUNT = 13


class Regression(Lesson):
    """Least squares behind BatchNorm: parameters, buffers and momentum all matter."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 1))
        random = torch.Generator().manual_seed(1)
        self._inputs = torch.randn(COUNT, 5, generator=random)
        self._targets = scale * torch.randn(COUNT, 1, generator=random)

    def loss(self, ids: Int[Tensor, " b"], epoch: int, number: int) -> Float[Tensor, ""]:
        return (self.network(self._inputs[ids]) - self._targets[ids]).square().mean()


def taught(folder: Path, course: Course, lesson: Lesson | None = None) -> dict[str, Tensor]:
    """The state after training in `folder`."""
    lesson = lesson or Regression()
    run = Run.begin(folder / "net", {"lr": course.lr})
    calls: list[int] = []

    def monitor() -> dict[str, float]:
        calls.append(1)
        return {"watched": float(len(calls))}

    cpu = torch.device("cpu")
    train(lesson, course, COUNT, run, precision="fp32", device=cpu, monitor=monitor, progress=SILENT)
    return dict(lesson.state_dict())


def course(epochs: int = 5, lr: float = 0.05) -> Course:
    return Course(epochs=epochs, batch=3, lr=lr, weight_decay=1e-3, warm_up=0.0, seed=2)


def stopping_after(checks: int) -> Callable:
    """In place of `deferred_interrupt`: Ctrl-C comes at the given look at it."""

    @contextlib.contextmanager
    def patched():
        looks = iter(range(10_000))
        yield lambda: next(looks) >= checks

    return patched


@pytest.mark.parametrize("checks", [0, 3, 12, 17, 18])
def test_a_resumed_training_ends_with_the_same_bytes(tmp_path, monkeypatch, checks: int):
    whole = taught(tmp_path / "whole", course())
    with monkeypatch.context() as patch:
        patch.setattr(training, "deferred_interrupt", stopping_after(checks))
        with pytest.raises(KeyboardInterrupt, match="of 5 epochs are done"):
            taught(tmp_path / "cut", course())
    resumed = taught(tmp_path / "cut", course())
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = [json.loads(line) for line in (tmp_path / "cut" / "net.run" / "log.jsonl").read_text().splitlines()]
    known = [json.loads(line) for line in (tmp_path / "whole" / "net.run" / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(line["step"], line["loss"]) for line in known]


def test_training_learns_and_is_watched(tmp_path):
    taught(tmp_path, course(epochs=40))
    lines = [json.loads(line) for line in (tmp_path / "net.run" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert sum("watched" in line for line in lines) == 10


def test_a_loss_that_is_not_finite_is_a_sentence(tmp_path):
    with pytest.raises(SettingsError, match=r"loss is (nan|inf) in epoch 1"):
        taught(tmp_path, course(), Regression(scale=1e30))


def test_a_damaged_checkpoint_is_refused(tmp_path):
    taught(tmp_path, course())
    path = next((tmp_path / "net.run" / "checkpoint").iterdir())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SettingsError, match="damaged"):
        taught(tmp_path, course())


def test_rates_warm_up_and_fall_along_a_cosine():
    warm = Course(epochs=10, batch=4, lr=0.3, weight_decay=0.0, warm_up=0.25, seed=0)
    assert warm.rate(0.0) == 0.0
    np.testing.assert_allclose(warm.rate(0.125), 0.15)
    np.testing.assert_allclose(warm.rate(0.25), 0.3)
    np.testing.assert_allclose(warm.rate(0.625), 0.15)
    np.testing.assert_allclose(warm.rate(1.0), 0.0, atol=1e-12)
    plain = Course(epochs=10, batch=4, lr=0.1, weight_decay=0.0, warm_up=0.0, seed=0)
    np.testing.assert_allclose([plain.rate(share) for share in (0.0, 0.5, 1.0)], [0.1, 0.05, 0], atol=1e-12)

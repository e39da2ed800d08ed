"""Our objectives, sources and canvases keep the contracts, and each check notices what breaks its promise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from attar.images import ArraySource, DigitsSource, FolderSource, JoinedSource
from attar.synthesis.canvas import Pixels, Pyramid
from attar.synthesis.objectives import FeatureLoss, Objective, StatisticalFlowMatching
from attar.testing import check_canvas, check_objective, check_source
from small import coloured, write_folder


@pytest.mark.parametrize("weights", [{}, {"w_mean": 0.3, "w_scale": 0.1}, {"images_per_class": 3}])
def test_flow_matching_is_an_objective(weights):
    check_objective(lambda real: StatisticalFlowMatching(real, **weights))


def test_an_objective_for_a_number_of_images_a_class_is_shown_that_many():
    shown = []

    class Watched(Broken):
        def at(self, step):
            judge = super().at(step)
            return lambda features, rows: shown.append(rows.label.tolist()) or judge(features, rows)

    labels = [4, 3, 2, 1, 0, 0]
    check_objective(lambda real: Watched(real, "none"), labels=labels)
    assert shown[0] == labels and {len(label) for label in shown} == {6, 12}


@dataclass(frozen=True, eq=False)
class Broken(Objective):
    """Flow matching with one fault."""

    real: torch.Tensor
    fault: str

    def at(self, step):
        sound = StatisticalFlowMatching(self.real).at(step)

        def judge(features, rows):
            judged = sound(features, rows)
            if self.fault == "gradient":
                return replace(judged, gradient=judged.gradient * 1.001)
            if self.fault == "input":
                features += 1
            if self.fault == "random":
                return replace(judged, loss=judged.loss + float(np.random.default_rng().random()))
            if self.fault == "order":
                ramp = torch.arange(len(features), dtype=features.dtype)[:, None]
                return FeatureLoss(float((ramp * features).sum()), ramp.expand_as(features), {})
            if self.fault == "sum":
                return FeatureLoss(float(features.square().sum()), 2 * features, {})
            if self.fault == "shape":
                return replace(judged, gradient=judged.gradient[:1])
            return judged

        return judge


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("gradient", "not the derivative"),
        ("input", "changes the features"),
        ("random", "another loss"),
        ("order", "Permuting the rows"),
        ("sum", "every view twice changes the loss"),
        ("shape", "shape of the features"),
    ],
)
def test_a_broken_objective_is_noticed(fault: str, sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        check_objective(lambda real: Broken(real, fault))


def test_our_sources_are_sources(tmp_path):
    write_folder(coloured(7), tmp_path / "pictures")
    check_source(lambda: coloured(7))
    check_source(lambda: FolderSource(tmp_path / "pictures"))
    check_source(lambda: DigitsSource("test").subset(range(0, 500, 29)))
    check_source(lambda: JoinedSource([coloured(3), DigitsSource("test").subset(range(0, 500, 29))]))


def test_a_broken_source_is_noticed():
    class Forgetful(ArraySource):
        reads = 0

        def _decode(self, index, shorter_side):
            type(self).reads += 1
            image = super()._decode(index, shorter_side)
            return image ^ np.uint8(self.reads > len(self))

    class Large(ArraySource):
        def _decode(self, index, shorter_side):
            return super()._decode(index, shorter_side and shorter_side + 1)

    class Reversed(ArraySource):
        def read(self, indices, shorter_side=None):
            return reversed(list(super().read(indices, shorter_side)))

    class Nameless(ArraySource):
        def name(self, index):
            return "image"

    class Unhashed(ArraySource):
        def hashes(self):
            return [np.random.default_rng().bytes(32) for _ in range(len(self))]

    class Misplaced(ArraySource):
        def subset(self, indices):
            return super().subset(np.sort(indices))

    def made(kind, **changes):
        plain = coloured(5)
        source = kind(plain._images.transpose(0, 2, 3, 1), plain.labels, plain.classes)
        for name, value in changes.items():
            setattr(source, name, value)
        return source

    check_source(lambda: made(ArraySource))
    faults = [
        (Forgetful, {}, "read again"),
        (Large, {}, "shorter side"),
        (Reversed, {}, "order asked for"),
        (Nameless, {}, "one name"),
        (Unhashed, {}, "A subset has other hashes"),
        (Misplaced, {}, "A subset has other hashes"),
        (ArraySource, {"labels": np.full(15, 3)}, "outside of the classes"),
        (ArraySource, {"labels": np.zeros(15, dtype=np.int32)}, "int64"),
        (ArraySource, {"titles": ("a",)}, "one title"),
        (ArraySource, {"classes": ("a", "a", "b")}, "occurs twice"),
    ]
    for kind, changes, sentence in faults:
        with pytest.raises(AssertionError, match=sentence):
            check_source(lambda kind=kind, changes=changes: made(kind, **changes))


def test_a_source_whose_content_changes_between_openings_is_noticed():
    seeds = iter(range(9))
    with pytest.raises(AssertionError, match="Opened twice"):
        check_source(lambda: coloured(5, seed=next(seeds)))


@pytest.mark.parametrize("grey", [False, True])
def test_our_canvases_are_canvases(grey: bool):
    check_canvas(lambda: Pyramid(5, 13, seed=0, grow_every=7, grey=grey))
    check_canvas(lambda: Pixels(5, 13, seed=0, grey=grey))


def broken_canvas(**methods):
    """Pixels with some methods replaced."""
    canvas = Pixels(5, 13, seed=0)
    kind = type("Patched", (Pixels,), methods)
    canvas.__class__ = kind
    return canvas


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"images": lambda self, ids: 2 * Pixels.images(self, ids)}, "leave 0..1"),
        ({"images": lambda self, ids: Pixels.images(self, ids)[..., 1:]}, "shape"),
        ({"images": lambda self, ids: Pixels.images(self, torch.arange(len(ids)))}, "Decoding some"),
        ({"images": lambda self, ids: Pixels.images(self, torch.arange(5)).roll(1, 0)[ids]}, "An image asked for"),
        ({"size": 5 * 3 * 13 * 13 + 1}, "as many values"),
        ({"load_state_dict": lambda self, state: None}, "does not restore"),
    ],
)
def test_a_broken_canvas_is_noticed(methods, sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        check_canvas(lambda: broken_canvas(**methods))


def test_a_gradient_in_a_row_that_was_not_asked_for_is_noticed():
    def leaking(self, ids):
        everything = Pixels.images(self, torch.arange(5))
        return everything[ids] + 0 * everything.sum() + 1e-9 * everything.mean()

    with pytest.raises(AssertionError, match="not asked for"):
        check_canvas(lambda: broken_canvas(images=leaking))


def test_a_canvas_that_begins_differently_each_time_is_noticed():
    seeds = iter(range(9))
    with pytest.raises(AssertionError, match="begins with other images"):
        check_canvas(lambda: Pixels(5, 13, seed=next(seeds)))

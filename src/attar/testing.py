"""Contract checks for plug-ins: what every objective, image source and canvas must satisfy.

Call them in your own tests; attar's tests do so for its own parts. Each raises AssertionError with one sentence that
says what is violated.

>>> from attar.synthesis.objectives import StatisticalFlowMatching
>>> check_objective(StatisticalFlowMatching)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from attar.images import ImageSource
    from attar.synthesis.canvas import Canvas
    from attar.synthesis.objectives import Objective

_STEPS = 20_000


def check_objective(
    make: Callable[[Tensor], Objective], labels: Sequence[int] = (0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4)
) -> None:
    """Check the objective that `make` builds from real class means (float64 [5, 7]).

    It is shown one image for each of `labels`: give them where the objective is made for a number of images a class.
    """
    import torch

    from attar.synthesis.objectives import Rows

    random = torch.Generator().manual_seed(0)
    objective = make(torch.randn(5, 7, generator=random, dtype=torch.float64))
    label, count = torch.tensor(labels), len(labels)
    rows = Rows(torch.arange(count), torch.zeros(count, dtype=torch.int64), label)
    features = torch.randn(count, 7, generator=random, dtype=torch.float64)
    before = features.clone()
    judge = objective.at(3)
    first = judge(features, rows)
    again = objective.at(3)(features, rows)

    _demand(torch.equal(features, before), "The objective changes the features it is given.")
    same = first.loss == again.loss and torch.equal(first.gradient, again.gradient)
    _demand(same, "The same features at the same step give another loss or gradient.")
    _demand(first.gradient.shape == features.shape, "The gradient does not have the shape of the features.")

    slopes = torch.empty_like(features)
    for entry in range(features.numel()):
        ahead, behind = features.clone(), features.clone()
        ahead.view(-1)[entry] += 1e-5
        behind.view(-1)[entry] -= 1e-5
        slopes.view(-1)[entry] = (judge(ahead, rows).loss - judge(behind, rows).loss) / 2e-5
    _demand(_close(first.gradient, slopes, 1e-6), "The gradient is not the derivative of the loss.")

    order = torch.randperm(count, generator=random)
    moved = judge(features[order], Rows(rows.image[order], rows.view[order], label[order]))
    _demand(_close(moved.gradient, first.gradient[order], 1e-9), "Permuting the rows does not permute the gradient.")
    _demand(abs(moved.loss - first.loss) < 1e-9, "Permuting the rows changes the loss.")

    views = Rows(rows.image.repeat(2), torch.arange(2).repeat_interleave(count), label.repeat(2))
    twice = judge(features.repeat(2, 1), views)
    _demand(abs(twice.loss - first.loss) < 1e-9, "Showing every view twice changes the loss.")
    halved = _close(twice.gradient, first.gradient.repeat(2, 1) / 2, 1e-9)
    _demand(halved, "Showing every view twice does not halve each gradient.")


def check_source(make: Callable[[], ImageSource]) -> None:
    """Check the image source that `make` opens: two calls must give sources of the same content."""
    import numpy as np

    source = make()
    count, classes = len(source), len(source.classes)
    whole = dict(source.read(range(count)))
    some = np.random.default_rng(0).permutation(count)[:13]

    _demand(count == len(source.labels), "The source's length is not its number of labels.")
    _demand(source.labels.dtype == np.int64, "The labels are not int64.")
    in_range = bool(((source.labels >= 0) & (source.labels < classes)).all())
    _demand(in_range, "A label lies outside of the classes.")
    _demand(len(set(source.classes)) == classes, "A class name occurs twice.")
    _demand(len(source.titles) == classes, "There is not one title for each class.")
    _demand(sorted(whole) == list(range(count)), "Reading everything does not give every index.")
    _demand(all(_is_picture(image) for image in whole.values()), "An image is not uint8 of shape [3, h, w].")
    _demand(len({source.name(index) for index in range(count)}) == count, "Two images have one name.")

    read = list(source.read(some))
    _demand([index for index, _ in read] == some.tolist(), "Images do not come in the order asked for.")
    same = all(np.array_equal(image, whole[index]) for index, image in read)
    _demand(same, "An image read again has other pixels.")
    sides = {min(image.shape[1:]) for _, image in source.read(some, shorter_side=11)}
    _demand(sides == {11}, "The shorter side is not the one asked for.")

    hashes = source.hashes()
    _demand(len(hashes) == count, "There is not one hash for each image.")
    part = source.subset(some)
    kept = [hashes[index] for index in some]
    _demand(part.hashes() == kept and part.classes == source.classes, "A subset has other hashes or classes.")
    same = all(np.array_equal(image, whole[some[index]]) for index, image in part.read(range(len(some))))
    _demand(same and np.array_equal(part.labels, source.labels[some]), "A subset has other images or labels.")

    other = make()
    _demand(other.hashes() == hashes, "Opened twice, the source has other hashes.")
    _demand(other.fingerprint == source.fingerprint, "Opened twice, the source has another fingerprint.")


def check_canvas(make: Callable[[], Canvas]) -> None:
    """Check the canvas that `make` builds, of at least three images, as it begins and once it has grown."""
    import torch

    canvas, twin = make(), make()
    ids = torch.arange(canvas.count)
    _demand(torch.equal(canvas.images(ids), twin.images(ids)), "Made twice, the canvas begins with other images.")
    _check_decoding(canvas)
    for step in range(_STEPS):
        canvas.grow(step)
    _check_decoding(canvas)
    values = sum(parameter.numel() for parameter in canvas.parameters().values())
    _demand(values == canvas.size, "Once grown, the canvas does not have as many values as `size` says.")

    with torch.no_grad():
        for parameter in canvas.parameters().values():
            parameter += 0.1
    twin.load_state_dict(canvas.state_dict())
    _demand(torch.equal(canvas.images(ids), twin.images(ids)), "state_dict does not restore the images.")
    trainable = all(parameter.requires_grad for parameter in twin.parameters().values())
    _demand(trainable, "After load_state_dict a parameter does not require a gradient.")


def _check_decoding(canvas: Canvas) -> None:
    import torch

    whole = canvas.images(torch.arange(canvas.count)).detach()
    shape = (canvas.count, 3, canvas.side, canvas.side)
    _demand(whole.shape == shape, "The images do not have the shape [count, 3, side, side].")
    _demand(bool(((whole >= 0) & (whole <= 1)).all()), "The images leave 0..1.")

    asked = torch.tensor([canvas.count - 1, 0])
    for parameter in canvas.parameters().values():
        parameter.grad = None
    part = canvas.images(asked)
    _demand(_close(part.detach(), whole[asked], 1e-6), "Decoding some images gives others than decoding all.")
    part.square().sum().backward()
    rest = torch.arange(1, canvas.count - 1)
    for name, parameter in canvas.parameters().items():
        _demand(parameter.grad is not None, f"Parameter {name} has no gradient.")
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        _demand(bool(gradient[asked].flatten(1).any(1).all()), f"An image asked for has no gradient in {name}.")
        _demand(not gradient[rest].any(), f"A gradient reaches an image in {name} that was not asked for.")


def _close(values: Tensor, expected: Tensor, tolerance: float) -> bool:
    return float((values.to(expected) - expected).norm()) <= tolerance * float(expected.norm())


def _is_picture(image: np.ndarray) -> bool:
    return image.dtype == "uint8" and image.ndim == 3 and image.shape[0] == 3


def _demand(kept: bool, sentence: str) -> None:
    if not kept:
        raise AssertionError(sentence)

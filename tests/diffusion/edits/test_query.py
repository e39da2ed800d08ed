"""Global Semantic Query: the worked cases of edits.md 14 to their printed digits, and an independent loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attar.diffusion.edits.query import attend, fuse
from attar.errors import SettingsError

IMAGES = torch.tensor([[1, 0], [0.6, 0.8], [0, 1]], dtype=torch.float64)
TEXTS = torch.tensor([[0.8, 0.6], [0, 1], [0.6, -0.8]], dtype=torch.float64)
ANSWERS = {
    0.5: [[0.6421, 0.1419], [0.4698, 0.6957], [0.2545, 0.8450]],
    0.1: [[0.7759, 0.4333], [0.6656, 0.6672], [0.0144, 0.9928]],
    0.01: [[0.8, 0.6], [0.8, 0.6], [0, 1]],
}


def oracle(images: np.ndarray, texts: np.ndarray, temperature: float, *, normalise: bool) -> np.ndarray:
    """One image and one caption after the other, in float64."""
    if normalise:
        images = np.stack([row / np.sqrt(row @ row) for row in images])
        texts = np.stack([row / np.sqrt(row @ row) for row in texts])
    answers = []
    for image in images:
        scores = np.array([image @ text for text in texts]) / temperature
        weights = np.exp(scores - scores.max())
        answers.append(sum(weight * text for weight, text in zip(weights / weights.sum(), texts, strict=True)))
    return np.stack(answers)


@pytest.mark.parametrize("temperature", sorted(ANSWERS))
@pytest.mark.parametrize("normalise", [True, False])
def test_the_worked_cases(temperature: float, normalise: bool):
    answers = attend(IMAGES, TEXTS, temperature, normalise=normalise)  # of length 1 already
    # The third image's softmax at .01 is one-hot to 1e-17, the first's to 2e-9.
    torch.testing.assert_close(answers, torch.tensor(ANSWERS[temperature]).double(), atol=5.1e-5, rtol=0)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("temperature", [0.01, 0.3])
def test_it_is_what_a_loop_in_numpy_gives(temperature: float, normalise: bool):
    rows = np.random.default_rng(0)
    images, texts = rows.normal(size=(13, 7)), rows.normal(size=(13, 7))
    answers = attend(torch.from_numpy(images), torch.from_numpy(texts), temperature, normalise=normalise)
    np.testing.assert_allclose(answers, oracle(images, texts, temperature, normalise=normalise), atol=1e-12)


@given(rows=st.integers(1, 17))
def test_any_block_of_rows_gives_the_same(rows: int):
    images, texts = torch.randn(2, 13, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = attend(images, texts, 0.05)
    torch.testing.assert_close(attend(images, texts, 0.05, rows=rows), whole, atol=1e-14, rtol=0)


def test_raw_features_of_any_length_stay_finite():
    images, texts = 1e3 * torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2))
    assert attend(images, texts, 0.01, normalise=False).isfinite().all()


def test_length_matters_only_without_normalisation():
    images, texts = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(attend(7 * images, texts / 3, 0.5), attend(images, texts, 0.5))
    raw = attend(images, texts, 0.5, normalise=False)
    assert not torch.allclose(attend(7 * images, texts, 0.5, normalise=False), raw)


def test_the_fused_rows_of_the_worked_case():
    images = torch.tensor([[1, 0], [0.96, 0.28], [0, 1], [0.28, 0.96]])
    texts = torch.tensor([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
    expected = [[1, 0, 0.8008, 0.3978], [0.96, 0.28, 0.7487, 0.4801]]
    expected += [[0, 1, 0.3978, 0.8008], [0.28, 0.96, 0.4801, 0.7487]]
    fused = fuse("query", images, texts, None, 0.5, True)
    torch.testing.assert_close(fused, torch.tensor(expected), atol=5.1e-5, rtol=0)


def test_the_other_fusions_are_what_they_say():
    images, texts = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(4))
    latents = torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(5))
    unit = images / images.square().sum(1, keepdim=True).sqrt()
    told = texts / texts.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(fuse("concat", images, texts, None, 0.5), torch.hstack([unit, told]))
    assert torch.equal(fuse("concat", images, texts, None, 0.5, False), torch.hstack([images, texts]))
    torch.testing.assert_close(fuse("image", images, None, None, 0.5), unit)
    assert torch.equal(fuse("image", images, None, None, 0.5, False), images)
    assert torch.equal(fuse("vae", None, None, latents, 0.5), latents.reshape(5, 16))
    raw = fuse("query", images, texts, None, 0.5, False)
    assert torch.equal(raw[:, :3], images)
    assert torch.equal(raw[:, 3:], attend(images, texts, 0.5, normalise=False))


def test_a_temperature_of_nothing_is_refused():
    with pytest.raises(SettingsError, match="A temperature of 0 isn't above 0"):
        attend(IMAGES, TEXTS, 0.0)

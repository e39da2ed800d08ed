"""The objective keeps attar's contract, and is the softmax over distances."""

from __future__ import annotations

import torch
from attar_nearest import NearestMean

from attar.synthesis.objectives import Rows
from attar.testing import check_objective


def test_it_is_an_objective():
    check_objective(NearestMean)


def test_two_means_and_a_view_between_them():
    """Means 0 and 4 lie 2 from their middle, so T = .5 · 4 = 2; a view at 1 has squared distances 1 and 9."""
    objective = NearestMean(torch.tensor([[0.0], [4.0]], dtype=torch.float64))
    rows = Rows(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    found = objective.at(1)(torch.tensor([[1.0]], dtype=torch.float64), rows)
    chance = 1 / (1 + torch.exp(torch.tensor(-4.0, dtype=torch.float64)))
    assert abs(found.loss + chance.log()) < 1e-12
    assert abs(found.gradient.item() - 4 * (1 - chance)) < 1e-12  # 2 / T · (1 - chance) · 4

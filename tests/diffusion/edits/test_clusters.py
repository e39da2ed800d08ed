"""Clusters of a class: the worked case of edits.md 14, who is nearest, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attar.diffusion.edits.clusters import Clusters, cluster, nearest_members
from attar.diffusion.edits.query import fuse
from attar.errors import SettingsError

IMAGES = torch.tensor([[1, 0], [0.96, 0.28], [0, 1], [0.28, 0.96]])
TEXTS = torch.tensor([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])


def blobs(count: int, each: int, *, seed: int = 0, shuffled: bool = True) -> torch.Tensor:
    """`each` rows around each of `count` far points."""
    draw = torch.Generator().manual_seed(seed)
    rows = (100 * torch.eye(count, 5)).repeat_interleave(each, 0) + torch.randn(count * each, 5, generator=draw)
    return rows[torch.randperm(len(rows), generator=draw)] if shuffled else rows


def test_the_worked_case():
    features = fuse("query", IMAGES, TEXTS, None, 0.5)
    made = cluster(features, 2, seed=42, name="a")
    first, second = int(made.members[0]), int(made.members[2])
    assert made.members.tolist() == [first, first, second, second] and first != second
    expected = torch.tensor([[0.98, 0.14, 0.7748, 0.4389], [0.14, 0.98, 0.4389, 0.7748]])
    torch.testing.assert_close(made.centres[[first, second]], expected, atol=1e-4, rtol=0)
    distances = (features - made.centres[made.members]).norm(dim=1)
    torch.testing.assert_close(distances, torch.full((4,), 0.1496), atol=5e-5, rtol=0)
    assert nearest_members(features, made, first, 1) == [0]
    assert nearest_members(features, made, second, 1) == [2]


@pytest.mark.parametrize("algorithm", ["kmeans", "minibatch"])
def test_far_groups_are_found_and_a_seed_repeats_them(algorithm: str):
    rows = blobs(3, 11)
    made = cluster(rows, 3, seed=7, algorithm=algorithm, name="a")
    again = cluster(rows, 3, seed=7, algorithm=algorithm, name="a")
    groups = rows.argmax(1)
    assert len({(int(one), int(other)) for one, other in zip(groups, made.members, strict=True)}) == 3
    assert torch.equal(made.members, again.members) and torch.equal(made.centres, again.centres)
    if algorithm == "kmeans":
        means = torch.stack([rows[made.members == number].mean(0) for number in range(3)])
        torch.testing.assert_close(made.centres, means, atol=1e-4, rtol=0)


@pytest.mark.parametrize("algorithm", ["kmeans", "minibatch"])
def test_where_rows_have_no_groups_the_seed_decides(algorithm: str):
    rows = torch.rand(97, 5, generator=torch.Generator().manual_seed(2))
    first, again, other = (cluster(rows, 7, seed=seed, algorithm=algorithm, name="a") for seed in (3, 3, 4))
    assert torch.equal(first.members, again.members) and torch.equal(first.centres, again.centres)
    assert not torch.equal(first.members, other.members)


def test_one_cluster_is_the_mean():
    rows = blobs(2, 7)
    made = cluster(rows, 1, seed=0, name="a")
    assert made.members.tolist() == [0] * 14
    torch.testing.assert_close(made.centres[0], rows.mean(0))


def test_mini_batches_take_ten_rows_a_cluster_and_the_rest_too(monkeypatch):
    from sklearn.cluster import MiniBatchKMeans

    sizes, fit = [], MiniBatchKMeans.partial_fit
    monkeypatch.setattr(
        MiniBatchKMeans, "partial_fit", lambda self, rows: (sizes.append(len(rows)), fit(self, rows))[1]
    )
    cluster(blobs(2, 23), 2, seed=0, algorithm="minibatch", name="a")
    assert sizes == [20, 20, 6]
    sizes.clear()
    cluster(blobs(3, 7), 2, seed=0, algorithm="minibatch", name="a")
    assert sizes == [20, 1]


def test_outliers_belong_to_no_cluster():
    rows = torch.cat([blobs(1, 29), torch.full((1, 5), -50.0)])
    made = cluster(rows, 2, seed=0, outliers=1 / 30, name="a")
    assert made.members[-1] == -1
    assert (made.members[:-1] >= 0).all()
    assert 29 not in nearest_members(rows, made, 0, 99) + nearest_members(rows, made, 1, 99)
    assert (cluster(rows, 2, seed=0, name="a").members >= 0).all()


def test_outliers_among_rows_that_repeat():
    rows = torch.cat([torch.zeros(29, 3), torch.arange(1.0, 4.0)[:, None].expand(3, 3)])
    assert cluster(rows, 1, seed=0, outliers=0.1, name="a").members[0] == 0


def test_fewer_images_than_clusters_are_refused_after_outliers_too():
    sentence = 'Class "tench" has {} usable images but IPC is 5; EDITS needs at least one image per cluster.'
    with pytest.raises(SettingsError) as refused:
        cluster(blobs(1, 3), 5, seed=0, name="tench")
    assert str(refused.value).splitlines()[0] == sentence.format(3)
    with pytest.raises(SettingsError) as refused:
        cluster(blobs(1, 5), 5, seed=0, outliers=0.2, name="tench")
    assert str(refused.value).splitlines()[0] == sentence.format(4)
    assert sorted(cluster(blobs(1, 5), 5, seed=0, name="tench").members.tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_a_share_of_outliers_that_cannot_be_is_refused(share: float):
    with pytest.raises(SettingsError, match=r"outliers isn't between 0 and 0.5"):
        cluster(blobs(1, 5), 1, seed=0, outliers=share, name="a")


def test_a_single_image_is_no_outlier():
    assert cluster(blobs(1, 1), 1, seed=0, outliers=0.5, name="a").members.tolist() == [0]


def test_the_nearest_come_in_order_and_only_from_their_cluster():
    rows = blobs(3, 11, seed=3)
    made = cluster(rows, 3, seed=0, name="a")
    for number in range(3):
        own = [row for row in range(33) if made.members[row] == number]
        centre = made.centres[number].numpy().astype(np.float64)
        wanted = sorted(own, key=lambda row: (round(float(np.linalg.norm(rows[row].numpy() - centre)), 6), row))
        assert nearest_members(rows, made, number, 5) == wanted[:5]
        assert nearest_members(rows, made, number, 99) == wanted


def test_distances_that_agree_in_six_decimals_fall_to_the_earlier_row():
    rows = torch.tensor([[9.0], [1.0000002], [-1.0], [0.99999]], dtype=torch.float64)
    made = Clusters(torch.tensor([1, 0, 0, 0]), torch.zeros(2, 1, dtype=torch.float64))
    assert nearest_members(rows, made, 0, 3) == [3, 1, 2]


@pytest.mark.parametrize("algorithm", ["kmeans", "minibatch"])
def test_images_that_repeat_leave_no_prototype_without_a_member(algorithm: str):
    rows = torch.ones(11, 3)
    made = cluster(rows, 3, seed=0, algorithm=algorithm, outliers=0.1, name="a")
    usable = {row for row in range(11) if made.members[row] >= 0}
    for number in range(3):
        chosen = nearest_members(rows, made, number, 2)
        assert len(chosen) == 2 and set(chosen) <= usable

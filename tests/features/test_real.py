import numpy as np
import pytest
import torch

from attar.errors import SettingsError
from attar.features import Features, RealFeatures
from attar.features.clusters import sub_clusters


def drawn(seed: int = 0, images: int = 53, classes: int = 3, **options) -> RealFeatures:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(images, 2, 5, generator=random)
    return RealFeatures(Features(values, torch.arange(images) % classes), classes, **options)


@pytest.mark.parametrize("equal", [True, False])
def test_clusters_are_those_of_the_mean_views(equal: bool):
    real = drawn()
    means = real.features.values.double().numpy().mean(1)
    expected = sub_clusters(means, real.features.labels.numpy(), 3, 5, equal=equal)
    np.testing.assert_array_equal(real.clusters(5, equal=equal), expected)


def test_clusters_are_found_once_for_each_count(monkeypatch: pytest.MonkeyPatch):
    real = drawn()
    first = [real.clusters(3), real.clusters(3, equal=False), real.clusters(2)]
    monkeypatch.setattr("attar.features.real.sub_clusters", None)
    again = [real.clusters(3), real.clusters(3, equal=False), real.clusters(2)]
    assert all(one is two for one, two in zip(first, again, strict=True))


@pytest.mark.parametrize("equal", [True, False])
def test_sub_centres_are_the_means_of_all_views_of_a_cluster(equal: bool):
    real = drawn()
    centres, shares = real.sub_centres(5, equal=equal)
    values, labels, clusters = (
        values.numpy() for values in (real.features.values, real.features.labels, real.clusters(5, equal=equal))
    )
    assert centres.dtype == shares.dtype == torch.float64
    for label in range(3):
        for cluster in range(5):
            members = values[(labels == label) & (clusters == cluster)].astype(np.float64)
            np.testing.assert_allclose(centres[label, cluster], members.mean((0, 1)), rtol=1e-12, atol=1e-15)
            assert float(shares[label, cluster]) == pytest.approx(len(members) / np.sum(labels == label))


def test_shares_weigh_sub_centres_to_the_class_means():
    real = drawn()
    centres, shares = real.sub_centres(5, equal=False)
    torch.testing.assert_close((shares[:, :, None] * centres).sum(1), real.statistics.means, rtol=1e-12, atol=1e-14)
    alone, whole = real.sub_centres(1)
    torch.testing.assert_close(alone[:, 0], real.statistics.means, rtol=1e-12, atol=1e-14)
    assert whole.tolist() == [[1.0]] * 3


def test_a_guide_lends_its_clusters_and_not_its_features():
    guide = drawn(0)
    real = drawn(1, guide=guide)
    assert torch.equal(real.clusters(3), guide.clusters(3)) and not torch.equal(real.clusters(3), drawn(1).clusters(3))
    members = (real.features.labels == 1) & (guide.clusters(3) == 2)
    torch.testing.assert_close(real.sub_centres(3)[0][1, 2], real.features.values[members].double().mean((0, 1)))


def test_a_guide_of_other_images_is_refused():
    with pytest.raises(SettingsError, match="guide's features are of other images"):
        drawn(guide=drawn(images=52))


def test_balanced_means_count_every_group_the_same():
    groups = torch.arange(53) % 7 % 4
    real = drawn(groups=groups)
    values, labels = real.features.values.double(), real.features.labels
    for label in range(3):
        means = [values[(labels == label) & (groups == group)].mean((0, 1)) for group in range(4)]
        torch.testing.assert_close(real.balanced_means[label], torch.stack(means).mean(0))


def test_balanced_means_need_groups():
    with pytest.raises(SettingsError, match="need images with groups"):
        _ = drawn().balanced_means


def test_each_image_has_its_group():
    with pytest.raises(SettingsError, match="3 groups for 53 images"):
        drawn(groups=torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("most", [1, 7, 13, 26, 100])
def test_a_sample_is_evenly_spaced_rows_with_their_labels(most: int):
    values = torch.arange(13 * 2).float().reshape(13, 2, 1)
    real = RealFeatures(Features(values, torch.arange(13) % 3), 3)
    rows, labels = real.sample(most)
    numbers = rows[:, 0].long()
    assert 1 <= len(rows) <= most and numbers[0] == 0 and len(numbers.diff().unique()) <= 1
    assert torch.equal(labels, numbers // 2 % 3)
    assert most < 26 or torch.equal(rows, real.rows()[0])


def test_a_sample_does_not_depend_on_how_the_features_come():
    class InParts(Features):
        def parts(self):
            for own in (range(4), range(4, 5), range(5, 13)):
                yield own, self.values[own.start : own.stop]

    values, labels = torch.randn(13, 2, 5), torch.arange(13) % 3
    whole, parts = (RealFeatures(kind(values, labels), 3).sample(9) for kind in (Features, InParts))
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])

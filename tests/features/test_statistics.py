from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import FileError, SettingsError
from attar.features import ClassStatistics, Features, RealFeatures
from attar.tensors import write_tensors


def of(values: list[float]) -> ClassStatistics:
    rows = torch.tensor(values, dtype=torch.float64)[:, None]
    return ClassStatistics.of(rows, torch.zeros(len(values), dtype=torch.int64), 1, scatter="pooled")


def test_the_case_worked_by_hand():
    merged = of([1, 2, 3]).merge(of([5, 7]))
    assert merged.counts.tolist() == [5]
    assert float(merged.means) == pytest.approx(3.6, abs=1e-15)
    assert float(merged.scatter) == pytest.approx(23.2, abs=1e-13)


@given(
    cuts=st.lists(st.integers(1, 52), max_size=5), seed=st.integers(0, 99), scatter=st.sampled_from(["pooled", "class"])
)
@settings(max_examples=40, deadline=None)
def test_any_cut_of_the_stream_gives_numpys_statistics(cuts: list[int], seed: int, scatter: str):
    random = np.random.default_rng(seed)
    values, labels = random.normal(3, 2, size=(53, 5)), random.integers(0, 4, size=53)
    merged = ClassStatistics.empty(4, 5, scatter=scatter)
    for part in np.split(np.arange(53), sorted(set(cuts))):
        rows = torch.from_numpy(values[part])
        merged = merged.merge(ClassStatistics.of(rows, torch.from_numpy(labels[part]), 4, scatter=scatter))
    scatters = []
    for label in range(4):
        members = values[labels == label]
        assert int(merged.counts[label]) == len(members)
        if len(members):
            np.testing.assert_allclose(merged.means[label], members.mean(0), rtol=1e-12)
        scatters.append(np.cov(members.T, ddof=0) * len(members) if len(members) else np.zeros((5, 5)))
    expected = np.sum(scatters, axis=0) if scatter == "pooled" else np.stack(scatters)
    np.testing.assert_allclose(merged.scatter, expected, rtol=1e-10, atol=1e-10)


def test_a_fixed_order_gives_the_same_bits():
    rows, labels = torch.randn(31, 3), torch.arange(31) % 4
    first, second = (ClassStatistics.of(rows, labels, 4, scatter="class") for _ in range(2))
    assert torch.equal(first.means, second.means)
    assert torch.equal(first.scatter, second.scatter)


def test_different_features_do_not_merge():
    first = ClassStatistics.empty(2, 3, header={"backbone": "a"})
    second = ClassStatistics.empty(2, 3, header={"backbone": "b"})
    with pytest.raises(SettingsError, match="different features"):
        first.merge(second)


@pytest.mark.parametrize(
    "other",
    [
        ClassStatistics.empty(2, 3),
        ClassStatistics.empty(2, 3, scatter="class"),
        ClassStatistics.empty(2, 5, scatter="pooled"),
        ClassStatistics.empty(1, 3, scatter="pooled"),
    ],
    ids=["no scatter", "another scatter", "another dim", "other classes"],
)
def test_different_shapes_do_not_merge(other: ClassStatistics):
    mine = ClassStatistics.empty(2, 3, scatter="pooled")
    for first, second in ((mine, other), (other, mine)):
        with pytest.raises(SettingsError, match="different shapes"):
            first.merge(second)


def test_statistics_of_real_features_are_over_images_and_views():
    rows, labels = torch.randn(7, 2, 3), torch.arange(7) % 2
    real = RealFeatures(Features(rows, labels), 2)
    assert real.statistics.counts.tolist() == [8, 6]
    torch.testing.assert_close(real.statistics.means[1], rows[1::2].double().mean((0, 1)))
    centred = (rows - real.statistics.means[labels][:, None]).flatten(0, 1)
    torch.testing.assert_close(real.within, centred.T @ centred / 14)


def test_a_round_trip_through_a_file(tmp_path: Path):
    rows, labels = torch.randn(31, 3), torch.arange(31) % 4
    kept = ClassStatistics.of(rows, labels, 4, scatter="pooled", header={"views": "centre"})
    kept.save(tmp_path / "statistics.safetensors")
    back = ClassStatistics.load(tmp_path / "statistics.safetensors")
    assert torch.equal(back.means, kept.means)
    assert torch.equal(back.scatter, kept.scatter)
    assert (back.counts.tolist(), back.header) == (kept.counts.tolist(), kept.header)


@pytest.mark.parametrize("metadata", [{}, {"header": "{}"}])
def test_a_file_of_other_tensors_is_told_apart(tmp_path: Path, metadata: dict[str, str]):
    write_tensors(tmp_path / "features.safetensors", {"features": torch.zeros(2, 3)}, metadata)
    with pytest.raises(FileError, match=r"features\.safetensors holds no class statistics"):
        ClassStatistics.load(tmp_path / "features.safetensors")

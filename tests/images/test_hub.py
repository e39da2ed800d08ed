from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from attar.errors import ImageError
from attar.images import ArraySource, HubSource, memo, open
from attar.images.checks import named_labels

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    datasets.disable_progress_bars()


def dataset(images, labels, label=None, **columns):
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    features = datasets.Features(
        {"image": datasets.Image(), "label": label or datasets.ClassLabel(names=["cats", "dogs"])}
    )
    return datasets.Dataset.from_dict({"image": encoded, "label": labels}, features=features)


@pytest.fixture
def saved(pets, tmp_path):
    """The pets as `save_to_disk` writes them."""
    dataset(pets[1], pets[2]).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_dataset_is_opened(saved, pets):
    source = open(f"hf:{saved}")
    assert isinstance(source, HubSource) and source.classes == ("cats", "dogs") and source.location == f"hf:{saved}"
    assert source.labels.tolist() == pets[2] and source.name(4) == "dogs/00004"
    assert source.hashes() == ArraySource(pets[1], pets[2]).hashes()
    again = open(f"hf:{saved}")
    assert all(memo.recall([again._key(index) for index in range(5)]))


def test_splits_of_a_saved_dictionary(pets, tmp_path):
    whole = dataset(pets[1], pets[2])
    datasets.DatasetDict(train=whole, test=whole.select([4, 0])).save_to_disk(tmp_path / "both")
    assert len(open(f"hf:{tmp_path / 'both'}")) == len(open(f"hf:{tmp_path / 'both'}:train")) == 5
    test = open(f"hf:{tmp_path / 'both'}:test")
    assert test.labels.tolist() == [1, 0] and test.hashes()[1] == open(f"hf:{tmp_path / 'both'}").hashes()[0]
    with pytest.raises(ImageError, match=r"no split tset\.\nDid you mean test"):
        open(f"hf:{tmp_path / 'both'}:tset")


def test_a_saved_dataset_without_splits_has_none(saved):
    with pytest.raises(ImageError, match="holds one dataset without splits"):
        open(f"hf:{saved}:test")


def test_a_folder_as_on_the_hub(pets, tmp_path):
    (tmp_path / "hub" / "data").mkdir(parents=True)
    dataset(pets[1], pets[2]).to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    source = open(f"hf:{tmp_path / 'hub'}")
    assert source.classes == ("cats", "dogs") and source.hashes() == ArraySource(pets[1], pets[2]).hashes()
    with pytest.raises(ImageError, match=r"Can't open hf:.*hub:val: Unknown split"):
        open(f"hf:{tmp_path / 'hub'}:val")


@pytest.mark.parametrize(
    ("values", "label", "classes", "labels"),
    [
        (["b", "a", "a", "b", "a"], datasets.Value("string"), ("a", "b"), [1, 0, 0, 1, 0]),
        ([1, 0, 0, 1, 0], datasets.Value("int64"), ("0", "1"), [1, 0, 0, 1, 0]),
    ],
)
def test_labels_may_be_plain_columns(pets, tmp_path, values, label, classes, labels):
    dataset(pets[1], values, label).save_to_disk(tmp_path / "plain")
    source = open(f"hf:{tmp_path / 'plain'}")
    assert source.classes == classes and source.labels.tolist() == labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.remove_columns("image"), "has no images: its columns are label"),
        (lambda d: d.rename_column("label", "kind").cast_column("kind", datasets.Value("int64")), "has no labels"),
        (lambda d: d.cast_column("label", datasets.Value("float64")), "labels in .* of type float64"),
        (
            lambda d: datasets.concatenate_datasets(
                [d.rename_column("image", "one"), d.select_columns("image").rename_column("image", "two")], axis=1
            ),
            "several columns of type Image: ",
        ),
        (lambda d: d.select([0, 1]), "Class dogs .* has no images"),
    ],
)
def test_columns_that_do_not_fit_are_refused(pets, tmp_path, change, message):
    change(dataset(pets[1], pets[2])).save_to_disk(tmp_path / "odd")
    with pytest.raises(ImageError, match=f"(?i){message}"):
        open(f"hf:{tmp_path / 'odd'}")


def test_no_labels_at_all_mean_no_images():
    """What an empty split leads to; datasets' own readers refuse most of them before."""
    with pytest.raises(ImageError, match="hf:empty holds no images"):
        named_labels([], "hf:empty")


def test_a_path_out_of_the_folder_is_not_read(pets, tmp_path):
    features = datasets.Features(
        {
            "image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "label": datasets.Value("string"),
        }
    )
    files = [str(pets[0] / "cats" / "0000.png"), str(pets[0] / "dogs" / "0003.png")]
    rows = datasets.Dataset.from_dict(
        {"image": [{"bytes": None, "path": file} for file in files], "label": ["a", "b"]}, features=features
    )
    (tmp_path / "hub").mkdir()
    rows.cast_column("image", datasets.Image(decode=False)).to_parquet(tmp_path / "hub" / "train.parquet")
    with pytest.raises(ImageError, match="a path that leads out of its folder"):
        list(open(f"hf:{tmp_path / 'hub'}").read([0]))


class _Builder:
    def __init__(self, size, cache_dir):
        self.info = datasets.DatasetInfo(download_size=size)
        self.cache_dir = str(cache_dir)

    def download_and_prepare(self):
        raise ConnectionError("downloading")


@pytest.mark.parametrize(
    ("size", "allowed", "message"),
    [
        (10**9 + 1, False, r"someone/large is a download of 1\.0 GB\.\nAllow it with --allow-download"),
        (None, False, "a download of an unknown number of bytes"),
        (10**9, False, "downloading"),
        (10**12, True, "downloading"),
    ],
)
def test_large_downloads_are_asked_for(monkeypatch, tmp_path, size, allowed, message):
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: _Builder(size, tmp_path / name))
    with pytest.raises(ImageError, match=message):
        open("hf:someone/large:test", allow_download=allowed)


def test_without_the_extra_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImageError, match=r'pip install "attar\[hf\]"'):
        open("hf:cifar10")


def test_what_can_not_be_opened_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="Can't open hf:"):
        open(f"hf:{tmp_path / 'empty'}")

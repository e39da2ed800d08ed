"""A distilled set on disk: what was written is read, by us and by others, and nothing else is ever touched."""

from __future__ import annotations

import csv
import errno
import gc
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.utils.data import DataLoader

import attar.distilled.artefact as artefact
from attar.distilled import Origin, load, write
from attar.distilled.card import card
from attar.errors import ArtefactError, FileError
from small import manifest

CLASSES = ("cow", "ant", "bee")  # not sorted
HOSTILE = ("../../x", "x", "con", "a/b", "a:b", "<script>alert(1)</script>", "=cmd()", "😀", "💣", "A_B", "..", "-rf")


def pixels(count: int, side: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def written(out: Path, classes=CLASSES, **options):
    labels = np.arange(len(classes)).repeat(2)
    return write(out, pixels(len(labels)), labels, manifest=manifest(classes), **options)


def test_pixels_labels_weights_and_the_order_of_classes_come_back(tmp_path):
    labels, weights = np.array([2, 0, 1, 0, 2, 1]), [0.1, 1.0, 2.5, 1 / 3, 1e-9, 7.0]
    write(tmp_path / "x", pixels(6), labels, manifest=manifest(CLASSES, titles=("Cow", "Ant", "Bee")), weights=weights)
    loaded = load(str(tmp_path / "x"))
    np.testing.assert_array_equal(loaded.images, pixels(6))
    assert loaded.labels.tolist() == labels.tolist() and loaded.weights.tolist() == weights
    assert loaded.classes == CLASSES and loaded.titles == ("Cow", "Ant", "Bee") and len(loaded) == 6
    assert loaded.manifest.settings == manifest(CLASSES).settings
    source = loaded.source
    assert source.classes == CLASSES and source.labels.tolist() == labels.tolist()
    np.testing.assert_array_equal(next(source.read([4]))[1], pixels(6)[4])


def test_weights_are_one_unless_given(tmp_path):
    assert written(tmp_path / "x").weights.tolist() == [1.0] * 6


def test_torchvision_reads_the_images(tmp_path):
    from torchvision.datasets import ImageFolder

    made = written(tmp_path / "x")
    folder = ImageFolder(tmp_path / "x" / "images")
    assert folder.classes == sorted(CLASSES) and len(folder) == 6
    for (image, label), (path, _) in zip(folder, folder.samples, strict=True):
        name = folder.classes[label]
        first = CLASSES.index(name) * 2 + int(Path(path).stem.rpartition("-")[2])
        np.testing.assert_array_equal(np.asarray(image).transpose(2, 0, 1), made.images[first])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [False, True])
def test_hugging_face_reads_it_offline(tmp_path, monkeypatch, whole: bool):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # it reads the environment at its first import, for good
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    written(tmp_path / "x")
    cache = str(tmp_path / "cache")
    if whole:
        read = datasets.load_dataset(str(tmp_path / "x"), cache_dir=cache)
    else:
        read = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "x" / "images"), cache_dir=cache)
    assert list(read) == ["train"] and read["train"].num_rows == 6
    gc.collect()  # its open files are closed here, where warnings are ignored
    got = {np.asarray(row["image"]).tobytes(): (row["label"], row["title"], row["weight"]) for row in read["train"]}
    for image, label in zip(pixels(6), [0, 0, 1, 1, 2, 2], strict=True):
        assert got[image.transpose(1, 2, 0).tobytes()] == (label, CLASSES[label], 1.0)


def test_every_file_is_listed_with_its_hash(tmp_path):
    made = written(tmp_path / "x", train_hashes=[bytes(range(32)), b"\0" * 32])
    there = {path.relative_to(made.path).as_posix(): path for path in made.path.rglob("*") if path.is_file()}
    assert there.keys() == made.manifest.files.keys() | {"attar.json"}
    assert {"README.md", "preview.png", "images/metadata.csv", "provenance/train.safetensors"} < there.keys()
    for name, sha in made.manifest.files.items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == sha
    made.verify()


def test_provenance_is_the_sorted_first_eight_bytes(tmp_path):
    hashes = [hashlib.sha256(bytes([number])).digest() for number in range(5)]
    written(tmp_path / "x", train_hashes=hashes)
    kept = load_file(tmp_path / "x" / "provenance" / "train.safetensors")["sha256"]
    assert kept.dtype == np.uint64
    assert kept.tolist() == sorted(int(sha.hex()[:16], 16) for sha in hashes)


def test_a_flipped_byte_and_a_missing_file_are_named(tmp_path):
    made = written(tmp_path / "x")
    image = made.path / "images" / "ant" / "ant-1.png"
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"\(altered: images/ant/ant-1.png\)"):
        made.verify()
    image.unlink()
    with pytest.raises(ArtefactError, match=r"\(missing: images/ant/ant-1.png\)"):
        made.verify()
    with pytest.raises(ArtefactError, match=r"lacks images/ant/ant-1.png"):
        load(made.path)


def test_all_that_differs_is_listed_and_hidden_files_do_not_count(tmp_path):
    made = written(tmp_path / "x")
    (made.path / "README.md").write_text("mine now")
    (made.path / "images" / "cow" / "cow-0.png").unlink()
    (made.path / "images" / "cow" / "cow-7.png").write_bytes(b"")
    (made.path / "images" / "dog").symlink_to(tmp_path)
    (made.path / "images" / ".DS_Store").write_bytes(b"")
    (made.path / "notes.txt").write_bytes(b"")  # loaders look at images/ alone
    with pytest.raises(ArtefactError) as caught:
        made.verify()
    told = "altered: README.md; missing: images/cow/cow-0.png; added: images/cow/cow-7.png, images/dog"
    assert caught.value.message.endswith(f"is not as it was written ({told}).")


def test_of_many_files_the_first_are_named_and_the_others_counted(tmp_path):
    made = written(tmp_path / "x", classes=tuple("abcdefg"))
    for image in made.path.rglob("images/*/*.png"):
        image.unlink()
    with pytest.raises(ArtefactError, match=r"lacks images/a/a-0.png, .*images/e/e-1.png and 4 more\."):
        load(made.path)


def test_a_damaged_image_is_named(tmp_path):
    made = written(tmp_path / "x")
    image = made.path / "images" / "bee" / "bee-0.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:40])
    with pytest.raises(ArtefactError, match=r"Can't read \S+bee-0.png: .+[^.]\.\n"):
        _ = load(made.path).images
    Image.new("RGB", (9, 9)).save(image)
    with pytest.raises(ArtefactError, match=r"bee-0.png is not 7 x 7 pixels"):
        _ = load(made.path).images


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("label", "lable"),
        lambda text: text.replace(",1,", ",one,"),
        lambda text: text.replace(",1,", ",3,"),
        lambda text: text.replace("1.0", "much"),
        lambda text: "",
        lambda text: text.rpartition("\nbee")[0],
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, change):
    made = written(tmp_path / "x")
    table = made.path / "images" / "metadata.csv"
    table.write_text(change(table.read_text()))
    with pytest.raises(ArtefactError, match=r"Can't read \S+metadata.csv: .+[^.]\.\n"):
        _ = load(made.path).labels


def test_hostile_class_names_stay_inside_and_their_titles_survive(tmp_path):
    out = tmp_path / "deep" / "down" / "x"
    titles = tuple(f"{name} title" for name in HOSTILE)
    labels = np.arange(len(HOSTILE)).repeat(2)
    write(out, pixels(len(labels)), labels, manifest=manifest(HOSTILE, titles))
    made = load(out)
    made.verify()
    assert [path for path in tmp_path.rglob("*.png") if out not in path.parents] == []
    assert made.classes == HOSTILE and made.titles == titles
    np.testing.assert_array_equal(made.images, pixels(len(labels)))
    folders = made.manifest.folders
    assert len({name.lower() for name in folders}) == len(HOSTILE)
    for name, folder in zip(HOSTILE, folders, strict=True):
        assert (out / "images" / folder).is_dir() and not set(folder) & set('/\\:*?"<>|=')
        assert folder.lower() not in {"con", "..", "."} and not folder.startswith((".", "-")), name


def test_no_cell_of_the_table_is_a_formula(tmp_path):
    titles = ("=cmd()", "+1", "@x")
    write(tmp_path / "x", pixels(3), np.arange(3), manifest=manifest(CLASSES, titles=titles), sources=["-a", "b", "c"])
    with (tmp_path / "x" / "images" / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["title"] for row in rows] == ["'=cmd()", "'+1", "'@x"]
    assert [row["source"] for row in rows] == ["'-a", "b", "c"]
    assert load(tmp_path / "x").titles == titles


def test_the_card_carries_names_as_text_and_not_as_markup(tmp_path):
    name = "<img src=x>|[a](b)\n---\nevil: true"
    data = Origin(name=name, fingerprint="d")
    write(tmp_path / "x", pixels(3), np.arange(3), manifest=manifest(CLASSES, titles=(name, "b", "c"), data=data))
    text = (tmp_path / "x" / "README.md").read_text()
    head, body = text.split("---\n")[1], "---\n".join(text.split("---\n")[2:])
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(head)["pretty_name"] == f"{' '.join(name.split())}, distilled by attar"
    assert "<img" not in body and "evil: true\n" not in body and r"\[a\](b)" in body


def test_the_card_is_yaml_and_plain_text_whatever_the_names(tmp_path):
    yaml = pytest.importorskip("yaml")
    hostile = "\N{GRINNING FACE} `*x* <b>\u2028\x85\ud800"
    evil = "[a](http://b) *b*"
    options = {
        "method": hostile,
        "data": Origin(name=hostile, fingerprint="d"),
        "backbones": [Origin(name=hostile, fingerprint="f", licence=evil)],
    }
    text = card(manifest(CLASSES, **options))
    text.encode()
    assert yaml.safe_load(text.split("---\n")[1])["pretty_name"] == "\N{GRINNING FACE} `*x* <b>, distilled by attar"
    code = "`\N{GRINNING FACE} '*x* <b>`"
    assert f"with the method {code} on {code} (licence: \\[a\\](http://b) \\*b\\*)." in text


def test_the_table_tells_files_and_sources(tmp_path):
    made = write(tmp_path / "x", pixels(3), np.array([2, 0, 2]), manifest=manifest(CLASSES), sources=["c.jpg", "", "d"])
    assert made.file_names == ("bee/bee-0.png", "cow/cow-0.png", "bee/bee-1.png") and made.of_photos
    assert made.sources == ("c.jpg", "", "d")
    plain = written(tmp_path / "y")
    assert set(plain.sources) == {""} and len(plain.sources) == len(plain) and not plain.of_photos


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "images/link"])
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path, name: str):
    made = written(tmp_path / "x")
    (tmp_path / "secret.txt").write_text("secret")
    (made.path / "images" / "link").symlink_to(tmp_path / "secret.txt")
    file = made.path / "attar.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"files": record["files"] | {name: "0" * 64}}))
    with pytest.raises(ArtefactError, match="names a file outside itself"):
        load(made.path)


def test_a_table_that_points_out_of_the_folder_is_refused(tmp_path):
    made = written(tmp_path / "x")
    Image.new("RGB", (7, 7)).save(tmp_path / "other.png")
    table = made.path / "images" / "metadata.csv"
    table.write_text(table.read_text().replace("cow/cow-0.png", "../../other.png"))
    with pytest.raises(ArtefactError, match="names a file outside itself"):
        _ = load(made.path).images


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema_version": 1}', b"\xff"])
def test_a_damaged_manifest_is_one_sentence(tmp_path, content: bytes):
    (tmp_path / "attar.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"Can't read \S+attar.json: .+[^.]\.\n"):
        load(tmp_path)


def test_a_folder_without_manifest_and_a_newer_one_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="not a distilled set"):
        load(tmp_path)
    made = written(tmp_path / "x")
    file = made.path / "attar.json"
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ArtefactError, match="newer attar"):
        load(made.path)


def test_a_foreign_folder_or_file_is_refused_and_untouched(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"y")
    for name in ("photos", "file"):
        with pytest.raises(ArtefactError, match="is not a distilled set"):
            written(tmp_path / name)
    assert (tmp_path / "photos" / "one.jpg").read_bytes() == b"x" and (tmp_path / "file").read_bytes() == b"y"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos"]


def test_an_older_set_and_an_empty_folder_are_replaced(tmp_path):
    (tmp_path / "x").mkdir()
    written(tmp_path / "x")
    made = write(tmp_path / "x", pixels(2)[::-1].copy(), np.arange(2), manifest=manifest(("a", "b")))
    made.verify()
    assert load(tmp_path / "x").classes == ("a", "b")
    assert not (tmp_path / "x" / "images" / "cow").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("fatal", [1, 4, 7, 8, 9, 10])
def test_a_full_disk_leaves_the_older_set_and_nothing_beside_it(tmp_path, monkeypatch, fatal: int):
    """ENOSPC at the k-th file: six images, table, preview, card, manifest."""
    old = write(tmp_path / "x", pixels(3), np.arange(3), manifest=manifest(CLASSES))
    writes, write_to_disk = [], os.write

    def full(descriptor: int, data: memoryview) -> int:
        writes.append(descriptor)
        if len(writes) == fatal:
            write_to_disk(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_to_disk(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(FileError, match=r"has no room for .* bytes are needed"):
        written(tmp_path / "x")
    assert len(writes) == fatal
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    old.verify()


def test_where_the_last_rename_fails_the_older_set_is_put_back(tmp_path, monkeypatch):
    old = written(tmp_path / "x")
    rename = Path.rename

    def refuse(self, target):
        if self.name.endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(artefact.Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output"):
        written(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    old.verify()


def test_a_torch_loader_reads_a_set(tmp_path):
    images, labels = next(iter(DataLoader(written(tmp_path / "x"), batch_size=6)))
    torch.testing.assert_close(images, torch.from_numpy(pixels(6)).float() / 255)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_bytes_are_those_of_images_and_table(tmp_path):
    made = written(tmp_path / "x", train_hashes=[b"\0" * 32])
    assert made.bytes == sum(path.stat().st_size for path in (tmp_path / "x" / "images").rglob("*.*"))


@pytest.mark.parametrize("change", [{"created": "1999"}, {"scores": {"cosine": 1.0}}, {"ipc": 3}])
def test_a_record_that_was_altered_is_told_by_verify(tmp_path, change):
    written(tmp_path / "x").verify()
    file = tmp_path / "x" / "attar.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ArtefactError, match=r"altered: attar\.json"):
        load(tmp_path / "x").verify()


def test_the_card_says_whether_images_are_real(tmp_path):
    images, labels = np.zeros((3, 3, 7, 7), dtype=np.uint8), np.arange(3)
    for name, sources in (("made", None), ("chosen", ["a.jpg", "b.jpg", "c.jpg"])):
        write(tmp_path / name, images, labels, manifest=manifest(ipc=1), sources=sources)
    made, chosen = ((tmp_path / name / "README.md").read_text() for name in ("made", "chosen"))
    assert "1 synthetic image a class, distilled from" in made and "These are photos" not in made
    assert "1 real image a class, chosen among" in chosen and "These are photos" in chosen
    write(tmp_path / "imported", images, labels, manifest=manifest(ipc=1, train_images=0))
    assert "distilled from\nimages that aren't known" in (tmp_path / "imported" / "README.md").read_text()


def test_what_was_meant_is_told_where_there_is_no_set(tmp_path, monkeypatch):
    images, labels = np.zeros((3, 3, 7, 7), dtype=np.uint8), np.arange(3)
    made = write(tmp_path / "x.attar", images, labels, manifest=manifest(ipc=1)).path
    (tmp_path / "x.attar.run").mkdir()
    monkeypatch.chdir(tmp_path)
    for typed, hint in (
        (made / "images", f"Give the set itself: {made}."),
        (made / "attar.json", f"Give the set itself: {made}."),
        (tmp_path / "x.attar.run", f"Give the set itself: {made}."),
        (tmp_path, "Give the folder named by --out."),
        (".", "Give the folder named by --out."),
        ("/", "Give the folder named by --out."),
        (tmp_path / "nothing", "Give the folder named by --out."),
        ("you/photos", "A set on the hub is hf:you/photos."),
        ("https://huggingface.co/datasets/you/photos", "Write hf:you/photos for a set on the hub."),
    ):
        with pytest.raises(ArtefactError) as refused:
            load(typed)
        assert refused.value.hint == hint

"""Published sets, in the layouts of the codes that write them, as sets of attar's."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import attar
from attar.errors import ArtefactError, AttarError, BackboneError, ImageError
from attar.images.subsets import subset
from small import coloured, small_backbone

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
LABELS = np.array([2, 0, 1, 0, 2, 1])


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)


@pytest.fixture
def normalised(pixels) -> torch.Tensor:
    """The same images as those codes keep them."""
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    return torch.from_numpy((pixels / 255 - mean) / std).float()


def dc(file, images, labels):
    """DC, DSA and DM: a list of repetitions, and accuracies as NumPy's numbers."""
    other = [torch.zeros(6, 3, 5, 5), torch.from_numpy(LABELS)]
    accuracies = {"ConvNet": [np.float64(0.4), np.float32(0.4), np.int64(1)]}
    torch.save({"data": [other, [images, labels]], "accs_all_exps": accuracies}, file.with_suffix(".pt"))
    return file.with_suffix(".pt"), {"index": 1}


def mtt(file, images, labels):
    """MTT: two files of bare tensors."""
    torch.save(images, file.with_name("images_best.pt"))
    torch.save(labels, file.with_name("labels_best.pt"))
    return file.with_name("images_best.pt"), {}


def named(file, images, labels):
    torch.save(images, file.with_name("x.pt"))
    torch.save(labels, file.with_name("y.pt"))
    return file.with_name("x.pt"), {"labels": file.with_name("y.pt")}


def dictionary(file, images, labels):
    torch.save({"images": images, "labels": labels}, file.with_suffix(".pth"))
    return file.with_suffix(".pth"), {}


def safetensors(file, images, labels):
    save_file({"images": images.half(), "labels": labels}, file.with_suffix(".safetensors"))
    return file.with_suffix(".safetensors"), {}


def npz(file, images, labels):
    np.savez(file.with_suffix(".npz"), images=images.numpy(), labels=labels.numpy())
    return file.with_suffix(".npz"), {}


def arrays(file, images, labels):
    """A dictionary of arrays, one of them in columns, as torch.save pickles NumPy's own."""
    by_columns = np.asfortranarray(images.numpy())
    torch.save({"images": by_columns, "labels": labels.numpy().astype(np.int32)}, file.with_suffix(".pt"))
    return file.with_suffix(".pt"), {}


def arrays_alone(file, images, labels):
    return mtt(file, images.double().numpy(), labels.numpy())


@pytest.mark.parametrize("layout", [dc, mtt, named, dictionary, safetensors, npz, arrays, arrays_alone])
def test_every_layout_gives_the_same_bytes(tmp_path, pixels, normalised, layout):
    file, options = layout(tmp_path / "set", normalised, torch.from_numpy(LABELS))
    made = attar.import_set(file, tmp_path / "out", mean=MEAN, std=STD, **options)
    rows = [np.flatnonzero(made.labels == label) for label in range(3)]
    for label, places in enumerate(rows):
        np.testing.assert_array_equal(made.images[places], pixels[label == LABELS])
    assert made.classes == ("0", "1", "2") and made.manifest.ipc == 2 and made.manifest.image_side == 5
    assert made.manifest.method == "imported" and made.manifest.settings["mean"] == list(MEAN)
    made.verify()


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1)])
def test_bytes_stay_what_they_are(tmp_path, pixels, axes):
    np.savez(tmp_path / "set.npz", images=pixels.transpose(axes), labels=LABELS)
    made = attar.import_set(tmp_path / "set.npz", tmp_path / "out", classes=["cat", "ant", "bee"], method="DC")
    assert made.classes == ("cat", "ant", "bee") and made.manifest.method == "DC"
    np.testing.assert_array_equal(made.images[made.labels == 2], pixels[LABELS == 2])
    with pytest.raises(ArtefactError, match="Images of bytes aren't normalised"):
        attar.import_set(tmp_path / "set.npz", tmp_path / "other", mean=MEAN, std=STD)


def test_grey_images_show_the_same_in_all_channels(tmp_path, pixels):
    np.savez(tmp_path / "set.npz", images=pixels[:, :1] / 255, labels=LABELS)
    made = attar.import_set(tmp_path / "set.npz", tmp_path / "out")
    assert (made.images == made.images[:, :1]).all()


def test_a_folder_brings_its_own_classes(tmp_path, pixels):
    for number, label in enumerate(LABELS):
        (tmp_path / "set" / "abc"[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number].transpose(1, 2, 0)).save(tmp_path / "set" / "abc"[label] / f"{number}.png")
    made = attar.import_set(tmp_path / "set", tmp_path / "out")
    assert made.classes == ("a", "b", "c")
    np.testing.assert_array_equal(made.images[made.labels == 1], pixels[LABELS == 1])
    with pytest.raises(ArtefactError, match="is a folder of image files"):
        attar.import_set(tmp_path / "set", tmp_path / "other", mean=MEAN, std=STD)
    Image.new("RGB", (5, 7)).save(tmp_path / "set" / "a" / "odd.png")
    with pytest.raises(ArtefactError, match=r"a/odd.png in .* has 5 x 7 pixels"):
        attar.import_set(tmp_path / "set", tmp_path / "other")


def numbered_folders(path, name: str, count: int):
    """One image a class, of its own shade, as JPEG files, in folders that `name` calls by number."""
    for number in range(count):
        (path / name.format(number)).mkdir(parents=True)
        shade = Image.new("RGB", (8, 8), (10 * number + 5,) * 3)
        shade.save(path / name.format(number) / f"class{number:03d}_id000.jpg")
    return path


@pytest.mark.parametrize("name", ["new{:03d}", "{:05d}", "{}", "new{}"])
def test_numbered_folders_are_classes_in_the_order_of_their_numbers(tmp_path, name):
    """As SRe2L's (new000), RDED's (00000) and others without zeros in front, whose 10 comes before 2 as text."""
    names = [f"class {letter}" for letter in "abcdefghijkl"]
    made = attar.import_set(numbered_folders(tmp_path / "set", name, 12), tmp_path / "out", classes=names)
    assert made.classes == tuple(names)
    shades = made.images.mean((1, 2, 3))
    np.testing.assert_allclose(shades, [10 * label + 5 for label in made.labels], atol=2)
    with pytest.raises(ImageError, match=r"Class class m in .* has no images"):
        attar.import_set(tmp_path / "set", tmp_path / "other", classes=[*names, "class m"])


def shaded(path, names):
    """A folder a class, whose images have shades of their own: 10, 20, ... in the order of `names`."""
    for number, name in enumerate(names):
        (path / name).mkdir(parents=True)
        Image.new("RGB", (5, 5), (10 * number + 10,) * 3).save(path / name / "0.png")
    return path


def shades(made) -> dict[str, int]:
    return {made.classes[label]: int(made.images[place].mean()) for place, label in enumerate(made.labels)}


@pytest.mark.parametrize("wanted", [("c", "b", "a"), ("b", "c", "a"), ("c", "a", "b"), ("a", "b", "c")])
def test_images_stay_with_the_name_of_their_folder(tmp_path, wanted):
    folder = shaded(tmp_path / "set", ("a", "b", "c"))
    (tmp_path / "names.txt").write_text("\n".join(wanted))
    for classes in (wanted, tmp_path / "names.txt"):
        made = attar.import_set(folder, tmp_path / "out", classes=classes, restart=True)
        assert made.classes == wanted and shades(made) == {"a": 10, "b": 20, "c": 30}


def test_numbers_that_are_names_are_found_by_name(tmp_path):
    made = attar.import_set(shaded(tmp_path / "set", "0123"), tmp_path / "out", classes=["3", "0", "2", "1"])
    assert made.classes == ("3", "0", "2", "1") and shades(made) == {"0": 10, "1": 20, "2": 30, "3": 40}


@pytest.mark.parametrize("name", ["imagewoof", "imagenet-birds"])
def test_folders_of_a_subset_are_found_by_wordnet_id(tmp_path, name):
    """The authors' order isn't sorted, and that of folders is."""
    wnids = subset(name)
    assert wnids != tuple(sorted(wnids))
    folder = shaded(tmp_path / "set", sorted(wnids))
    made = attar.import_set(folder, tmp_path / "out", classes=[name])
    assert made.classes == wnids and shades(made) == {wnid: 10 * n + 10 for n, wnid in enumerate(sorted(wnids))}
    with pytest.raises(ArtefactError, match="and the classes given differ"):
        attar.import_set(folder, tmp_path / "other", classes=["imagenette"])


@pytest.mark.parametrize(
    ("folders", "wanted", "told"),
    [
        ("abc", "xyz", "only there: a, b, c; only given: x, y, z"),
        ("abc", "abx", "only there: c; only given: x"),
        ("ab", "abc", "only given: c"),
        ("abc", "ab", "only there: c"),
        (("new000", "new001", "new003"), "abc", "only there: new000, new001, new003; only given: a, b, c"),
        (("new007", "new008"), "ab", "only there: new007, new008; only given: a, b"),
        (("n01440764", "n02102040"), "ab", "only there: n01440764, n02102040; only given: a, b"),
        (("0", "old1"), "ab", "only there: 0, old1; only given: a, b"),
    ],
)
def test_folders_that_are_called_otherwise_are_refused(tmp_path, folders, wanted, told):
    with pytest.raises(ArtefactError) as refused:
        attar.import_set(shaded(tmp_path / "set", folders), tmp_path / "out", classes=list(wanted))
    assert refused.value.message == f"folders of {tmp_path / 'set'} and the classes given differ ({told})"
    assert not (tmp_path / "out").exists()


def test_a_file_may_say_which_folder_has_which_name(tmp_path):
    (tmp_path / "names.json").write_text('{"c": "cat", "a": "ant", "b": "bee"}')
    made = attar.import_set(shaded(tmp_path / "set", "abc"), tmp_path / "out", classes=tmp_path / "names.json")
    assert shades(made) == {"ant": 10, "bee": 20, "cat": 30}


def test_a_file_may_swap_the_names_of_folders(tmp_path):
    (tmp_path / "names.json").write_text('{"a": "b", "b": "a"}')
    made = attar.import_set(shaded(tmp_path / "set", "ab"), tmp_path / "out", classes=tmp_path / "names.json")
    assert shades(made) == {"b": 10, "a": 20}


def test_folders_may_be_numbered_from_one(tmp_path):
    made = attar.import_set(shaded(tmp_path / "set", ("c1", "c2", "c3")), tmp_path / "out", classes=["z", "x", "y"])
    assert shades(made) == {"z": 10, "x": 20, "y": 30}


def test_subsets_of_imagenet_are_names_in_their_order(tmp_path):
    folder = numbered_folders(tmp_path / "set", "{:05d}", 10)
    made = attar.import_set(folder, tmp_path / "out", classes=["imagewoof"])
    assert made.classes[:2] == ("n02096294", "n02093754") and made.titles[0] == "Australian terrier"
    assert made.images[made.labels == 0].mean() == pytest.approx(5, abs=2)
    with pytest.raises(ImageError, match=r"Class n01530575 in .* has no images"):  # ImageNet's eleventh, a brambling
        attar.import_set(folder, tmp_path / "other", classes=["imagenet-1k"])
    with pytest.raises(ArtefactError, match=r"in orders of their own\.\nGive a file"):
        attar.import_set(folder, tmp_path / "other", classes=["imagenet-100"])


def lgm(path, side: int = 9) -> torch.Tensor:
    """LGM's data.pth as its authors' code saves it: floats of a sigmoid and labels, sorted by class."""
    train = coloured(2)
    images = np.stack([image for _, image in train.read(range(6))])[:, :, :side, :side] / 255
    order = np.argsort(train.labels[:6], kind="stable")
    logits = torch.logit(torch.from_numpy(images[order]).float(), 1e-6).requires_grad_()
    torch.save({"images": torch.sigmoid(logits).detach(), "labels": torch.from_numpy(train.labels[:6][order])}, path)
    return torch.sigmoid(logits).detach()


def test_lgms_data_file_is_a_set_that_can_be_evaluated(tmp_path):
    images = lgm(tmp_path / "data.pth")
    made = attar.import_set(tmp_path / "data.pth", tmp_path / "out", classes=coloured(1).classes, method="lgm")
    np.testing.assert_array_equal(made.images, (images.double() * 255).round().byte().numpy())
    found = attar.evaluate([made], test=coloured(5, seed=1), train=None, backbone=small_backbone())
    assert next(row for row in found.rows if row.method == "lgm").accuracy > 40


@pytest.mark.parametrize("state", [np.random.default_rng(0), {"numpy": np.random.RandomState(0).get_state()}])
def test_lgms_checkpoint_points_to_its_data_file(tmp_path, state):
    torch.save({"pyramid": torch.zeros(3), "state": state}, tmp_path / "ckpt.pth")
    with pytest.raises(
        ArtefactError, match=r"ckpt\.pth (was refused: it would run code|holds no images) .*\n.*data\.pth"
    ):
        attar.import_set(tmp_path / "ckpt.pth", tmp_path / "out")


def test_a_data_file_with_code_in_it_runs_nothing(tmp_path):
    torch.save({"images": torch.zeros(2, 3, 5, 5), "labels": Touch(tmp_path / "trace")}, tmp_path / "data.pth")
    with pytest.raises(ArtefactError, match=r"data\.pth was refused: it would run code when loaded"):
        attar.import_set(tmp_path / "data.pth", tmp_path / "out")
    assert not (tmp_path / "trace").exists() and not (tmp_path / "out").exists()


class Touch:
    """A pickle that would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_names_come_from_a_file(tmp_path, pixels):
    np.savez(tmp_path / "set.npz", images=pixels, labels=LABELS)
    (tmp_path / "names.txt").write_text("cat\nant\nbee\n")
    made = attar.import_set(tmp_path / "set.npz", tmp_path / "out", classes=tmp_path / "names.txt")
    assert made.classes == made.titles == ("cat", "ant", "bee")
    with pytest.raises(ImageError, match="outside of"):
        attar.import_set(tmp_path / "set.npz", tmp_path / "other", classes=["cat", "ant"])


def expected_of(normalised, std):
    return normalised.double() * std + 0.5


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mean": MEAN}, "Mean and std belong together, and one of them is missing"),
        ({"std": STD}, "Mean and std belong together, and one of them is missing"),
        ({"mean": (125.3, 123.0, 113.9), "std": (63.0, 62.1, 66.7)}, "and these are above 1.\nDivide them by 255."),
        ({"mean": (0.5,) * 3, "std": (1.0,) * 3}, "of the numbers would be clipped: mean or std can't"),
    ],
)
def test_clipping_does_not_hide_a_wrong_mean_or_std(tmp_path, normalised, wrong, told):
    save_file({"images": normalised, "labels": torch.from_numpy(LABELS)}, tmp_path / "set.safetensors")
    with pytest.raises(ArtefactError, match=told):
        attar.import_set(tmp_path / "set.safetensors", tmp_path / "out", clip=True, **wrong)
    assert not (tmp_path / "out").exists()


def test_a_set_that_is_there_is_replaced_on_request_alone(tmp_path, pixels):
    np.savez(tmp_path / "set.npz", images=pixels, labels=LABELS)
    made = attar.import_set(tmp_path / "set.npz", tmp_path / "out")
    with pytest.raises(ArtefactError, match=r"is a distilled set already\.\nUse --restart"):
        attar.import_set(tmp_path / "set.npz", tmp_path / "out", method="dc")
    assert attar.load(made.path).manifest.method == "imported"
    assert attar.import_set(tmp_path / "set.npz", tmp_path / "out", method="dc", restart=True).manifest.method == "dc"
    with pytest.raises(ArtefactError, match="is a set of attar's already"):
        attar.import_set(made.path, tmp_path / "other")


def test_images_out_of_bounds_are_refused_or_clipped(tmp_path, normalised):
    save_file({"images": normalised, "labels": torch.from_numpy(LABELS)}, tmp_path / "set.safetensors")
    file, out = tmp_path / "set.safetensors", tmp_path / "out"
    low, high = float(normalised.min()), float(normalised.max())
    told = f"Images must lie in [0, 1] after de-normalisation; found [{low:.3f}, {high:.3f}]."
    with pytest.raises(ArtefactError) as refused:
        attar.import_set(file, out)
    assert str(refused.value) == f"{told}\nPass the mean and std they were saved with."
    with pytest.raises(ArtefactError, match=r"Whitened \(ZCA\) images cannot be encoded by the VAE; undo"):
        attar.import_set(file, out, mean=MEAN, std=(0.4, 0.4, 0.4))
    assert not out.exists()
    inside = expected_of(normalised, 0.25)
    expected = inside.clip(0, 1) * 255
    outside = float(((inside < -0.05) | (inside > 1.05)).double().mean())
    made = attar.import_set(file, out, mean=(0.5,) * 3, std=(0.25,) * 3, clip=True)
    assert 0 < outside < 0.2 and made.manifest.scores == {"clipped": pytest.approx(outside, abs=1e-4)}
    np.testing.assert_array_equal(made.images[made.labels == 0], expected[LABELS == 0].round())


@pytest.mark.parametrize("std", [(0.0, 0.2, 0.2), (0.2, -0.2, 0.2), (0.2, 0.2, float("nan"))])
def test_impossible_deviations_are_refused(tmp_path, normalised, std):
    save_file({"images": normalised, "labels": torch.from_numpy(LABELS)}, tmp_path / "set.safetensors")
    with pytest.raises(ArtefactError, match=r"The standard deviations \(.*\) aren't all above 0\.\nPass the mean"):
        attar.import_set(tmp_path / "set.safetensors", tmp_path / "out", mean=MEAN, std=std, clip=True)


def test_the_network_it_was_distilled_on_is_told_apart_from_others(tmp_path, pixels):
    images = np.repeat(np.repeat(pixels, 2, 2), 2, 3)
    np.savez(tmp_path / "set.npz", images=images, labels=LABELS)
    for name in ("convnet3", ""):
        made = attar.import_set(tmp_path / "set.npz", tmp_path / "out", architecture=name, restart=True)
        (origin,) = made.manifest.backbones
        assert (origin.name, origin.architecture) == ("unknown", name)
        assert origin.is_of("convnet3") == (name == "convnet3") and not origin.is_of("resnet18")
    with pytest.raises(BackboneError, match="There is no network 'convnet33' to train"):
        attar.import_set(tmp_path / "set.npz", tmp_path / "other", architecture="convnet33")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("beyond", "taken"), [(0.049, True), (0.051, False)])
def test_a_twentieth_beyond_the_bounds_is_rounding(tmp_path, beyond: float, taken: bool):
    for value in (-beyond, 1 + beyond):
        images = np.full((2, 3, 5, 5), 0.5)
        images[1, 2, 3, 4] = value
        np.savez(tmp_path / "set.npz", images=images, labels=np.array([0, 1]))
        if taken:
            made = attar.import_set(tmp_path / "set.npz", tmp_path / "out", restart=True)
            assert made.images[1, 2, 3, 4] == (0 if value < 0 else 255)
        else:
            with pytest.raises(ArtefactError, match="Images must lie in"):
                attar.import_set(tmp_path / "set.npz", tmp_path / "out")


class Bad:
    """Pickled, it would run code."""

    def __reduce__(self):
        return print, ("ran",)


class Addresses:
    """Pickled, an array of objects whose addresses are the file's bytes."""

    def __reduce__(self):
        return np.ndarray, ((1,), Objects(), b"x" * 8)


class Objects:
    def __reduce__(self):
        return np.dtype, ("O8",)


def saved(file, content):
    torch.save(content, file)
    return file


ZEROS, TWO = torch.zeros(2, 3, 5, 5), torch.tensor([0, 1])
UNFIT = {
    "absent": (lambda f: f / "a.pt", "There is no file"),
    "absent without a kind": (lambda f: f / "nonexist", "There is no file .*nonexist"),
    "another kind": (lambda f: _written(f / "a.pkl", b""), "Can't tell the format of"),
    "objects": (lambda f: saved(f / "a.pt", {"images": np.array([Bad()]), "labels": TWO}), "was refused"),
    "text": (lambda f: saved(f / "a.pt", {"images": ZEROS, "labels": np.array(["a", "b"])}), "was refused"),
    "addresses": (lambda f: saved(f / "a.pt", {"images": Addresses(), "labels": TWO}), "holds no images with labels"),
    "code": (lambda f: saved(f / "a.pt", {"data": Bad()}), "was refused: it would run code when loaded"),
    "no torch file": (lambda f: _written(f / "a.pt", b"hello"), "Can't read .* it is damaged"),
    "cut": (lambda f: _written(f / "a.safetensors", b"\x00" * 5), "Can't read"),
    "no zip": (lambda f: _written(f / "a.npz", b"\x00" * 5), "Can't read .*zip"),
    "alone": (lambda f: saved(f / "a.pt", ZEROS), "holds images alone"),
    "a number": (lambda f: saved(f / "a.pt", 3), "holds no images with labels"),
    "a list": (lambda f: saved(f / "a.pt", {"data": [ZEROS, TWO]}), "holds no images with labels"),
    "no entry": (lambda f: saved(f / "a.pt", {"data": []}), "holds 0 sets, and there is no number 0"),
    "no labels": (lambda f: saved(f / "a.pt", {"images": ZEROS}), "holds no images with labels"),
    "soft labels": (lambda f: saved(f / "a.pt", {"images": ZEROS, "labels": TWO / 2}), "Labels in .* of type float32"),
    "too few labels": (lambda f: saved(f / "a.pt", {"images": ZEROS, "labels": TWO[:1]}), "Labels in .* shape"),
    "a class too many": (lambda f: saved(f / "a.pt", {"images": ZEROS, "labels": TWO + 5}), "Label 6 in"),
    "not square": (lambda f: saved(f / "a.pt", {"images": ZEROS[..., 1:], "labels": TWO}), r"shape \(2, 3, 5, 4\)"),
    "no images": (lambda f: saved(f / "a.pt", {"images": ZEROS[:0], "labels": TWO[:0]}), r"shape \(0, 3, 5, 5\)"),
    "integers": (lambda f: saved(f / "a.pt", {"images": ZEROS.int(), "labels": TWO}), "type int32"),
    "no numbers": (lambda f: saved(f / "a.pt", {"images": ZEROS / 0, "labels": TWO}), "aren't finite"),
    "sparse": (
        lambda f: saved(f / "a.pt", {"images": ZEROS.to_sparse(), "labels": TWO}),
        "holds no images with labels",
    ),
}


def _written(file, content: bytes):
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_no_set_is_one_sentence_and_writes_nothing(tmp_path, capsys, kind: str):
    make, sentence = UNFIT[kind]
    with pytest.raises(AttarError, match=sentence):
        attar.import_set(make(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists() and capsys.readouterr().out == ""


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(2**20))
    monkeypatch.setattr("attar.distilled.foreign._BOMB_BYTES", 2**16)
    with pytest.raises(ArtefactError, match="it is a zip bomb"):
        attar.import_set(tmp_path / "a.npz", tmp_path / "out")


def test_another_folder_is_never_replaced(tmp_path, pixels):
    np.savez(tmp_path / "set.npz", images=pixels, labels=LABELS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="exists and is not a distilled set"):
        attar.import_set(tmp_path / "set.npz", tmp_path / "out")


def test_an_imported_set_can_be_evaluated(tmp_path):
    train = coloured(2)
    images = np.stack([image for _, image in train.read(range(6))])[:, :, :9, :9] / 255
    np.savez(tmp_path / "set.npz", images=images, labels=train.labels[:6])
    made = attar.import_set(tmp_path / "set.npz", tmp_path / "out", classes=train.classes)
    found = attar.evaluate([made], test=coloured(5, seed=1), train=None, backbone=small_backbone())
    assert next(row for row in found.rows if row.method == "imported").accuracy > 40


def test_dcs_published_images_of_cifar10(assets, tmp_path):
    file = assets / "data" / "distilled_cifar10_dc" / "dc_1ipc.safetensors"
    with pytest.raises(ArtefactError, match=r"found \[-0\.675, 1\.518\]"):
        attar.import_set(file, tmp_path / "out", mean=MEAN, std=STD)
    made = attar.import_set(file, tmp_path / "out", mean=MEAN, std=STD, clip=True)
    assert len(made) == 10 and made.manifest.image_side == 32 and 100 < made.images.mean() < 150

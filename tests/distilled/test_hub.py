"""Sets on the hub: pushed to a stub of it and loaded back, photos refused, and errors of one sentence."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import attar
from attar.diffusion.edits.settings import choose_edits
from attar.diffusion.models import open_diffusion
from attar.distilled import DistilledSet, Origin, write
from attar.errors import ArtefactError
from attar.progress import Progress
from attar.selection import SELECTIONS
from small import CLASSES, coloured, manifest
from stub_hub import TOKEN, serving_hub, stub_hub
from tiny_diffusion import dit_pipeline

NAME = "you/photos"


@pytest.fixture
def hub():
    with serving_hub() as hub:
        yield hub


@pytest.fixture
def made(tmp_path) -> DistilledSet:
    return a_set(tmp_path / "made.attar")


def a_set(path: Path, per_class: int = 2, seed: int = 0, **options) -> DistilledSet:
    labels = np.repeat(np.arange(3), per_class)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 7, 7), dtype=np.uint8)
    changes = options.pop("manifest", {})
    return write(path, images, labels, manifest=manifest(ipc=per_class, **changes), **options)


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_was_pushed_is_loaded_bit_for_bit(hub, made):
    (made.path / "notes.txt").write_text("mine")
    address = attar.push(made.path, NAME, private=True)
    assert address == f"{hub.url}/datasets/you/photos" and hub.private[NAME]
    loaded = attar.load("hf:you/photos")
    (made.path / "notes.txt").unlink()  # what attar.json doesn't list stays at home
    assert content(loaded.path) == content(made.path)
    assert loaded.path.name == f"photos@{hub.at(NAME)[0][:12]}" and hub.messages == ["sfm: 6 images of 3 classes"]
    loaded.verify()
    np.testing.assert_array_equal(loaded.images, made.images)


class Notes(Progress):
    def __init__(self):
        self.told = []

    def note(self, text: str) -> None:
        self.told.append(text)


def test_a_private_push_never_goes_where_all_can_see_it(hub, made, tmp_path):
    attar.push(made, NAME)
    before = hub.at(NAME)
    with pytest.raises(ArtefactError, match="you/photos is there already, and it is public"):
        attar.push(a_set(tmp_path / "other.attar", seed=1), NAME, private=True)
    assert hub.at(NAME) == before and len(hub.messages) == 1
    hub.private[NAME] = True
    attar.push(a_set(tmp_path / "other.attar", seed=1), NAME, private=True)
    assert len(hub.messages) == 2 and hub.private[NAME]


def test_a_card_that_its_owner_wrote_stays(hub, made, tmp_path):
    notes = Notes()
    attar.push(made, NAME, progress=notes)
    other = a_set(tmp_path / "other.attar", seed=1)
    attar.push(other, NAME, progress=notes)
    assert hub.at(NAME)[1]["README.md"] == (other.path / "README.md").read_bytes() and notes.told == []
    mine = b"---\nlicense: mit\n---\n"
    hub.put(NAME, hub.at(NAME)[1] | {"README.md": mine})
    for number in (1, 2):
        attar.push(made, NAME, progress=notes)
        assert hub.at(NAME)[1]["README.md"] == mine and len(notes.told) == number
        assert content(made.path).items() - hub.at(NAME)[1].items() == {("README.md", content(made.path)["README.md"])}
    assert notes.told[0].startswith("The card of you/photos was edited on the hub and stays")
    attar.load("hf:you/photos").verify()


def test_large_files_go_to_their_storage(hub, made, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    hub.as_large = (".png",)
    attar.push(made, NAME)
    assert len(hub.large) == 7  # six images and the preview
    assert content(attar.load("hf:you/photos").path) == content(made.path)


def test_a_second_push_takes_away_what_the_first_had_more(hub, made, tmp_path):
    attar.push(a_set(tmp_path / "more.attar", 4), NAME)
    hub.put(NAME, hub.at(NAME)[1] | {"LICENSE": b"mine", "labels/soft-fkd/0.safetensors": b"old"})
    attar.push(made, NAME, message="fewer")
    assert hub.at(NAME)[1].keys() == {*content(made.path), ".gitattributes", "LICENSE"}
    assert hub.messages[-1] == "fewer"


def test_a_fetched_set_is_opened_without_asking_until_main_is_asked_for(hub, made, tmp_path):
    attar.push(made, NAME)
    first = attar.load("hf:you/photos").path
    attar.push(a_set(tmp_path / "other.attar", seed=1), NAME)
    hub.failures = {"/": (500, {})}
    assert attar.load(Path("hf:you/photos")).path == first
    assert attar.load(f"hf:you/{first.name}").path == first
    hub.failures = {}
    newest = attar.load("hf:you/photos@main").path
    assert newest.name == f"photos@{hub.at(NAME)[0][:12]}" != first.name
    assert attar.load("hf:you/photos").path == newest


def test_a_commit_that_is_not_here_is_fetched_as_it_was(hub, made, tmp_path):
    attar.push(made, NAME)
    old = hub.at(NAME)[0]
    attar.push(a_set(tmp_path / "other.attar", seed=1), NAME)
    np.testing.assert_array_equal(attar.load(f"hf:you/photos@{old}").images, made.images)
    assert attar.load("hf:you/photos").path.name == f"photos@{hub.at(NAME)[0][:12]}"


def test_only_listed_files_are_fetched(hub, made):
    attar.push(made, NAME)
    hub.put(NAME, hub.at(NAME)[1] | {"images/ant/more.png": b"x", "virus.exe": b"x"})
    assert content(attar.load("hf:you/photos").path) == content(made.path)
    assert not any("more.png" in path or "virus" in path for _, path in hub.asked)


def test_the_card_may_be_edited_on_the_hub(hub, made):
    attar.push(made, NAME)
    hub.put(NAME, hub.at(NAME)[1] | {"README.md": b"---\nlicense: mit\n---\n"})
    loaded = attar.load("hf:you/photos")
    loaded.verify()
    assert (loaded.path / "README.md").read_bytes().startswith(b"---\nlicense: mit")


@pytest.mark.parametrize(
    "kind",
    [
        {"sources": ["a", "b", "c", "d", "e", "f"]},
        {"manifest": {"method": "rded"}},
        {"manifest": {"method": "jpeg"}},
        {"manifest": {"method": "RDED"}},
        {"manifest": {"method": "diver", "settings": {"refined": "random"}}},
        {"manifest": {"method": "diver", "settings": {"refined": "images"}}},
        {"manifest": {"method": "diver", "began_from_photos": True}},
    ],
)
def test_photos_stay_here_unless_they_are_meant(hub, tmp_path, kind):
    chosen = a_set(tmp_path / "chosen.attar", **kind)
    with pytest.raises(ArtefactError, match=r"holds photos, .* \(method \w+\)\.\nGive --include-real"):
        attar.push(chosen, NAME)
    assert hub.asked == []
    attar.push(chosen, NAME, include_real=True)
    assert "images/ant/ant-0.png" in hub.at(NAME)[1]


def test_every_selection_of_photos_counts_as_photos(tmp_path):
    for method in SELECTIONS:
        assert manifest(method=method).of_photos == (method != "noise")


def test_an_imported_set_stays_here_until_it_is_said_what_made_it(hub, tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 3, 5, 5), dtype=np.uint8), labels=np.arange(2))
    made = attar.import_set(tmp_path / "set.npz", tmp_path / "out")
    with pytest.raises(ArtefactError, match=r"may hold photos: it was imported, .*\n.*--include-real.*--method NAME"):
        attar.push(made, NAME)
    assert hub.asked == []
    attar.push(made, NAME, include_real=True)
    attar.push(attar.import_set(tmp_path / "set.npz", tmp_path / "out", method="dc", restart=True), "you/dc")
    assert hub.messages[-1].startswith("dc: 2 images")


def test_what_began_as_photos_stays_so_through_every_refinement(tmp_path):
    dit_pipeline(dict(enumerate(CLASSES))).save_pretrained(tmp_path / "dit")
    model, chosen = open_diffusion(str(tmp_path / "dit"), device="cpu"), attar.choose_refinement(vae_only=True)
    named = a_set(tmp_path / "named", sources=["a", "b", "c", "d", "e", "f"])
    begun = {"made": (a_set(tmp_path / "sfm"), False), "named": (named, True), "images": (coloured(1), True)}
    for name, (images, of_photos) in begun.items():
        once = attar.refine(images, model, tmp_path / f"{name}-1", settings=chosen)
        twice = attar.refine(once, model, tmp_path / f"{name}-2", settings=chosen)
        assert (once.of_photos, twice.of_photos, any(twice.sources)) == (of_photos, of_photos, False), name


@pytest.mark.parametrize("control", ["none", "text-only", "image-only", "vae", "decode", "medoid"])
def test_edits_says_which_of_its_images_are_near_copies(control):
    near = control in ("vae", "decode", "medoid")
    assert choose_edits("d4m", control=control).keeps_photos == near
    assert choose_edits("d4m", control=control, strength=0.3).keeps_photos == (near or control != "text-only")


def test_an_altered_set_stays_here(hub, made):
    (made.path / "README.md").write_text("better")
    with pytest.raises(ArtefactError, match=r"not as it was written \(altered: README.md\)"):
        attar.push(made, NAME)
    assert hub.asked == []


def test_another_dataset_is_never_written_over(hub, made):
    hub.put(NAME, {"data.parquet": b"precious"})
    with pytest.raises(ArtefactError, match="you/photos is a dataset that attar didn't make"):
        attar.push(made, NAME)
    assert hub.at(NAME)[1] == {"data.parquet": b"precious"}


@pytest.mark.parametrize(
    "name", ["photos", "you/", "/photos", "you/my photos", "a/b/c", "../photos", "you/..", "you/a--b"]
)
def test_names_are_checked_before_the_hub_is_asked(hub, made, name):
    for use in (lambda: attar.push(made, name), lambda: attar.load(f"hf:{name}")):
        with pytest.raises(ArtefactError, match=r"is no name of a dataset on the hub\.\nWrite OWNER/NAME"):
            use()
    assert hub.asked == []


NO_LOGIN, NO_RIGHT = "doesn't accept your login", "your login may not change or read you/photos"
CHANGED, NOT_THERE = "was changed by someone else", "the hub has no dataset you/photos, or hides it"


@pytest.mark.parametrize(
    ("path", "status", "headers", "told"),
    [
        ("/api/repos/create", 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, NO_LOGIN),
        ("/api/repos/create", 403, {}, NO_RIGHT),
        ("/api/repos/create", 500, {}, "failed with status 500"),
        ("/commit/", 403, {}, NO_RIGHT),
        ("/commit/", 409, {}, CHANGED),
        ("/commit/", 412, {}, CHANGED),
        ("/api/datasets/", 404, {"X-Error-Code": "RepoNotFound"}, NOT_THERE),
        ("/api/datasets/", 429, {}, "has had enough requests"),
        ("/api/datasets/", 401, {"X-Error-Message": f"Bearer {TOKEN}"}, NO_LOGIN),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_without_the_token(hub, made, capsys, path, status, headers, told):
    hub.failures = {path: (status, headers)}
    with pytest.raises(ArtefactError, match=f"(?i){told}") as refused:
        attar.push(made, NAME)
    shown = capsys.readouterr()
    assert len(str(refused.value).splitlines()) == 2 and TOKEN not in f"{refused.value} {refused.value.__cause__}"
    assert shown.out == shown.err == ""
    assert any(headers.get("authorization") == f"Bearer {TOKEN}" for headers in hub.headers)


def test_loading_says_what_is_missing(hub, made):
    with pytest.raises(ArtefactError, match="The hub has no dataset you/photos"):
        attar.load("hf:you/photos")
    attar.push(made, NAME)
    with pytest.raises(ArtefactError, match="you/photos has no revision v7"):
        attar.load("hf:you/photos@v7")
    hub.put("you/other", {"README.md": b""})
    with pytest.raises(ArtefactError, match="you/other is no distilled set"):
        attar.load("hf:you/other")


def damaged(files: dict[str, bytes], **changes: bytes) -> dict[str, bytes]:
    return files | {name.replace("__", "/").replace("_png", "-0.png"): data for name, data in changes.items()}


def listing(files: dict[str, bytes], *more: str) -> dict[str, bytes]:
    record = json.loads(files["attar.json"])
    record["files"] |= dict.fromkeys(more, "0" * 64)
    return files | {"attar.json": json.dumps(record).encode()}


FAULTS = {
    "altered": (
        lambda files: damaged(files, images__bee__bee_png=b"x"),
        r"hf:you/photos@\w{12} is not as it was written",
    ),
    "missing": (lambda files: listing(files, "images/ant/more.png"), "lacks images/ant/more.png"),
    "outside": (lambda files: listing(files, "../../evil.png"), "names a file outside itself"),
    "absolute": (lambda files: listing(files, "/tmp/evil.png"), "names a file outside itself"),
    "no record": (lambda files: files | {"attar.json": b"{"}, "(?i)can't read hf:you/photos"),
    "a folder": (lambda files: listing(files, "images/ant"), "images/ant of you/photos is a folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_set_that_is_not_sound_never_appears(hub, made, fault, tmp_path):
    spoil, told = FAULTS[fault]
    hub.put(NAME, spoil(content(made.path)))
    with pytest.raises(ArtefactError, match=told) as refused:
        attar.load("hf:you/photos")
    assert str(tmp_path) not in str(refused.value) and "tmp" not in refused.value.message.replace("/tmp/evil", "")
    shutil.rmtree(made.path)
    hub.failures = {"/": (500, {})}
    with pytest.raises(ArtefactError, match="failed with status 500"):
        attar.load("hf:you/photos")


def test_large_sets_are_not_fetched_unasked(hub, made, monkeypatch):
    attar.push(made, NAME)
    monkeypatch.setattr("attar.distilled.hub._LARGEST", 500)
    with pytest.raises(ArtefactError, match=r"is a download of .* GB\.\nFetch it by huggingface_hub's"):
        attar.load("hf:you/photos")


def test_without_a_network_or_a_login_it_says_so(made, monkeypatch):
    with stub_hub() as gone:
        pass
    monkeypatch.setenv("HF_ENDPOINT", gone)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for use in (lambda: attar.push(made, NAME), lambda: attar.load("hf:you/photos")):
        with pytest.raises(
            ArtefactError, match=r"Can't reach the hub at http://127.0.0.1:\d+: Connect\w*Error\.\nCheck"
        ):
            use()
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(
        ArtefactError, match=r"You aren't logged in to the hub\.\nRun hf auth login \(older: huggingface-cli login\)"
    ):
        attar.push(made, NAME)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (OSError(28, "No space left on device"), "files of you/photos here: No space left on device"),
        (ConnectionResetError(104, "Connection reset by peer"), "Can't reach the hub"),
        (TimeoutError(110, "Connection timed out"), "Can't reach the hub"),
        (json.JSONDecodeError("a page to log in", "", 0), "Can't reach the hub"),
    ],
)
def test_what_fails_on_the_way_is_told(hub, made, monkeypatch, raised, told):
    attar.push(made, NAME)
    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", failing(raised))
    with pytest.raises(ArtefactError, match=told):
        attar.load("hf:you/photos")


def test_a_failed_upload_is_told_whatever_the_client_makes_of_it(hub, made, monkeypatch):
    """huggingface_hub raises RuntimeError from what failed."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    hub.as_large = (".png",)
    hub.failures = {"/large/": (403, {})}
    with pytest.raises(ArtefactError, match=r"(?i)your login may not change"):
        attar.push(made, NAME)


@pytest.mark.parametrize("raised", [ValueError("a mistake"), KeyError("id"), RuntimeError("out of memory")])
def test_a_mistake_of_ours_is_not_taken_for_the_networks(hub, made, monkeypatch, raised):
    attar.push(made, NAME)
    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", failing(raised))
    with pytest.raises(type(raised)) as passed:
        attar.load("hf:you/photos")
    assert passed.value is raised


def failing(error: Exception):
    def fail(*_, **__):
        raise error

    return fail


def test_the_hub_learns_nothing_of_this_machine(hub, made):
    from huggingface_hub import constants, utils

    before = constants.HF_HUB_DISABLE_TELEMETRY, utils.are_progress_bars_disabled()
    attar.push(made, NAME)
    attar.load("hf:you/photos")
    assert not any("torch/" in headers["user-agent"] or "agent/" in headers["user-agent"] for headers in hub.headers)
    assert (constants.HF_HUB_DISABLE_TELEMETRY, utils.are_progress_bars_disabled()) == before


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # datasets leaves the table open
def test_datasets_reads_what_lies_on_the_hub(hub, made, monkeypatch, tmp_path):
    """The hub's viewer shows what the library loads: images with label, title and weight."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()
    attar.push(made, NAME)
    rows = datasets.load_dataset(str(attar.load("hf:you/photos").path), split="train")
    assert {"image", "label", "title", "weight"} <= rows.features.keys()
    told = {np.asarray(row["image"]).tobytes(): (row["label"], row["title"], row["weight"]) for row in rows}
    assert told == {
        image.transpose(1, 2, 0).tobytes(): (label, made.titles[label], 1.0)
        for image, label in zip(made.images, made.labels.tolist(), strict=True)
    }
    del rows
    gc.collect()


@pytest.mark.parametrize(
    ("data", "backbone", "licence"),
    [
        ("MIT", "mit", "mit"),
        ("CC BY 4.0", "CC BY 4.0", "cc-by-4.0"),
        ("unknown", "Apache-2.0", "unknown"),
        ("unknown", "unknown", "unknown"),
        ("MIT", "CC-BY-NC-4.0", "other"),
        ("of my own", "of my own", "other"),
    ],
)
def test_the_card_files_the_set_under_a_licence_that_holds_for_all_of_it(tmp_path, data, backbone, licence):
    from huggingface_hub import DatasetCard

    origins = {
        "data": Origin(name="pets", fingerprint="d", licence=data),
        "backbones": [Origin(name="small", fingerprint="f", licence=backbone)],
    }
    card = DatasetCard.load(a_set(tmp_path / "made.attar", manifest=origins).path / "README.md")
    about = card.data.to_dict()
    assert about["license"] == licence and ("license_name" in about) == (licence == "other")
    assert about["size_categories"] == ["n<1K"] and about["task_categories"] == ["image-classification"]
    assert 'attar.load("hf:OWNER/NAME")' in card.text


@pytest.mark.parametrize("method", ["", "real", "k-means", "coreset", "my-photos", "Imported"])
def test_an_imported_set_of_an_unknown_method_may_be_photos(method):
    assert manifest(method=method, train_images=0).of_photos
    assert manifest(method="diver", train_images=0, settings={"refined": method}).of_photos
    assert not manifest(method="DC", train_images=0).of_photos
    assert not manifest(method="diver", train_images=0, settings={"refined": "sre2l"}).of_photos


@pytest.mark.parametrize("name", ["you/photos.", "you/photos-", "you-/x", "you/photos.git", "you/" + "x" * 100])
def test_names_that_the_hub_refuses_are_refused_here(hub, tmp_path, name):
    with pytest.raises(ArtefactError, match="is no name of a dataset on the hub"):
        attar.load(f"hf:{name}")
    assert hub.asked == []


def test_a_broken_address_or_token_is_one_sentence_without_the_token(tmp_path, monkeypatch):
    made = a_set(tmp_path / "x")
    monkeypatch.setenv("HF_ENDPOINT", "http://[::1")
    with pytest.raises(ArtefactError, match="HF_ENDPOINT is 'http://"):
        attar.push(made, NAME, token="hf_x")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ArtefactError) as refused:
        attar.push(made, NAME, token="hf_ü")
    assert "ü" not in str(refused.value) and refused.value.__cause__ is None

"""EDITS end to end on tiny models: what each stage leaves, what is redone, what is refused."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import torch

import attar
from attar.diffusion.edits.image_prototypes import open_coder
from attar.diffusion.edits.job import class_names
from attar.diffusion.edits.settings import choose_edits
from attar.errors import BackboneError, FileError, SettingsError
from attar.progress import Progress
from attar.tensors import read_tensors
from small import coloured, write_folder
from stub_llm import says, serving

CLASSES = ("church", "tench")


class Heard(Progress):
    """What was told."""

    def __init__(self):
        self.notes: list[str] = []
        self.made = 0

    def note(self, text):
        self.notes.append(text)

    def advance(self, task, done, total, figures=None):
        self.made += task == "images"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    write_folder(coloured(6, classes=CLASSES), folder)
    return attar.open(str(folder))


@pytest.fixture
def settings(sd, clip):
    def make(preset="attar", **flags):
        quick = {"captioner": "template", "ipc": 2, "steps": 3, "model": str(sd), "clip": str(clip)}
        return choose_edits(preset, **quick | flags)

    return make


@pytest.fixture(scope="module")
def finished(source, sd, clip, tmp_path_factory):
    """A finished run, to be copied."""
    out = tmp_path_factory.mktemp("done") / "out"
    chosen = choose_edits(captioner="template", ipc=2, steps=3, model=str(sd), clip=str(clip))
    attar.edits(source, out, settings=chosen)
    return out


def run_of(out):
    return out.with_name(f"{out.name}.run")


def prototypes(out, name="tench"):
    return json.loads((run_of(out) / "prototypes" / f"{name}.json").read_text())["prototypes"]


def test_a_folder_of_images_becomes_a_set_with_files_for_people_in_between(source, finished):
    made, run = attar.load(finished), run_of(finished)
    made.verify()
    assert made.manifest.method == "edits" and made.classes == CLASSES and len(made) == 4
    assert made.manifest.ipc == 2 and made.manifest.image_side == 16 and made.manifest.train_images == 12
    assert made.manifest.settings["fine_tuned"] == "unknown" and made.manifest.settings["model"].endswith("/tiny-sd")
    assert len(made.train_hashes) == 12 and not any(made.sources)
    captions = [json.loads(line) for line in (run / "captions.jsonl").read_text().splitlines()]
    assert captions[0] == {"file_name": source.name(0), "text": "a photo of a church"} and len(captions) == 12
    clusters = json.loads((run / "clusters" / "church.json").read_text())
    assert sorted(itertools.chain(*clusters["nearest"])) == sorted(clusters["images"]) and len(clusters["nearest"]) == 2
    for number, members in enumerate(clusters["nearest"]):
        told = [clusters["images"][name] for name in members]
        assert {each["cluster"] for each in told} == {number}
        assert [each["distance"] for each in told] == sorted(each["distance"] for each in told)
    first = prototypes(finished, "church")[0]
    assert first["text"] == "a photo of a church" and first["images"] == clusters["nearest"][0][:5]
    lines = [json.loads(line) for line in (run / "images.jsonl").read_text().splitlines()]
    assert {line["part"] for line in lines if "part" in line} == {
        f"{name}/0000{n}.png" for name in CLASSES for n in (0, 1)
    }


def test_a_second_run_does_nothing_and_a_deleted_image_is_made_alone(source, settings, out):
    before = attar.load(out).images
    heard = Heard()
    attar.edits(source, out, settings=settings(), progress=heard)
    assert heard.made == 0 and heard.notes == [f"{out} is finished; nothing to do."]
    lost = run_of(out) / "images" / "tench" / "00001.png"
    lost.unlink()
    made = attar.edits(source, out, settings=settings(), progress=heard)
    assert heard.made == 1 and lost.is_file() and np.array_equal(made.images, before)


def test_a_fresh_run_makes_the_same_images(source, settings, finished, tmp_path):
    chosen = settings()
    for stage in ("caption", "fuse", "prototypes"):
        assert attar.edits(source, tmp_path / "out", settings=chosen, stages=[stage]) is None
    made = attar.edits(source, tmp_path / "out", settings=chosen, stages=["generate"], batch=1)
    assert np.abs(made.images.astype(int) - attar.load(finished).images).max() <= 1  # a batch rounds otherwise


def test_a_text_that_a_person_edits_is_kept_and_used(source, settings, out):
    file = run_of(out) / "prototypes" / "tench.json"
    shutil.rmtree(out)
    shutil.rmtree(run_of(out) / "images")
    (run_of(out) / "images.jsonl").unlink()
    file.write_text(file.read_text().replace("a photo of a tench", "a tench in the net, at night"))
    heard = Heard()
    before = attar.edits(source, out, settings=settings(), progress=heard).images
    assert prototypes(out)[0]["text"] == "a tench in the net, at night"
    assert "a tench in the net, at night" in (run_of(out) / "images.jsonl").read_text()
    file.write_text(file.read_text().replace("a tench in the net, at night", "church! church! church!"))
    with pytest.raises(SettingsError, match=r"another input of tench/00000.png"):
        attar.edits(source, out, settings=settings())
    again = attar.edits(source, out, settings=settings(), stages=["generate"], restart=True)
    assert np.array_equal(again.images[:2], before[:2]) and not np.array_equal(again.images[2:], before[2:])


def test_other_settings_are_refused_and_restart_redoes_what_follows(source, settings, out):
    colder = settings(temperature=0.5, image_proto="medoid")
    with pytest.raises(SettingsError, match=r"fuse.jsonl is of other settings: temperature 0.01 -> 0.5"):
        attar.edits(source, out, settings=colder)
    captions = run_of(out) / "captions.jsonl"
    captions.write_text(captions.read_text())
    stamp = captions.stat().st_mtime_ns
    made = attar.edits(source, out, settings=colder, stages=["fuse", "prototypes", "generate"], restart=True)
    assert captions.stat().st_mtime_ns == stamp and made.manifest.settings["temperature"] == 0.5


def test_captions_that_change_are_another_input_of_the_clusters(source, settings, out):
    captions = run_of(out) / "captions.jsonl"
    captions.write_text(captions.read_text().replace("a photo of a tench", "a green tench"))
    with pytest.raises(SettingsError, match=r"fuse.jsonl is of another input of tench\.\nUse --restart"):
        attar.edits(source, out, settings=settings())


def test_a_set_of_other_settings_is_not_replaced_without_its_run(source, settings, out):
    shutil.rmtree(run_of(out))
    with pytest.raises(SettingsError, match=r"holds a set with other settings: guidance 10.0 -> 7.0"):
        attar.edits(source, out, settings=settings(guidance=7.0))


def test_captions_come_from_a_file_cleaned_for_prompts(source, settings, tmp_path):
    file = tmp_path / "mine.jsonl"
    names = [source.name(index) for index in range(12)]
    lines = [{"file_name": name, "text": ' A "red"  thing. ' + "x" * 80} for name in names]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:-1]))
    chosen, out, heard = settings(captioner="file"), tmp_path / "out", Heard()
    with pytest.raises(SettingsError) as caught:
        attar.edits(source, out, settings=chosen, captions=file)
    assert str(caught.value) == (
        f"1 of 12 images have no caption (first: {names[-1]}).\nCaption them, or use --caption-fallback template."
    )
    attar.edits(
        source, out, settings=settings(captioner="file", caption_fallback="template"), captions=file,
        stages=["caption"], progress=heard,
    )  # fmt: skip
    texts = [json.loads(line)["text"] for line in (run_of(out) / "captions.jsonl").read_text().splitlines()]
    assert texts[0] == "A photo of a church. A red thing." and texts[-1] == "a photo of a tench"
    assert "11 captions were shortened" in heard.notes[-1]


def test_captions_may_lie_in_the_run_already(source, settings, finished, tmp_path):
    own = tmp_path / "out.run" / "captions.jsonl"
    own.parent.mkdir()
    shutil.copy(run_of(finished) / "captions.jsonl", own)
    attar.edits(source, tmp_path / "out", settings=settings(captioner="file"), stages=["caption", "fuse"])
    kept = json.loads((run_of(tmp_path / "out") / "clusters" / "tench.json").read_text())
    assert kept == json.loads((run_of(finished) / "clusters" / "tench.json").read_text())
    own.unlink()
    with pytest.raises(FileError, match="Give --captions FILE"):
        attar.edits(source, tmp_path / "new", settings=settings(captioner="file"), stages=["fuse"])


@pytest.mark.parametrize("preset", ["d4m", "vlcp"])
def test_latents_are_clustered_and_their_centres_are_prototypes(source, settings, tmp_path, preset: str):
    chosen = settings(preset, captioner="none" if preset == "d4m" else "template")
    made = attar.edits(source, tmp_path / "out", settings=chosen)
    run = run_of(tmp_path / "out")
    assert made.manifest.method == preset and len(made) == 4
    texts = {"d4m": "church, church building", "vlcp": "a photo of a church"}
    assert prototypes(tmp_path / "out", "church")[0]["text"] == texts[preset]
    centres = read_tensors(run / "clusters" / "church.safetensors")[0]["centres"]
    latents = read_tensors(run / "prototypes" / "church.safetensors")[0]["latents"]
    np.testing.assert_allclose(latents.flatten(1), centres, atol=1e-3)  # half precision
    if preset == "vlcp":
        features = read_tensors(run / "features" / "church.safetensors")[0]["latents"].float().flatten(1)
        told = json.loads((run / "clusters" / "church.json").read_text())["images"]
        own = np.array([each["cluster"] == 0 for each in told.values()])
        np.testing.assert_allclose(features.numpy()[own].mean(0), centres[0], atol=1e-3)


CONTROLS = ["medoid", "vae", "decode", "text-only", "image-only"]


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_use_the_prototypes_of_another_run(source, settings, finished, tmp_path, control: str):
    chosen = settings(control=control)
    made = attar.edits(source, tmp_path / "c", settings=chosen, stages=["generate"], prototypes=finished)
    assert made.manifest.method == f"edits/{control}" and made.images.shape == (4, 3, 16, 16)
    assert made.of_photos == (control in ("medoid", "vae", "decode"))
    assert not (run_of(tmp_path / "c") / "prototypes").exists()
    nearest = prototypes(finished, "church")[0]["images"][0]
    index = [source.name(number) for number in range(12)].index(nearest)
    if control == "medoid":
        ((_, real),) = source.read([index])
        assert made.images[0].mean() == pytest.approx(real.mean(), abs=3)
        assert made.sources[0] == nearest
    elif control == "vae":
        coder = open_coder(chosen, torch.device("cpu"))
        ((_, real),) = source.read([index])
        assert np.array_equal(made.images[0], coder.decode(coder.encode([real]))[0])
    elif control == "decode":
        latents = read_tensors(run_of(finished) / "prototypes" / "church.safetensors")[0]["latents"].float()
        coder = open_coder(chosen, torch.device("cpu"))
        assert np.array_equal(made.images[:2], coder.decode(latents))
    else:
        assert not np.array_equal(made.images, attar.load(finished).images)
        texts = [
            json.loads(line).get("text") for line in (run_of(tmp_path / "c") / "images.jsonl").read_text().splitlines()
        ]
        assert ("" in texts) == (control == "image-only")


def test_prototypes_serve_several_images_each_but_not_a_fraction(source, settings, finished, tmp_path):
    made = attar.edits(source, tmp_path / "four", settings=settings(ipc=4), stages=["generate"], prototypes=finished)
    images = made.images[made.labels == 0]
    assert len(images) == 4 and len({each.tobytes() for each in images}) == 4
    assert np.abs(images[:2].astype(int) - attar.load(finished).images[:2]).max() <= 1
    with pytest.raises(SettingsError) as caught:
        attar.edits(source, tmp_path / "x", settings=settings(ipc=3), stages=["generate"], prototypes=finished)
    file = run_of(finished) / "prototypes" / "church.json"
    assert str(caught.value).splitlines()[0] == f'IPC 3 is not a multiple of the 2 prototypes per class in "{file}".'


def test_what_a_language_model_wrote_is_never_asked_twice(source, settings, tmp_path):
    with serving(says("A tench and a church, merged.")) as model:
        chosen = settings(text_proto="llm", llm_url=model.url, llm_model="tiny")
        attar.edits(source, tmp_path / "out", settings=chosen)
        asked = model.calls
        attar.edits(source, tmp_path / "out", settings=chosen)
        attar.edits(source, tmp_path / "out", settings=chosen, stages=["prototypes", "generate"], restart=True)
        assert model.calls == asked > 0
    assert prototypes(tmp_path / "out")[0]["text"] == "A tench and a church, merged."


def test_a_refused_text_is_the_nearest_caption_and_says_so(source, settings, tmp_path):
    heard = Heard()
    with serving(says(None, refusal="No.")) as model:
        chosen = settings(text_proto="llm", llm_url=model.url, llm_model="tiny")
        attar.edits(source, tmp_path / "x", settings=chosen, progress=heard)
    told = json.loads((tmp_path / "x.run" / "prototypes" / "tench.json").read_text())["prototypes"]
    assert [entry["writer"] for entry in told] == ["medoid", "medoid"]
    assert all(entry["fell_back"] and entry["text"].endswith("photo of a tench") for entry in told)
    assert any(note.startswith("4 texts are their nearest member's caption") for note in heard.notes)


def test_a_kill_costs_one_batch_of_images(source, settings, finished, tmp_path):
    class Killed(Heard):
        def advance(self, task, done, total, figures=None):
            super().advance(task, done, total)
            if self.made == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="The same command again continues"):
        attar.edits(source, tmp_path / "out", settings=settings(), batch=1, progress=Killed())
    assert not (tmp_path / "out").exists()
    heard = Heard()
    made = attar.edits(source, tmp_path / "out", settings=settings(), batch=1, progress=heard)
    assert heard.made == 2
    assert np.abs(made.images.astype(int) - attar.load(finished).images).max() <= 1


REFUSED = {
    "R1": ({"model": "nobody/sd"}, BackboneError, 'EDITS needs "nobody/sd" (diffusion model); it is not on this'),
    "R1 of CLIP": ({"clip": "nobody/clip"}, BackboneError, 'EDITS needs "nobody/clip" (CLIP); it is not on this'),
    "R4": ({"ipc": 7}, SettingsError, 'Class "church" has 6 usable images but IPC is 7; EDITS needs at least one'),
    "R7": (
        {"text_proto": "llm", "llm_url": "https://text.example", "llm_model": "m"},
        SettingsError,
        "Sending captions to text.example: pass --allow-remote-text",
    ),
    "no captions": ({"captioner": "file"}, FileError, "Give --captions FILE"),
    "texts": ({"text_proto": "file"}, SettingsError, "Texts by file lack their file"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_can_not_work_is_refused_before_the_work(source, settings, tmp_path, refused: str):
    flags, kind, sentence = REFUSED[refused]
    with pytest.raises(kind) as caught:
        attar.edits(source, tmp_path / "out", settings=settings(**flags))
    assert sentence in str(caught.value)
    assert not (tmp_path / "out").exists() and not (run_of(tmp_path / "out") / "clusters").exists()


def test_prototypes_of_other_images_or_badly_edited_are_refused(source, settings, out, tmp_path):
    write_folder(coloured(6, seed=1, classes=CLASSES), tmp_path / "others")
    for file in (tmp_path / "others").rglob("*.png"):
        file.rename(file.with_stem(f"other-{file.stem}"))
    others = attar.open(str(tmp_path / "others"))
    with pytest.raises(FileError, match="is of other images"):
        attar.edits(others, tmp_path / "c", settings=settings(), stages=["generate"], prototypes=out)
    file = run_of(out) / "prototypes" / "tench.json"
    file.write_text(file.read_text().replace('"text"', '"txet"'))
    with pytest.raises(FileError, match="does not fit its 2 latents"):
        attar.edits(source, out, settings=settings(), stages=["generate"])


def test_classes_are_called_by_their_title_and_imagenets_names():
    assert class_names("n01440764", "tench") == ("tench", "Tinca tinca")
    assert class_names("n01440764", "n01440764") == ("tench", "Tinca tinca")
    assert class_names("church", "church") == ("church", "church building")
    assert class_names("my_cat", "my_cat") == ("my cat",)
    assert class_names("class_7", "red rose") == ("red rose",)
    assert class_names("n02012849", "n02012849")[0] == "crane" == class_names("n03126707", "n03126707")[0]

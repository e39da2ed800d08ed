"""EDITS that is begun again, or of another run: what is kept, what is refused before it, and what the set records."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import attar
from attar.diffusion.edits import making
from attar.diffusion.edits.settings import choose_edits
from attar.errors import BackboneError, FileError, SettingsError
from small import coloured, write_folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    write_folder(coloured(5, classes=("church", "tench")), folder)
    return attar.open(str(folder))


@pytest.fixture
def settings(sd, clip):
    def make(**flags):
        quick = {"captioner": "template", "ipc": 2, "steps": 2, "model": str(sd), "clip": str(clip)}
        return choose_edits(**quick | flags)

    return make


@pytest.fixture(scope="module")
def finished(source, sd, clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "out"
    chosen = choose_edits(captioner="template", ipc=2, steps=2, model=str(sd), clip=str(clip))
    attar.edits(source, out, settings=chosen)
    return out


def files_of(out) -> dict[str, int]:
    run = out.with_name(f"{out.name}.run")
    return {file.relative_to(run).as_posix(): file.stat().st_mtime_ns for file in run.rglob("*.*") if file.is_file()}


def test_a_restart_begins_where_something_differs(source, settings, out):
    before = files_of(out)
    attar.edits(source, out, settings=settings(image_proto="medoid"), restart=True)
    after = files_of(out)
    changed = {name.partition("/")[0] for name in before if before[name] != after[name]}
    assert changed == {"prototypes", "images", "images.jsonl", "stages", "places.toml"}
    assert (
        after["captions.jsonl"] == before["captions.jsonl"]
        and after["stages/fuse.jsonl"] == before["stages/fuse.jsonl"]
    )
    attar.edits(source, out, settings=settings(image_proto="medoid"), restart=True)
    assert files_of(out)["stages/prototypes.jsonl"] == after["stages/prototypes.jsonl"]
    assert files_of(out)["images.jsonl"] != after["images.jsonl"]


REFUSED = {
    "model": ("generate", {"model": "nobody/sd"}, BackboneError),
    "captioner": ("caption", {"captioner": "blip"}, BackboneError),
    "clusters": ("generate", {"ipc": 3}, SettingsError),
    "text": ("prototypes", {"text_proto": "llm", "llm_url": "https://text.example", "llm_model": "m"}, SettingsError),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_refused_deletes_nothing(source, settings, out, refused: str):
    stage, flags, kind = REFUSED[refused]
    before = files_of(out).keys()
    with pytest.raises(kind):
        attar.edits(source, out, settings=settings(**flags), stages=[stage], restart=True)
    assert files_of(out).keys() == before


def test_captions_of_ones_own_outlive_a_restart_and_their_gaps_are_filled(source, settings, tmp_path):
    own = tmp_path / "out.run" / "captions.jsonl"
    own.parent.mkdir()
    names = [source.name(index) for index in range(len(source))]
    own.write_text("".join(json.dumps({"file_name": name, "text": "a red thing"}) + "\n" for name in names[1:]))
    before = own.read_text()
    with pytest.raises(SettingsError, match=r"1 of 10 images have no caption"):
        attar.edits(source, tmp_path / "out", settings=settings(captioner="file"))
    chosen = settings(captioner="file", caption_fallback="template", text_proto="medoid")
    attar.edits(source, tmp_path / "out", settings=chosen, stages=["caption", "fuse"], restart=True)
    attar.edits(source, tmp_path / "out", settings=chosen, stages=["caption"], restart=True)
    assert own.read_text() == before


def test_captions_of_a_killed_run_make_way_for_those_of_another_file(source, settings, tmp_path):
    own = tmp_path / "out.run" / "captions.jsonl"
    own.parent.mkdir()
    own.write_text(json.dumps({"file_name": source.name(0), "text": "an old church"}) + "\n")
    given = tmp_path / "given.jsonl"
    names = [source.name(index) for index in range(len(source))]
    given.write_text(
        "".join(json.dumps({"file_name": name, "text": "a new church, a new tench"}) + "\n" for name in names)
    )
    attar.edits(source, tmp_path / "out", settings=settings(captioner="file"), stages=["caption"], captions=given)
    assert "old" not in own.read_text() and own.read_text().count("new church") == 10


def test_the_set_tells_what_its_prototypes_were_made_with(source, settings, finished, tmp_path):
    with pytest.raises(SettingsError, match=r"fuse.jsonl is of other settings: temperature 0.01 -> 0.5"):
        attar.edits(
            source, tmp_path / "c", settings=settings(temperature=0.5), stages=["generate"], prototypes=finished
        )
    chosen = settings(seed=7, ipc=4, control="decode")
    made = attar.edits(source, tmp_path / "c", settings=chosen, stages=["generate"], prototypes=finished)
    told = made.manifest.settings
    assert (told["seed"], told["fuse_seed"], told["fuse_prototypes"], told["precision"]) == (7, 42, 2, "float32")
    assert len(told["fuse_clip_fingerprint"]) == len(told["prototypes_vae_fingerprint"]) == 64


def test_images_go_on_in_the_precision_they_were_begun_in(source, settings, out):
    with pytest.raises(SettingsError, match=r"precision 'float32' -> 'bfloat16'"):
        attar.edits(source, out, settings=settings(), precision="bf16")


def test_sampled_latents_are_made_again_for_another_seed(source, settings, tmp_path):
    stamps = []
    for flags in ({"seed": 1}, {"seed": 1, "outliers": 0.1}, {"seed": 2}, {"seed": 2, "vae_sample": False}):
        chosen = settings(**{"fuse": "vae", "vae_sample": True} | flags)
        attar.edits(source, tmp_path / "out", settings=chosen, stages=["caption", "fuse"], restart=True)
        stamps.append(files_of(tmp_path / "out")["features/tench.safetensors"])
    assert stamps[0] == stamps[1] and len(set(stamps)) == 3


def test_an_image_that_does_not_fit_is_one_sentence(source, settings, finished, tmp_path, monkeypatch):
    sizes = []

    def full(job, record):
        def make(batch):
            sizes.append(len(batch))
            raise torch.OutOfMemoryError("no room")

        return make, lambda text: 1

    monkeypatch.setattr(making, "_maker", full)
    with pytest.raises(SettingsError, match="doesn't fit into the memory of cpu"):
        attar.edits(source, tmp_path / "c", settings=settings(), stages=["generate"], prototypes=finished, batch=3)
    assert sizes == [3, 1]


def test_prototypes_without_latents_or_of_unlike_number_are_refused(source, settings, out):
    folder = out.with_name("out.run") / "prototypes"
    shutil.copy(folder / "tench.json", folder / "kept")
    told = json.loads((folder / "tench.json").read_text())
    latents = (folder / "tench.safetensors").read_bytes()
    (folder / "tench.safetensors").unlink()
    with pytest.raises(FileError, match=r"tench.safetensors is not there"):
        attar.edits(source, out, settings=settings(), stages=["generate"])
    (folder / "tench.safetensors").write_bytes(latents)
    from attar.tensors import read_tensors, write_tensors

    one = read_tensors(folder / "tench.safetensors")[0]["latents"][:1]
    write_tensors(folder / "tench.safetensors", {"latents": one})
    (folder / "tench.json").write_text(json.dumps(told | {"prototypes": told["prototypes"][:1]}))
    with pytest.raises(SettingsError, match=r"tench.json has 1 prototypes, and the classes before it have 2"):
        attar.edits(source, out, settings=settings(), stages=["generate"])


WRONG = {
    "batch": ({}, {"batch": 0}, SettingsError, "A batch of 0 images is too small"),
    "stages": ({}, {"prototypes": "x"}, SettingsError, "for the stage generate alone"),
    "precision": ({}, {"precision": "fp8"}, SettingsError, "There is no precision 'fp8'"),
    "offload": ({}, {"offload": "model"}, SettingsError, "No accelerator found"),
    "late captions": ({"fuse": "vae", "captioner": "file"}, {}, FileError, "Give --captions FILE"),
    "centre": ({"fuse": "vae", "image_proto": "centre"}, {"stages": ["prototypes"]}, SettingsError, "fuse 'query' -> "),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_can_not_work_is_refused_at_once(source, settings, finished, tmp_path, wrong: str):
    flags, options, kind, sentence = WRONG[wrong]
    if wrong == "centre":
        shutil.copytree(f"{finished}.run", tmp_path / "x.run")
    with pytest.raises(kind) as caught:
        attar.edits(source, tmp_path / "x", settings=settings(**flags), device="cpu", **options)
    assert sentence in str(caught.value)
    assert wrong == "centre" or not (tmp_path / "x.run" / "captions.jsonl").exists()


def test_a_folder_that_is_no_pipeline_is_not_called_absent(source, settings, clip, tmp_path):
    with pytest.raises(BackboneError, match="is no StableDiffusionPipeline, which EDITS needs"):
        attar.edits(source, tmp_path / "x", settings=settings(model=str(clip)))


def test_prototypes_of_another_run_need_no_clip(source, settings, finished, tmp_path):
    chosen = settings(control="decode", clip="nobody/clip")
    with pytest.raises(SettingsError, match="clip"):  # not the same, but nothing that must be here
        attar.edits(source, tmp_path / "x", settings=chosen, stages=["generate"], prototypes=finished)

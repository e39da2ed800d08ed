"""Loading from folders and caches, what is refused, silence, fingerprints, and where weights lie."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

import tiny_diffusion
from attar.diffusion import stock
from attar.diffusion.placement import choose_offload
from attar.errors import BackboneError, SettingsError

CPU = torch.device("cpu")


def absent(name: str) -> BackboneError:
    return BackboneError(f"{name} is elsewhere")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A DiT pipeline's folder."""
    with stock.quiet():
        folder = tmp_path_factory.mktemp("models") / "dit"
        tiny_diffusion.dit_pipeline({0: "cat", 1: "dog, hound"}).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it, to be spoiled."""
    return shutil.copytree(saved, tmp_path / "dit")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The cache of the hub's client, empty: put(name, folder) lays a model into it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, folder):
        place = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("c0ffee" * 6 + "c0ff")
        return shutil.copytree(folder, place / "snapshots" / ("c0ffee" * 6 + "c0ff"))

    return put


def dit(name, **options):
    kind = stock.library("diffusers", "a test").DiTPipeline
    return stock.load(kind, str(name), absent=absent, **options)


def test_a_folder_and_the_hubs_cache_give_the_same_model(saved, hub):
    snapshot = hub("owner/model", saved)
    assert stock.folder_of("owner/model") == snapshot and stock.folder_of(str(saved)) == saved
    states = [dit(name).transformer.state_dict() for name in (saved, "owner/model")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", ["owner/absent", "/no/such/folder", "no name of the hub's"])
def test_what_is_not_here_is_said_by_who_asks(hub, name: str):
    assert stock.folder_of(name) is None
    for ask in (dit, lambda name: stock.pipeline_index(name, absent=absent)):
        with pytest.raises(BackboneError, match="is elsewhere"):
            ask(name)


def test_a_tokenizer_that_is_not_here_is_not_made_up(hub):
    kind = stock.library("transformers", "a test").CLIPTokenizer
    with pytest.raises(BackboneError, match="owner/absent is elsewhere"):
        stock.load(kind, "owner/absent", absent=absent)


def test_half_a_model_in_the_cache_is_not_here(saved, hub):
    shutil.rmtree(hub("owner/model", saved) / "transformer")
    with pytest.raises(BackboneError, match="owner/model is elsewhere"):
        dit("owner/model")


class Asked:
    """A kind of model that the hub has; notes how it was asked for."""

    dtype = None
    calls: list[tuple[str, dict]] = []  # noqa: RUF012

    @classmethod
    def from_pretrained(cls, name: str, **options):
        cls.calls.append((name, options))
        if name == "owner/broken":
            raise RuntimeError("no network.\nlong story")
        return "a model"


def test_the_hub_is_asked_only_where_that_is_allowed(hub):
    Asked.calls.clear()
    with pytest.raises(BackboneError, match="elsewhere"):
        stock.load(Asked, "owner/model", absent=absent)
    assert Asked.calls == []
    assert stock.load(Asked, "owner/model", absent=absent, allow_download=True) == "a model"
    assert Asked.calls == [("owner/model", {})]
    with pytest.raises(BackboneError, match=r"Can't fetch 'owner/broken': no network\.\nCheck the name"):
        stock.load(Asked, "owner/broken", absent=absent, allow_download=True)


def test_older_models_keep_their_weights_in_bin_files(folder):
    wanted = dit(folder).transformer.state_dict()
    before = stock.fingerprint(folder)
    for part in ("transformer", "vae"):
        file = folder / part / "diffusion_pytorch_model.safetensors"
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()
    found = dit(folder).transformer.state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    weights = folder / "transformer" / "diffusion_pytorch_model.bin"
    old = stock.fingerprint(folder)
    torch.save({name: value + 1 for name, value in found.items()}, weights)
    assert before != old != stock.fingerprint(folder)


class _Bomb:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


def test_code_in_bin_files_is_never_run(folder, tmp_path):
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(file) | {"bomb": _Bomb(tmp_path / "ran")}, file.with_suffix(".bin"))
    file.unlink()
    with pytest.raises(BackboneError, match="Can't load"):
        dit(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", [["mine", "Transformer"], ["diffusers"], ["diffusers", "A", "B"]])
def test_code_of_the_models_own_is_never_run(folder, part: list[str]):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"transformer": part}))
    with pytest.raises(BackboneError, match="names code of its own for 'transformer', which is never run"):
        dit(folder)


@pytest.mark.parametrize("place", ["transformer/diffusers.py", "pipeline.py", "a/b/code.PY"])
def test_a_folder_with_python_is_refused_however_honest_its_index(folder, place: str):
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_text("raise SystemExit('ran')")
    with pytest.raises(BackboneError, match=rf"{place} is code of the model's own, which is never run\.\nUse a model"):
        dit(folder)


def test_python_behind_a_link_is_refused_too(folder, tmp_path):
    (folder / "transformer").rename(tmp_path / "elsewhere")
    (folder / "transformer").symlink_to(tmp_path / "elsewhere")
    assert dit(folder)
    (tmp_path / "elsewhere" / "diffusers.py").write_text("raise SystemExit('ran')")
    with pytest.raises(BackboneError, match=r"transformer/diffusers\.py is code of the model's own"):
        dit(folder)


def test_a_list_that_is_no_part_is_not_taken_for_code(folder):
    index = json.loads((folder / "model_index.json").read_text())
    lists = {"id2label": ["cat", "dog"], "_diffusers_names": ["a", "b"], "sizes": [1, 2, 3]}
    (folder / "model_index.json").write_text(json.dumps(index | lists))
    assert dit(folder, id2label={})


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("model_index.json", b"{", "Can't read"),
        ("model_index.json", b"[]", "is no JSON object"),
        ("vae/config.json", b"{", "Can't load"),
        ("vae/diffusion_pytorch_model.safetensors", b"\x08", "Can't load"),
    ],
)
def test_damaged_files_are_one_sentence(folder, file: str, content: bytes, sentence: str):
    (folder / file).write_bytes(content)
    with pytest.raises(BackboneError, match=sentence):
        dit(folder)


def test_a_folder_without_an_index_is_no_pipeline(folder):
    (folder / "model_index.json").unlink()
    with pytest.raises(BackboneError, match=r"is no pipeline of diffusers: it has no model_index\.json"):
        stock.pipeline_index(str(folder), absent=absent)


def test_nothing_is_written_and_bars_are_as_before(saved, capfd):
    switches = [stock.library(f"{name}.utils.logging", "a test") for name in ("diffusers", "transformers")]
    for switch in switches:
        switch.enable_progress_bar()
    with stock.quiet():
        warnings.warn("loud", stacklevel=1)
        logging.getLogger("diffusers").error("loud")
        assert not any(switch.is_progress_bar_enabled() for switch in switches)
        assert huggingface_hub.utils.are_progress_bars_disabled()
    dit(saved)
    assert capfd.readouterr() == ("", "")
    assert all(switch.is_progress_bar_enabled() for switch in switches) and logging.root.manager.disable == 0
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_a_fingerprint_follows_the_content_and_not_the_place(saved, folder, monkeypatch):
    first = stock.fingerprint(saved / "vae", saved / "transformer")
    assert first == stock.fingerprint(folder / "vae", folder / "transformer") != stock.fingerprint(folder / "vae")
    hashed = []
    monkeypatch.setattr(stock, "sha256", lambda file: hashed.append(file.suffix) or "0")
    assert stock.fingerprint(saved / "vae") and set(hashed) == {".json"}  # weights of gigabytes aren't read again
    monkeypatch.undo()
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert stock.fingerprint(folder / "vae", folder / "transformer") != first


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}'])
def test_damaged_memories_of_hashes_are_passed_over(saved, tmp_path, monkeypatch, text: str):
    first = stock.fingerprint(saved / "vae")
    monkeypatch.setenv("ATTAR_CACHE", str(tmp_path))
    (tmp_path / "weights.json").write_text(text)
    assert stock.fingerprint(saved / "vae") == first


def test_without_the_extra_one_sentence_names_the_command():
    code = """
import sys
sys.modules.update(dict.fromkeys(["diffusers", "transformers", "accelerate", "openai"]))
import attar.diffusion.labels, attar.diffusion.latent
from attar.diffusion.models import open_diffusion
try:
    open_diffusion("owner/model")
except attar.AttarError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = "DIVER needs the package diffusers, which isn't installed.\nInstall it: pip install 'attar[diffusion]'.\n"
    assert done.stdout == told and done.stderr == ""


MB = 10**6
DIT, SD = [1500 * MB, 167 * MB], [1720 * MB, 250 * MB, 167 * MB]  # in float16, diver.md 7 and edits.md 10


@pytest.mark.parametrize(
    ("weights", "side", "budget", "offload"),
    [
        (DIT, 256, 8000 * MB, "none"),
        (DIT, 256, 3000 * MB, "none"),
        (DIT, 256, 2900 * MB, "model"),
        (DIT, 256, 1500 * MB, "sequential"),
        (SD, 512, 16000 * MB, "none"),
        (SD, 512, 4000 * MB, "model"),
        (SD, 512, 2100 * MB, "model"),
        (SD, 512, 1900 * MB, "sequential"),
    ],
)
def test_the_plan_keeps_within_the_memory_there_is(weights, side: int, budget: int, offload: str):
    assert choose_offload(weights, side, budget) == offload


def test_on_a_cpu_all_stays_there(saved):
    pipeline = dit(saved)
    assert stock.place(pipeline, CPU, memory=None, offload="auto") == "0.00 GB of weights, resident on cpu"
    assert pipeline.vae.use_slicing
    for offload in ("model", "sequential"):
        with pytest.raises(SettingsError) as refused:
            stock.place(pipeline, CPU, memory=None, offload=offload)
        told = "No accelerator found: offloading is only for GPUs.\nRun without --offload (slow) or on a GPU."
        assert str(refused.value) == told


def test_impossible_wishes_are_one_sentence(saved):
    pipeline = dit(saved)
    with pytest.raises(SettingsError, match=r"The weights alone take 0\.00 GB, more than the 0\.00 GB permitted"):
        stock.place(pipeline, CPU, memory=10**5, offload="auto")
    with pytest.raises(SettingsError, match="There is no offloading 'some'"):
        stock.place(pipeline, CPU, memory=None, offload="some")


@pytest.mark.parametrize(
    ("memory", "offload", "call"),
    [
        (None, "auto", "to"),
        (400 * MB, "auto", "enable_model_cpu_offload"),
        (200 * MB, "auto", "enable_sequential_cpu_offload"),
        (None, "model", "enable_model_cpu_offload"),
        (None, "sequential", "enable_sequential_cpu_offload"),
        (200 * MB, "none", "to"),
    ],
)
def test_on_a_gpu_the_permitted_memory_decides(saved, monkeypatch, memory, offload: str, call: str):
    calls = []
    there = dit(saved)
    pipeline = SimpleNamespace(components=there.components, vae=there.vae, set_progress_bar_config=lambda disable: None)
    for name in ("to", "enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        setattr(pipeline, name, lambda *device, name=name, **named: calls.append(name))
    monkeypatch.setattr("attar.diffusion.placement.free_bytes", lambda device: 8000 * MB)
    monkeypatch.setattr("attar.diffusion.placement.side_of", lambda pipeline: 256)
    words = stock.place(pipeline, torch.device("cuda"), memory=memory, offload=offload)
    assert calls == [call] and words.startswith("0.00 GB of weights, ") and words.endswith(" on cuda")

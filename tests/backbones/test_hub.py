"""Networks of open_clip and of the hub's repositories, from files laid out as theirs."""

from __future__ import annotations

import json
import logging
import math
import pickle
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from timm.models import save_for_hf

from attar.backbones import backbone
from attar.errors import BackboneError

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 128, "head_width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 7, "vocab_size": 11, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture
def open_clip(tmp_path: Path):
    """The library, with a network `tiny-32` whose weights `seen` were trained with QuickGELU on pixels of its own."""
    library = pytest.importorskip("open_clip")
    from open_clip import factory, pretrained

    (tmp_path / "tiny-32.json").write_text(json.dumps(TINY))
    library.add_model_config(tmp_path)
    pretrained._PRETRAINED["tiny-32"] = {
        "seen": {"hf_hub": "nobody/nothing/", "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "quick_gelu": True}
    }
    yield library
    factory._MODEL_CONFIG_PATHS.remove(tmp_path)
    del factory._MODEL_CONFIGS["tiny-32"], pretrained._PRETRAINED["tiny-32"]


@pytest.fixture
def checkpoint(open_clip) -> dict[str, torch.Tensor]:
    """Image and text towers, as open_clip trains and saves them."""
    torch.manual_seed(5)
    return open_clip.create_model("tiny-32", force_quick_gelu=True).state_dict()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_open_clip_gives_the_projected_embedding_of_its_image_tower(open_clip, checkpoint, tmp_path, prefix):
    torch.save({"state_dict": {prefix + key: value for key, value in checkpoint.items()}}, tmp_path / "clip.pt")
    made = backbone("openclip:tiny-32/seen", weights=tmp_path / "clip.pt")
    assert (made.dim, made.image_size, made.feature, made.licence) == (24, 32, "projected", "unknown")
    assert (made.mean, made.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    whole = open_clip.create_model("tiny-32", force_quick_gelu=True).eval()
    whole.load_state_dict(checkpoint)
    images = torch.rand(3, 3, 32, 32)
    pixels = (images - torch.tensor(made.mean).view(3, 1, 1)) / torch.tensor(made.std).view(3, 1, 1)
    torch.testing.assert_close(made(images), whole.encode_image(pixels))
    assert (made(images).norm(dim=1) - 1).abs().min() > 0.01


def test_a_file_of_the_image_tower_alone_serves_too(checkpoint, tmp_path):
    safetensors.torch.save_file(checkpoint, tmp_path / "whole.safetensors")
    alone = {key.removeprefix("visual."): value for key, value in checkpoint.items() if key.startswith("visual.")}
    safetensors.torch.save_file(alone, tmp_path / "alone.safetensors")
    whole = backbone("openclip:tiny-32", weights=tmp_path / "whole.safetensors")
    assert backbone("openclip:tiny-32", weights=tmp_path / "alone.safetensors").fingerprint == whole.fingerprint


def test_the_weights_decide_the_activation(open_clip):
    trained, plain = (backbone(f"openclip:tiny-32{tag}", weights="random") for tag in ("/seen", ""))
    assert "QuickGELU" in repr(trained.module) and "QuickGELU" not in repr(plain.module)
    assert plain.mean == open_clip.OPENAI_DATASET_MEAN


def test_timm_computes_clip_as_open_clip_does(open_clip, checkpoint, tmp_path):
    """The catalogue's CLIP is timm's: the same weights must give the same features in both libraries."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    size = {"embed_dim": 128, "depth": 2, "num_heads": 2, "num_classes": 24, "img_size": 32}
    theirs = timm.create_model("vit_base_patch16_clip_quickgelu_224", **size)
    torch.save(checkpoint_filter_fn(dict(checkpoint), theirs), tmp_path / "timm.pth")
    torch.save(checkpoint, tmp_path / "clip.pth")
    settings = {"weights": tmp_path / "timm.pth", "image_size": 32, "model_args": size, "feature": "projected"}
    one = backbone("timm:vit_base_patch16_clip_quickgelu_224.openai", **settings)
    other = backbone("openclip:tiny-32/seen", weights=tmp_path / "clip.pth", mean=one.mean, std=one.std)
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(one(images), other(images))


def test_another_size_fits_open_clip_without_weights_and_is_refused_with_those_of_a_file(checkpoint, tmp_path):
    assert backbone("openclip:tiny-32", weights="random", image_size=64).module.positional_embedding.shape == (17, 128)
    torch.save(checkpoint, tmp_path / "clip.pth")
    with pytest.raises(BackboneError, match=r"positional_embedding is \(5, 128\) instead of \(17, 128\)"):
        backbone("openclip:tiny-32", weights=tmp_path / "clip.pth", image_size=64)


def test_building_for_a_file_logs_nothing_about_random_weights(open_clip, caplog):
    backbone("openclip:tiny-32", weights="random")
    assert caplog.text == ""
    logging.getLogger().warning("still heard")
    assert "still heard" in caplog.text


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("openclip:tiny-23", {}, r"open_clip has no network 'tiny-23'\.\nDid you mean .*tiny-32"),
        ("openclip:tiny-32/sean", {}, r"open_clip has no weights 'sean' of 'tiny-32'\.\nDid you mean tiny-32/seen"),
        ("openclip:tiny-32", {}, r"'openclip:tiny-32' names no weights\.\nDid you mean tiny-32/seen"),
        ("openclip:tiny-32/seen", {"feature": "pooled"}, "gives projected features, not pooled ones"),
        ("openclip:tiny-32", {"weights": "random", "model_args": {"wide": 3}}, "can't be built with these arguments"),
    ],
)
def test_what_open_clip_lacks_is_one_sentence(open_clip, name, settings, told):
    with pytest.raises(BackboneError, match=told):
        backbone(name, **settings)


def test_without_open_clip_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(BackboneError, match=r"'openclip:ViT-B-16/openai' needs open_clip") as caught:
        backbone("openclip:ViT-B-16/openai", weights="random")
    assert "pip install attar[clip]" in caught.value.hint


def vit(**arguments) -> torch.nn.Module:
    """A small transformer that timm made, with a head of three classes."""
    torch.manual_seed(3)
    size = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 32, "num_classes": 3, **arguments}
    return timm.create_model("vit_tiny_patch16_224", **size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository of the hub, on the disk."""
    place = tmp_path / "repository"
    pixels = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "license": "mit"}
    save_for_hf(vit(), str(place), model_config={"pretrained_cfg": pixels}, data_config=pixels, safe_serialization=True)
    return place


def test_a_folder_laid_out_as_on_the_hub_is_a_backbone(folder):
    made = backbone(f"hf:{folder}")
    assert (made.dim, made.image_size, made.licence) == (48, 32, "mit")
    assert (made.mean, made.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    images = torch.rand(2, 3, 32, 32)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    torch.testing.assert_close(made(images), theirs(made._normalised(images)))
    assert backbone(f"hf:{folder}", feature="projected").dim == 3
    assert backbone(f"hf:{folder}", weights="random").fingerprint != made.fingerprint
    assert backbone(f"hf:{folder}", image_size=64).module.pos_embed.shape == (1, 17, 48)


def test_a_repository_is_fetched_file_by_file(folder, monkeypatch):
    from huggingface_hub.utils import EntryNotFoundError

    asked = []

    def download(repository, name, revision=None):
        asked.append((repository, name, revision))
        if not (folder / name).is_file():
            raise EntryNotFoundError(name)
        return str(folder / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    made = backbone("hf:owner/some-vit@v1.0")
    assert asked == [("owner/some-vit", name, "v1.0") for name in ("config.json", "model.safetensors")]
    assert made.licence == "mit"
    torch.save(safetensors.torch.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(backbone("hf:owner/some-vit").module.pos_embed, made.module.pos_embed)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(BackboneError, match=r"'owner/some-vit' holds no model\.safetensors or pytorch_model\.bin"):
        backbone("hf:owner/some-vit")


def sines(grid: int, dim: int) -> torch.Tensor:
    """MoCo v3's positions (vits.py of facebookresearch/moco-v3), element by element; those of the class token are 0."""
    rows = [[0.0] * dim]
    for x in range(grid):
        for y in range(grid):
            angles = [[at / 10000 ** (k / (dim // 4)) for k in range(dim // 4)] for at in (x, y)]
            rows.append([f(a) for of_axis in angles for f in (math.sin, math.cos) for a in of_axis])
    return torch.tensor(rows)[None]


def test_weights_alone_load_into_the_network_that_the_name_adds(tmp_path):
    """As for MoCo v3: no `config.json` of timm's, positions that are sines, and a head that isn't wanted."""
    whole = timm.create_model("vit_tiny_patch16_224")
    state = {**whole.state_dict(), "pos_embed": sines(14, 192)}
    (tmp_path / "config.json").write_text(json.dumps({"embed_dim": 192}))
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    made = backbone(f"hf:{tmp_path}:vit_tiny_patch16_224")
    assert torch.equal(made.module.pos_embed, state["pos_embed"])
    assert (made.dim, made.image_size, made.mean[0], made.licence) == (192, 224, 0.485, "unknown")
    with pytest.raises(
        BackboneError, match=r"isn't as timm writes it: KeyError: 'architecture'\.\n.*:vit_base_patch16"
    ):
        backbone(f"hf:{tmp_path}")
    del state["blocks.1.mlp.fc1.bias"]
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match=r"missing: blocks\.1\.mlp\.fc1\.bias"):
        backbone(f"hf:{tmp_path}:vit_tiny_patch16_224")


class Touch:
    """A pickle that would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_repository_runs_no_code(folder, tmp_path):
    trace = tmp_path / "trace"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(trace), protocol=2))
    with pytest.raises(BackboneError, match="would execute code"):
        backbone(f"hf:{folder}")
    content = json.loads((folder / "config.json").read_text())
    content["model_args"]["checkpoint_path"] = str(folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(BackboneError, match=r"can't be built with these arguments: .*checkpoint_path"):
        backbone(f"hf:{folder}", weights="random")
    assert not trace.exists()


def test_a_config_can_not_ask_for_a_download(folder):
    content = json.loads((folder / "config.json").read_text())
    content["model_args"]["pretrained"] = True
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(BackboneError, match=r"can't be built with these arguments: .*pretrained"):
        backbone(f"hf:{folder}")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"architecture": "resnet_of_mine"}', '{"architecture": 3}'])
def test_a_config_that_is_not_timms_is_one_sentence(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(BackboneError, match=r"isn't as timm writes it: \w+Error: .*\nName the network: hf:"):
        backbone(f"hf:{folder}", weights="random")


@pytest.mark.parametrize("name", ["hf:", "hf:nowhere", "hf:./nowhere/at/all", "hf:owner/"])
def test_neither_a_folder_nor_a_repository(name):
    with pytest.raises(BackboneError, match=r"names neither a folder nor a repository\.\nWrite hf:OWNER/NAME"):
        backbone(name)


def test_an_empty_folder_says_what_it_lacks(tmp_path):
    with pytest.raises(BackboneError, match=r"holds no config\.json"):
        backbone(f"hf:{tmp_path}")

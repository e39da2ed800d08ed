"""What the catalogue says is so: of every network without weights, of the small ones with random weights."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor

from attar.backbones import Entry, backbone, list_backbones
from attar.backbones.catalogue import ENTRIES
from attar.backbones.networks import MAKERS, Network, Order
from attar.errors import BackboneError

SMALL = ["dinov2_vits14", "dino_vits16", "eva02_vitt14", "eva02_vits14", "cifar_resnet20", "taef2_encoder"]
of_each = pytest.mark.parametrize("entry", list_backbones(), ids=lambda entry: entry.name)


def build(entry: Entry) -> Network:
    """The network of `entry` with weights that are shapes only."""
    prefix, _, target = entry.loader.partition(":")
    with torch.device("meta"):
        return MAKERS[prefix](Order(target, entry.image_size, False, entry.feature, {}))


@of_each
def test_an_entry_gives_as_many_features_as_it_says(entry):
    module = build(entry).module.eval()
    features = module(torch.empty(2, 3, entry.image_size, entry.image_size, device="meta"))
    assert features.shape == (2, entry.dim)


@of_each
def test_an_entry_is_complete(entry):
    assert entry.licence in {"Apache-2.0", "BSD-2-Clause", "CC-BY-NC-4.0", "MIT"}
    assert entry.source.startswith("https://")
    assert entry.feature in {"pooled", "projected"}
    assert entry.name == entry.name.lower() and not timm.is_model(entry.name)


@pytest.mark.parametrize(
    "entry", [each for each in list_backbones() if each.loader[:3] != "py:"], ids=lambda entry: entry.name
)
def test_pixels_are_prepared_as_the_loader_knows_it(entry):
    network = build(entry)
    assert (entry.mean, entry.std) == (network.mean, network.std)
    assert entry.image_size == (224 if "dinov2" in entry.name else network.image_size)


def test_the_weights_of_each_entry_of_timm_are_published_for_the_layer_it_ends_with():
    for entry in list_backbones():
        if entry.loader.startswith("timm:"):
            published = timm.get_pretrained_cfg(entry.loader.removeprefix("timm:"))
            assert published.hf_hub_id
            assert published.num_classes == (entry.dim if entry.feature == "projected" else 0)
            assert published.license in {entry.licence.lower(), "apache-2.0"}  # which timm says of CLIP too


@pytest.mark.parametrize("name", SMALL)
def test_small_ones_carry_a_gradient_to_the_images_and_stay_as_they_are(name):
    entry = ENTRIES[name]
    made = backbone(name, weights="random")
    told = (made.name, made.dim, made.image_size, made.mean, made.std, made.feature)
    assert told == (name, entry.dim, entry.image_size, entry.mean, entry.std, entry.feature)
    before = {key: value.clone() for key, value in made.module.state_dict().items()}
    images = torch.rand(2, 3, entry.image_size, entry.image_size, requires_grad=True)
    made(images).square().sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in made.module.parameters())
    assert all(torch.equal(before[key], value) for key, value in made.module.state_dict().items())


def test_a_licence_is_told_of_the_weights_it_covers(tmp_path):
    """A file may hold anything, except where the catalogue's weights only come as one."""
    for name, licence in (("eva02_vitt14", "unknown"), ("cifar_resnet20", ENTRIES["cifar_resnet20"].licence)):
        torch.save(backbone(name, weights="random").module.state_dict(), tmp_path / "mine.pth")
        assert backbone(name, weights=tmp_path / "mine.pth").licence == licence
    assert backbone("eva02_vitt14", weights="random").licence == "unknown"


def tokens(name: str) -> tuple[Tensor, torch.nn.Module, Tensor]:
    """Features of two images, the module, and what leaves its last layer for each token."""
    made = backbone(name, weights="random")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return made(images), made.module, made.module.forward_features(made._normalised(images))


@pytest.mark.parametrize("name", ["dinov2_vits14", "dino_vits16"])
def test_the_feature_of_dino_is_the_normed_class_token(name):
    features, module, states = tokens(name)
    torch.testing.assert_close(features, states[:, 0])
    assert isinstance(module.norm, torch.nn.LayerNorm)
    torch.testing.assert_close(states.mean(-1), torch.zeros(states.shape[:2]), rtol=0, atol=1e-4)


def test_the_feature_of_eva02_is_the_mean_of_the_patches_normed_afterwards():
    features, module, states = tokens("eva02_vitt14")
    mean = states[:, 1:].mean(1)
    torch.testing.assert_close(features, torch.nn.functional.layer_norm(mean, (192,), eps=module.fc_norm.eps))
    assert (states.std(-1) - 1).abs().max() > 0.01  # the tokens themselves aren't normed


@pytest.mark.parametrize(("width", "name"), [(768, "mocov3_vitb16"), (1024, "mocov3_vitl16")])
def test_mocov3_is_the_plain_transformer_of_its_authors(width, name):
    module = build(ENTRIES[name]).module
    assert module.pos_embed.shape == (1, 197, width)
    assert module.global_pool == "token"
    assert module.blocks[0].attn.num_heads == width // 64
    assert module.norm.eps == module.blocks[0].norm1.eps == 1e-6  # as in vits.py of facebookresearch/moco-v3


def test_the_transformers_of_clip_compute_as_they_were_trained():
    for name in ("clip_vitb16", "clip_vitb32", "clip_vitl14"):
        assert "quick" in type(build(ENTRIES[name]).module.blocks[0].mlp.act).__name__.lower()


def test_the_catalogue_is_listed_by_pattern():
    assert [entry.name for entry in list_backbones("dinov2_*")] == ["dinov2_vitb14", "dinov2_vitl14", "dinov2_vits14"]
    assert [entry.name for entry in list_backbones()] == sorted(ENTRIES)
    assert list_backbones("resnet18") == []


def test_a_name_of_two_networks_is_asked_back():
    with pytest.raises(BackboneError, match=r"'clip_vitb'\.\nSay clip_vitb16 or clip_vitb32: .* LGM's .* B/32"):
        backbone("clip_vitb", weights="random")


def test_another_feature_than_the_entrys_is_refused():
    with pytest.raises(BackboneError, match=r"'dino_vits16' gives pooled features, not projected ones\.\n'timm:vit_s"):
        backbone("dino_vits16", weights="random", feature="projected")


def test_an_entry_is_the_network_its_loader_names():
    loader = ENTRIES["dinov2_vits14"].loader
    made = backbone(loader, weights="random", image_size=224)
    assert made.fingerprint == backbone("dinov2_vits14", weights="random").fingerprint
    larger = backbone("dinov2_vits14", weights="random", image_size=28)
    assert larger.image_size == 28 and larger.module.pos_embed.shape[1] == 1 + 2 * 2


def test_dinov2_takes_the_file_of_its_authors(tmp_path):
    published = {key: value.clone() for key, value in build_518().state_dict().items()}
    torch.save({**published, "mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2_vits14_pretrain.pth")
    made = backbone("dinov2_vits14", weights=tmp_path / "dinov2_vits14_pretrain.pth")
    assert torch.equal(made.module.blocks[3].ls1.gamma, published["blocks.3.ls1.gamma"])
    assert made.module.pos_embed.shape == (1, 257, 384)


def build_518() -> torch.nn.Module:
    """DINOv2's ViT-S/14 as published: 37 x 37 positions."""
    return timm.create_model("vit_small_patch14_dinov2", num_classes=0)

"""Published networks, loaded from files, do what their makers say."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from attar.backbones import backbone
from attar.backbones.cifar_resnet import resnet20, resnet56
from attar.backbones.taef2 import decoder, encoder


def weights(assets: Path, name: str) -> Path:
    return assets / "weights" / f"{name}.safetensors"


def photographs(assets: Path, part: str, per_class: int) -> tuple[torch.Tensor, torch.Tensor]:
    folders = sorted((assets / "data" / "imagenette224" / part).iterdir())
    files = [file for folder in folders for file in sorted(folder.iterdir())[:per_class]]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return images, torch.arange(len(folders)).repeat_interleave(per_class)


@pytest.mark.parametrize(
    ("name", "file", "settings", "dim", "size"),
    [
        ("timm:vit_tiny_patch16_224", "vit_tiny_patch16_224", {}, 192, 224),
        ("timm:vit_tiny_patch16_224", "vit_tiny_patch16_224", {"image_size": 96}, 192, 96),
        ("mobilenetv2_100", "mobilenetv2_100", {}, 1280, 224),
        ("timm:resnet18", "resnet18_simclr_imagenette64", {"image_size": 64}, 512, 64),
        ("torchvision:squeezenet1_1", "squeezenet1_1", {}, 512, 224),
        ("cifar_resnet20", "cifar_resnet20", {}, 64, 32),
        ("cifar_resnet56", "cifar_resnet56", {}, 64, 32),
        ("taef2_encoder", "taef2_encoder", {}, 32, 224),
    ],
)
def test_every_file_loads(assets, name, file, settings, dim, size):
    path = weights(assets, file)
    made = backbone(name, weights=path, **settings)
    assert (made.name, made.dim, made.image_size) == (name, dim, size)
    assert made.fingerprint != backbone(name, weights="random", **settings).fingerprint


@pytest.mark.parametrize(
    ("name", "file", "settings", "least"),
    [
        ("vit_tiny_patch16_224", "vit_tiny_patch16_224", {}, 0.8),
        ("vit_tiny_patch16_224", "vit_tiny_patch16_224", {"image_size": 160}, 0.8),
        ("mobilenetv2_100", "mobilenetv2_100", {}, 0.8),
        ("torchvision:squeezenet1_1", "squeezenet1_1", {}, 0.6),
    ],
)
def test_features_of_photographs_separate_the_classes(assets, name, file, settings, least):
    made = backbone(name, weights=weights(assets, file), **settings)
    images, _ = photographs(assets, "train", 4)
    others, labels = photographs(assets, "val", 4)
    with torch.no_grad():
        memory, queries = (torch.nn.functional.normalize(made(x)) for x in (images, others))
    means = torch.nn.functional.normalize(memory.view(10, 4, -1).mean(1))
    assert ((queries @ means.T).argmax(1) == labels).float().mean() > least


@pytest.mark.parametrize(("make", "name"), [(resnet20, "cifar_resnet20"), (resnet56, "cifar_resnet56")])
def test_cifar_networks_reach_their_accuracy_with_their_head(assets, make, name):
    path = weights(assets, name)
    module = make(num_classes=10)
    module.load_state_dict(safetensors.torch.load_file(path), strict=False)
    data = np.load(assets / "data" / "cifar10" / "test.npz")
    images = torch.from_numpy(data["images"][:300]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        logits = module.linear(backbone(name, weights=path)(images))
    assert (logits.argmax(1).numpy() == data["labels"][:300]).mean() > 0.9
    made = backbone(module, image_size=32)
    torch.testing.assert_close(made(images[:5]), logits[:5])


def test_taef2_gives_a_photograph_back(assets):
    there, back = encoder(), decoder()
    there.load_state_dict(safetensors.torch.load_file(weights(assets, "taef2_encoder")))
    back.load_state_dict(safetensors.torch.load_file(weights(assets, "taef2_decoder")))
    images = photographs(assets, "val", 1)[0][:2]
    with torch.no_grad():
        latents = there(images)
        error = (back(latents).clamp(0, 1) - images).square().mean()
    assert latents.shape == (2, 32, 28, 28)
    assert -10 * error.log10() > 25
    pooled = backbone("taef2_encoder", weights=weights(assets, "taef2_encoder"))
    torch.testing.assert_close(pooled(images), latents.mean((2, 3)))


def test_the_classifier_is_used_where_the_projected_feature_is_asked_for(assets):
    path = weights(assets, "vit_tiny_patch16_224")
    made = backbone("vit_tiny_patch16_224", weights=path, feature="projected")
    images, _ = photographs(assets, "val", 2)
    with torch.no_grad():
        logits = made(images)
    imagenette = torch.tensor([0, 217, 482, 491, 497, 566, 569, 571, 574, 701])
    assert (imagenette[logits[:, imagenette].argmax(1)].view(10, 2) == imagenette[:, None]).float().mean() > 0.8


def test_a_transformer_in_bfloat16_sees_what_it_sees_in_float32(assets):
    made = backbone("vit_tiny_patch16_224", weights=weights(assets, "vit_tiny_patch16_224"))
    images = photographs(assets, "val", 1)[0][:5]
    exact, rough = made(images), made.to(dtype=torch.bfloat16)(images)
    assert rough.dtype == torch.float32
    assert ((exact - rough).norm(dim=1) / exact.norm(dim=1)).max() < 0.03


def test_loading_warns_of_nothing(assets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone("timm:resnet18", weights=weights(assets, "resnet18_simclr_imagenette64"), image_size=64)

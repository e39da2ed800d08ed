"""Names become networks, or one sentence and the nearest names."""

from __future__ import annotations

import subprocess
import sys
import types
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn

import attar.backbones
from attar.backbones import backbone
from attar.errors import BackboneError


def small(width: int = 5) -> nn.Module:
    """A network made by a user's function."""
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def sized() -> nn.Module:
    """One that says its size."""
    module = small()
    module.image_size = 11
    return module


def broken() -> nn.Module:
    raise ValueError("too small")


def not_a_module() -> int:
    return 3


def test_exports_are_all_there_is_and_sorted():
    public = [
        name
        for name, value in vars(attar.backbones).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, types.ModuleType)
    ]
    assert attar.backbones.__all__ == sorted(public)


def test_an_entry_without_weights_asks_for_a_file():
    with pytest.raises(BackboneError, match=r"No hub has weights for 'cifar_resnet20'\.\n.*--weights FILE"):
        backbone("cifar_resnet20")


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 1024),
        ("shufflenet_v2_x0_5", 1024),
        ("densenet121", 1024),
        ("squeezenet1_1", 512),
        ("convnext_tiny", 768),
        ("swin_t", 768),
    ],
)
def test_torchvision_networks_lose_their_head(name, dim):
    assert backbone(f"torchvision:{name}", weights="random", image_size=64).dim == dim


def test_convnext_keeps_the_norm_before_its_head():
    made = backbone("torchvision:convnext_tiny", weights="random", image_size=64)
    features = made(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(features.mean(1), torch.zeros(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(features.std(1), torch.ones(2), rtol=0, atol=1e-2)


def test_a_transformer_takes_another_image_size():
    made = backbone("vit_tiny_patch16_224", weights="random", image_size=48)
    assert (made.dim, made.image_size, made.mean) == (192, 48, (0.5, 0.5, 0.5))


def test_random_weights_are_the_same_each_time_and_leave_the_global_state_alone():
    state = torch.random.get_rng_state()
    first = backbone("timm:resnet18", weights="random", image_size=32)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(3)
    assert backbone("timm:resnet18", weights="random", image_size=32).fingerprint == first.fingerprint


def test_arguments_of_the_model_and_who_builds_it_are_part_of_the_fingerprint():
    def pooled(**arguments) -> str:
        settings = {"weights": "random", "image_size": 32, "model_args": arguments}
        return backbone("vit_tiny_patch16_224", **settings).fingerprint

    average = pooled(global_pool="avg", fc_norm=False)
    assert average == pooled(fc_norm=False, global_pool="avg")
    assert average != pooled(global_pool="max", fc_norm=False)
    made = backbone(f"py:{__name__}:small", image_size=13)
    assert backbone(made.module, image_size=13).fingerprint != made.fingerprint


def test_an_unknown_normalise_is_refused():
    call = "from attar.backbones import backbone; backbone('resnet18', weights='random', normalise='loud')"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)  # where no type is checked
    assert "BackboneError: Unknown normalise 'loud'.\nChoose one of native, imagenet." in done.stderr


@pytest.mark.parametrize("size", [0, -3])
def test_an_image_size_below_one_is_refused(size: int):
    with pytest.raises(BackboneError, match=f"side of {size} pixels"):
        backbone(small(), image_size=size)


def test_preprocessing_is_the_networks_own_or_imagenets_or_as_given():
    def load(**settings):
        made = backbone("vit_tiny_patch16_224", weights="random", image_size=32, **settings)
        return made.mean, made.std, made.normalise

    half, imagenet = (0.5, 0.5, 0.5), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert load() == (half, half, "native")
    assert load(normalise="imagenet") == (*imagenet, "imagenet")
    assert load(normalise="imagenet", mean=half) == (half, imagenet[1], "imagenet")
    assert load(std=(0.1, 0.2, 0.3)) == (half, (0.1, 0.2, 0.3), "native")


def test_a_function_of_the_users_makes_the_network():
    name = f"py:{__name__}:small"
    made = backbone(name, image_size=13, model_args={"width": 7})
    assert (made.name, made.dim, made.image_size, made.mean[0]) == (name, 7, 13, 0.485)
    assert backbone(f"py:{__name__}:sized").image_size == 11


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("small", {}, "doesn't say which image size"),
        ("absent", {}, "Can't import"),
        ("not_a_module", {}, "returned a int"),
        ("small", {"model_args": {"depth": 3}, "image_size": 7}, "fails: TypeError: .*depth"),
        ("broken", {}, "'py:.*:broken' fails: ValueError: too small"),
    ],
)
def test_a_function_that_does_not_serve_is_told_so(name, settings, told):
    with pytest.raises(BackboneError, match=told):
        backbone(f"py:{__name__}:{name}", **settings)


def test_arguments_that_a_library_does_not_know_are_one_sentence():
    with pytest.raises(BackboneError, match=r"'resnet18' can't be built with these arguments: .*depht"):
        backbone("timm:resnet18", weights="random", model_args={"depht": 3})


def no_route(*args, **kwargs):
    raise URLError("no route to host")


@pytest.mark.parametrize("weights", [None, "random"])
@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:resnet18.a1_in1k"])
def test_arguments_that_a_library_asserts_against_are_one_sentence(name, weights, monkeypatch):
    """And no download is blamed, whether or not one was asked for."""
    monkeypatch.setattr("timm.models._builder.load_pretrained", no_route)
    with pytest.raises(BackboneError, match="can't be built with these arguments") as caught:
        backbone(name, weights=weights, model_args={"global_pool": "foo"})
    assert caught.value.hint == "Check model_args, and the image size."


def test_published_weights_that_do_not_fit_the_arguments_are_no_failed_download(monkeypatch):
    def misfit(*args, **kwargs):
        raise RuntimeError("Error(s) in loading state_dict for VisionTransformer:")

    monkeypatch.setattr("timm.models._builder.load_pretrained", misfit)
    with pytest.raises(BackboneError, match="weights of 'vit_tiny_patch16_224' don't fit these arguments: Error"):
        backbone("timm:vit_tiny_patch16_224", model_args={"depth": 2})
    monkeypatch.setattr("timm.models._builder.load_pretrained", no_route)
    with pytest.raises(BackboneError, match=r"Can't download weights of 'vit_tiny_patch16_224': .*no route"):
        backbone("timm:vit_tiny_patch16_224", model_args={"depth": 2})


def test_a_module_goes_by_the_name_of_its_class():
    assert backbone(small(), image_size=9).name == "Sequential"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:resnet81", r"Timm has no network 'resnet81'\.\nDid you mean .*resnet18"),
        ("cifar_resnet21", r"has no network 'cifar_resnet21'\.\nDid you mean .*cifar_resnet20"),
        ("torchvision:sqeezenet1_1", r"Torchvision has no network .*\nDid you mean .*squeezenet1_1"),
        ("timm:resnet18.a1_in1", r"Timm has no weights .*\nDid you mean .*resnet18\.a1_in1k"),
        ("dinov2-vits14", r"has no network 'dinov2-vits14'\.\nDid you mean .*dinov2_vits14"),
        ("tim:resnet18", r"Unknown prefix 'tim:' .*\nKnown prefixes: timm:, torchvision:, openclip:, hf:, py:"),
    ],
)
def test_misspelt_names_suggest_the_nearest(name, told):
    with pytest.raises(BackboneError, match=told):
        backbone(name, weights="random")


def test_a_name_like_no_other_is_not_answered_with_a_thousand():
    with pytest.raises(BackboneError) as caught:
        backbone("zzzz", weights="random")
    assert "list_backbones()" in caught.value.hint and len(str(caught.value)) < 200


def test_a_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_route)
    monkeypatch.setattr("torch.hub.urlopen", no_route)
    with pytest.raises(BackboneError) as caught:
        backbone("torchvision:squeezenet1_1")
    assert caught.value.message == "can't download weights of 'squeezenet1_1': <urlopen error no route to host>"
    assert caught.value.hint == "Pass a file: --weights FILE."


def test_torchvision_has_no_projector():
    with pytest.raises(BackboneError, match="no projected features"):
        backbone("torchvision:resnet18", weights="random", feature="projected")


def test_the_projected_feature_of_timm_is_its_head():
    settings = {"weights": "random", "image_size": 32}
    assert backbone("timm:resnet18", feature="projected", **settings).dim == 1000
    assert backbone("timm:resnet18", **settings).dim == 512

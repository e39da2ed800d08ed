"""A frozen network stays as it is, prepares images as told, and is refused where its features can't be right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2.functional import normalize, resize

from attar.backbones import Backbone, backbone
from attar.backbones.record import freeze
from attar.errors import BackboneError


class Means(nn.Module):
    """Channel means of what it is fed, times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, images: Tensor) -> Tensor:
        self.fed = images
        return images.mean((2, 3)) * self.weight


class Returns(nn.Module):
    """A network whose answer is made by `answer`."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> object:
        return self.answer(images)


def means(**settings) -> Backbone:
    return backbone(Means(), image_size=7, **settings)


def test_images_are_resized_and_normalised_as_torchvision_does():
    images = torch.rand(2, 3, 13, 11)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.7, 1.1)
    made = means(mean=mean, std=std)
    features = made(images)
    wanted = normalize(resize(images, [7, 7], antialias=True), list(mean), list(std))
    torch.testing.assert_close(made.module.fed, wanted)
    torch.testing.assert_close(features, wanted.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0]))


def test_images_of_the_right_size_are_not_resampled():
    images = torch.rand(2, 3, 7, 7)
    made = means(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    made(images)
    assert torch.equal(made.module.fed, images)


def test_forward_and_backward_leave_the_network_alone_and_reach_the_images():
    made = backbone("timm:resnet18", weights="random", image_size=32)
    images = torch.rand(2, 3, 41, 37, requires_grad=True)
    fingerprint = backbone(made.module, image_size=32).fingerprint
    again = means().fingerprint
    before = {key: value.clone() for key, value in made.module.state_dict().items()}
    made(images).square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert not any(module.training for module in made.module.modules())
    assert not any(parameter.requires_grad for parameter in made.module.parameters())
    assert all(torch.equal(before[key], value) for key, value in made.module.state_dict().items())
    assert backbone(made.module, image_size=32).fingerprint == fingerprint
    assert means().fingerprint == again


def test_the_gradient_is_the_true_one():
    made = means().to(dtype=torch.float64)
    images = torch.rand(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, images)


def test_a_module_that_is_passed_in_is_copied():
    module = Means()
    backbone(module, image_size=7)
    assert module.training
    assert module.weight.requires_grad


def test_fingerprints_tell_weights_and_preprocessing_apart():
    changed = Means()
    with torch.no_grad():
        changed.weight[1] += 1e-6
    prints = {
        means().fingerprint,
        backbone(changed, image_size=7).fingerprint,
        backbone(Means(), image_size=5).fingerprint,
        means(mean=(0.485, 0.456, 0.4)).fingerprint,
        means(std=(0.229, 0.224, 0.2)).fingerprint,
        means(feature="projected").fingerprint,
        means(normalise="imagenet").fingerprint,
        backbone(Means().double(), image_size=7).fingerprint,
    }
    assert len(prints) == 8
    assert means().fingerprint == means().fingerprint


def test_fingerprints_tell_networks_with_the_same_weights_apart():
    def pooled(pool: nn.Module) -> str:
        return backbone(nn.Sequential(nn.BatchNorm2d(3), pool, nn.Flatten()), image_size=7).fingerprint

    average, maximum = pooled(nn.AdaptiveAvgPool2d(1)), pooled(nn.AdaptiveMaxPool2d(1))
    assert average != maximum and average == pooled(nn.AdaptiveAvgPool2d(1))


def test_addresses_are_no_part_of_a_fingerprint():
    class Tells(Means):
        def extra_repr(self) -> str:
            return f"{object()}"

    first = Tells()
    again = Tells()  # both exist, so their addresses differ
    again.kept, first.kept = object(), object()
    assert backbone(first, image_size=7).fingerprint == backbone(again, image_size=7).fingerprint


def test_fingerprints_do_not_count_batches_seen_in_training():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = backbone(module, image_size=7).fingerprint
    module[0].num_batches_tracked += 3
    assert backbone(module, image_size=7).fingerprint == before


def test_a_copy_in_bfloat16_takes_and_gives_float32():
    made = means()
    small = made.to(dtype=torch.bfloat16)
    images = torch.rand(2, 3, 11, 7)
    features = small(images)
    assert small.module.fed.dtype == torch.bfloat16
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, made(images), rtol=0.02, atol=0.02)
    assert small.fingerprint == made.fingerprint
    assert made.module.weight.dtype == torch.float32


def test_float64_stays_float64():
    made = means().to(dtype=torch.float64)
    assert made(torch.rand(2, 3, 7, 7)).dtype == torch.float64


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda images: torch.ones(len(images), 5), "same features for different images"),
        (lambda images: images.mean((2, 3)) * torch.inf, "aren't finite"),
        (lambda images: images, "shape \\(2, 3, 7, 7\\)"),
        (lambda images: images.mean((2, 3))[:1], "shape \\(1, 3\\)"),
        (lambda images: images.mean((2, 3)).long(), "returns int64"),
        (lambda images: [images], "returns a list"),
        (lambda images: images.view(3, -1) @ images, "fails on images of 7 x 7 pixels"),
    ],
)
def test_features_that_cannot_be_right_are_refused(answer, told):
    with pytest.raises(BackboneError, match=told):
        backbone(Returns(answer), image_size=7)


def saved_bytes(made: Backbone, images: Tensor) -> int:
    """How much the forward pass keeps for the gradient, weights aside; each storage counts once."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in made.module.state_dict().values()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = made(images)
    assert features.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224", "timm:resnet18"])
def test_a_checkpointed_copy_gives_the_same_and_keeps_less(name):
    made = backbone(name, weights="random", image_size=56 if "eva" in name else 64)
    lean = made.checkpointed()
    images = torch.rand(3, 3, 61, 59, requires_grad=True)
    wanted, features = made(images), lean(images)
    assert torch.equal(wanted, features)
    gradients = [torch.autograd.grad(each.square().sum(), images)[0] for each in (wanted, features)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)
    assert saved_bytes(lean, images) < 0.6 * saved_bytes(made, images)
    assert (lean.fingerprint, lean.dim, lean.name) == (made.fingerprint, made.dim, made.name)


def test_a_checkpointed_copy_shares_the_weights_and_leaves_the_original_alone():
    made = backbone("vit_tiny_patch16_224", weights="random", image_size=32)
    lean = made.checkpointed()
    pairs = zip(made.module.state_dict().values(), lean.module.state_dict().values(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)
    assert lean.module.grad_checkpointing and not made.module.grad_checkpointing
    assert not any(module.training for module in lean.module.modules())
    moved = lean.to(dtype=torch.bfloat16)
    assert moved.module.grad_checkpointing and made.dtype == torch.float32


def test_without_blocks_there_is_no_checkpointed_copy():
    assert means().checkpointed() is None
    assert backbone("timm:dla46_c", weights="random", image_size=32).checkpointed() is None


class Casts(TorchDispatchMode):
    """Counts the changes of dtype."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if function is torch.ops.aten._to_copy.default and result.dtype != arguments[0].dtype:
            self.count += 1
        return result


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_weights_in_bfloat16_are_cast_once_and_not_at_every_use(name):
    small = backbone(name, weights="random", image_size=56 if "eva" in name else 64).to(dtype=torch.bfloat16)
    images = torch.rand(2, 3, small.image_size, small.image_size)
    with Casts() as casts:
        small(images)
    assert casts.count == 2  # the pixels on their way in, the features on their way out


class Flattening(nn.Module):
    """Convolves and flattens, by `view`, which refuses channels that lie side by side, or by `flatten`."""

    def __init__(self, *, view: bool):
        super().__init__()
        self.view, self.convolution = view, nn.Conv2d(3, 5, 3)

    def forward(self, images):
        maps = self.convolution(images)
        return maps.view(len(maps), -1) if self.view else maps.flatten(1)


@pytest.mark.parametrize("view", [True, False])
def test_convolutions_are_fed_channels_last_where_the_network_takes_it(view: bool):
    module = Flattening(view=view)
    frozen = freeze(module, "x", image_size=7, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    assert frozen.channels_last is not view
    images = torch.rand(3, 3, 7, 7)
    normalised = (images - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    torch.testing.assert_close(frozen(images), module(normalised))


def test_patches_are_fed_as_they_are():
    patches = nn.Sequential(nn.Conv2d(3, 5, 2, stride=2), nn.Flatten())
    assert not freeze(patches, "x", image_size=4, mean=(0.5,) * 3, std=(0.5,) * 3).channels_last

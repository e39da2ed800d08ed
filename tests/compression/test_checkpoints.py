"""Published checkpoints give the body's weights, whatever else their scripts stored."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from attar.backbones.weights import fit_weights, read_weights
from attar.compression.checkpoints import body_weights
from attar.errors import BackboneError


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """A narrow residual network of timm, whose names are torchvision's, with drawn weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = narrow()
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return network.state_dict()


def narrow() -> nn.Module:
    stages = {"layers": (1, 1, 1, 1), "channels": (3, 5, 7, 11), "stem_width": 3}
    return timm.models.resnet.ResNet(timm.models.resnet.Bottleneck, num_classes=0, **stages)


def under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in weights.items()}


def head(*names: str) -> dict[str, Tensor]:
    return {name: torch.zeros(3, 2) for name in names}


def moco_v2(trained):
    """main_moco.py: a projector of two layers at `fc`, the slow copy, the queue, and SGD's state beside all of it."""
    query = under("module.encoder_q.", trained | head("fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"))
    slow = under("module.encoder_k.", {key: tensor * 0 for key, tensor in trained.items()} | head("fc.0.weight"))
    weights = slow | query | head("module.queue") | {"module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
    return {"epoch": 800, "arch": "resnet50", "state_dict": weights, "optimizer": {"state": {}, "param_groups": []}}


def moco_v3(trained):
    base = under("module.base_encoder.", trained | head("fc.0.weight", "fc.1.running_mean", "fc.3.weight"))
    slow = under("module.momentum_encoder.", {key: tensor * 0 for key, tensor in trained.items()})
    return {"state_dict": slow | base | head("module.predictor.0.weight", "module.predictor.1.running_var")}


def first_moco_v3(trained):
    base = under("module.encoder_q.", trained | head("fc.0.weight", "fc.1.running_mean"))
    return {"state_dict": base | head("module.predictor.0.weight")}


def swav(trained):
    names = ("projection_head.0.weight", "projection_head.1.running_mean", "prototypes.weight")
    return under("module.", trained | head(*names))


def dino(trained):
    """main_dino.py's full checkpoint; the file with the backbone alone is `plain`."""
    heads = head("head.mlp.0.weight", "head.last_layer.weight_g", "head.last_layer.weight_v")
    teacher = under("backbone.", trained) | heads
    student = under("module.backbone.", {key: tensor * 0 for key, tensor in trained.items()})
    return {"student": student | under("module.", heads), "teacher": teacher, "epoch": 100}


def dino_of_several_devices(trained):
    return {"teacher": under("module.backbone.", trained) | head("module.head.mlp.0.weight"), "student": {}}


def plain(trained):
    return trained


LAYOUTS = {
    moco_v2: "moco-v2",
    moco_v3: "moco-v3",
    first_moco_v3: "moco-v2",
    swav: "swav",
    dino: "dino",
    dino_of_several_devices: "dino",
    plain: "plain",
}


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_each_published_layout_gives_exactly_the_body(make, trained, tmp_path):
    path = tmp_path / "published.pth"
    torch.save(make(trained), path)
    layout, body = body_weights(read_weights(path))
    assert layout == LAYOUTS[make]
    assert body.keys() == trained.keys()
    network = narrow()
    fit_weights(network, body, name="narrow", path=path, is_head=lambda key: False)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, trained[key]), key


def test_a_classifier_of_a_plain_network_is_left_for_its_network_to_judge(trained):
    layout, body = body_weights(under("module.", trained | head("fc.weight")))
    assert layout == "plain" and body.keys() == trained.keys() | {"fc.weight"}


def test_networks_without_residual_blocks_pass_as_they_are():
    weights = head("0.weight", "features.conv1.weight")
    assert body_weights(weights) == ("plain", weights)


@pytest.mark.parametrize("prefix", ["online_network.", "encoder_k.", "module.net.trunk."])
def test_an_unknown_layout_is_named_in_one_sentence(prefix, trained):
    stands = prefix.removeprefix("module.")
    with pytest.raises(BackboneError, match=f"unknown: the network stands under '{stands}'") as refused:
        body_weights(under(prefix, trained))
    assert "backbone. (dino)" in refused.value.hint

"""`attar squeeze`."""

from __future__ import annotations

import json

from attar.backbones.squeezed import read_squeezed


def test_a_squeezed_network_is_a_backbone_for_the_next_command(tmp_path, attar, train, test_images):
    net = tmp_path / "net.safetensors"
    words = ["squeeze", train, "--arch", "convnet3", "--epochs", 1, "--out", net]
    code, shown, err = attar(*words, "--json")
    assert code == 0
    told = json.loads(shown)["network"]
    assert (told["architecture"], told["fingerprint"]) == ("convnet3", read_squeezed(net).fingerprint)
    assert "Next: attar distill" in err
    assert "sre2l" in err
    code, _, err = attar(*words)
    assert code == 0
    assert "nothing to do" in err
    out = tmp_path / "set"
    made = attar("distill", train, "--backbone", net, "--method", "random", "--out", out)
    assert made[0] == 0, made
    code, shown, _ = attar("evaluate", out, "--test", test_images, "--backbone", net, "--json")
    assert code == 0
    assert json.loads(shown)["rows"][0]["evaluated_on"] == "net.safetensors"


def test_a_network_without_batch_norm_is_one_sentence(tmp_path, attar, train):
    out = tmp_path / "net.safetensors"
    code, _, err = attar("squeeze", train, "--arch", "vit_tiny_patch16_224", "--side", 224, "--out", out)
    assert code == 2
    assert err.startswith("attar: SC-DD needs BatchNorm statistics, and this network has none.")

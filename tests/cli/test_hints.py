"""What the command line proposes after a name that isn't known, in words of the command line."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("mob", "Names with 'mob' in them: mobilenet_edgetpu_100, "),
        ("*mob*", "Names with 'mob' in them: mobilenet_edgetpu_100, "),
        ("dinov2_vist14", "Did you mean dinov2_vits14 or "),
        ("zzzz", "`attar backbones` (attar.list_backbones()) lists attar's names, timm.list_models() timm's."),
    ],
)
def test_a_backbone_that_is_not_listed_has_neighbours(attar, pattern, hint):
    code, out, told = attar("backbones", pattern)
    assert (code, out) == (2, "") and told.startswith(f"attar: No backbone of attar's is called {pattern!r}.\n{hint}")


def test_a_network_without_a_size_is_asked_for_one_by_the_option(attar, train, tmp_path, monkeypatch):
    (tmp_path / "sizeless.py").write_text("from torch.nn import Flatten as small")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, told = attar("distill", train, "--backbone", "py:sizeless:small", "--out", tmp_path / "q.attar")
    assert code == 2 and told.endswith("Pass it in pixels: --image-size N (image_size=N).\n")


def test_a_device_is_refused_before_anything_is_opened(attar, tmp_path):
    given = ("--backbone", "zzzz", "--out", tmp_path / "q.attar", "--device", "gpu")
    code, _, told = attar("distill", tmp_path / "nowhere", *given)
    assert (code, told) == (2, "attar: Device 'gpu' can't be used here.\nUse --device auto, cpu, cuda or mps.\n")

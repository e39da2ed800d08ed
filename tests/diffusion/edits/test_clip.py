"""CLIP: what it sees and reads, against transformers' own processor and Pillow, and how texts are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attar.diffusion import stock
from attar.diffusion.edits.clip import Clip, open_clip, seen_by_clip, truncate
from attar.errors import BackboneError
from tiny_diffusion import save_clip, tokenizer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return open_clip(str(save_clip(tmp_path_factory.mktemp("clip"))), device="cpu")


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rows = np.random.default_rng(0)
    return [rows.integers(0, 256, (3, height, width), dtype=np.uint8) for height, width in sizes]


def test_an_image_is_squashed_as_transformers_own_processor_does():
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    for image in pictures((41, 67), (7, 5), (32, 32)):
        expected = processor(images=torch.from_numpy(image), return_tensors="pt").pixel_values[0]
        # Pillow and torchvision round to whole grey values alike but for one, which is .015 here.
        torch.testing.assert_close(seen_by_clip(image, 32), expected, atol=0.016, rtol=0)


def test_a_flat_image_is_clips_mean_away_from_zero():
    seen = seen_by_clip(np.full((3, 11, 13), 51, dtype=np.uint8), 7)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    expected = torch.from_numpy((0.2 - mean) / std).float()[:, None, None].expand(3, 7, 7)
    torch.testing.assert_close(seen, expected, atol=1e-6, rtol=0)


def test_features_do_not_hang_on_the_batch(clip: Clip):
    images = pictures(*[(19, 23)] * 67)
    together = clip.images(iter(images))
    assert together.shape == (67, 16)
    torch.testing.assert_close(torch.cat([clip.images([image]) for image in images[60:]]), together[60:])
    assert clip.images([]).shape == clip.texts([]).shape == (0, 16)


def test_features_are_the_models_own(clip: Clip):
    image = pictures((32, 32))[0]
    with torch.no_grad():
        hidden = clip.model.vision_model(seen_by_clip(image, 32)[None]).pooler_output
        seen = clip.model.visual_projection(hidden)
        text = clip.tokenizer(["a dog"], return_tensors="pt")
        told = clip.model.text_projection(clip.model.text_model(**text).pooler_output)
    torch.testing.assert_close(clip.images([image]), seen)
    torch.testing.assert_close(clip.texts(["a dog"]), told)


def test_texts_of_different_lengths_keep_their_features(clip: Clip):
    texts = ["a", "a much longer text", "b" * 200]
    together = clip.texts(texts)
    assert together.isfinite().all()
    torch.testing.assert_close(torch.cat([clip.texts([text]) for text in texts]), together)
    torch.testing.assert_close(clip.texts(["b" * 300]), together[2:])  # beyond 77 tokens nothing is read


def test_tokens_are_counted_without_the_marks(clip: Clip):
    assert [clip.count_tokens(text) for text in ("", "a", "abc  de", "b" * 301)] == [0, 1, 5, 301]


def test_a_text_is_cut_between_words(clip: Clip):
    assert clip.truncate("abc de", 5) == "abc de"
    assert clip.truncate("Abc  de", 4) == "Abc"
    assert clip.truncate("abc de", 3) == "abc"
    assert clip.truncate("abc de", 2) == "ab"
    assert clip.truncate(" abc de", 2) == " ab"
    assert clip.truncate("x" * 76) == "x" * 75


@given(text=st.text(max_size=37), tokens=st.integers(1, 11))
def test_a_cut_text_fits_and_begins_the_whole(text: str, tokens: int):
    words = tokenizer()
    cut = truncate(words, text, tokens)
    assert text.startswith(cut)
    assert len(words(cut, add_special_tokens=False).input_ids) <= tokens
    assert truncate(words, cut, tokens) == cut


def test_other_weights_have_another_fingerprint(tmp_path):
    folder = save_clip(tmp_path / "clip")
    first = open_clip(str(folder), device="cpu")
    assert open_clip(str(folder), device="cpu").fingerprint == first.fingerprint
    first.model.logit_scale.fill_(1.0)
    with stock.quiet():
        first.model.save_pretrained(folder)
    assert open_clip(str(folder), device="cpu").fingerprint != first.fingerprint


def test_weights_that_are_not_here_are_refused(tmp_path):
    with pytest.raises(BackboneError) as refused:
        open_clip("nobody/no-clip", device="cpu")
    assert str(refused.value).split("\n") == [
        'EDITS needs "nobody/no-clip" (CLIP); it is not on this machine.',
        "Pass a path or --allow-download.",
    ]

"""Captioners: small random ones of each kind, saved as the hub keeps them, and what LLaVA needs."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attar.diffusion.edits import captioners
from attar.diffusion.edits.captioners import Captioner, open_captioner
from attar.errors import BackboneError, SettingsError
from tiny_diffusion import tokenizer

NAMES = ["tench", "beagle", "tench"]
_SMALL = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
_VISION = {**_SMALL, "image_size": 32, "patch_size": 8}


def pictures() -> list[np.ndarray]:
    rows = np.random.default_rng(1)
    return [rows.integers(0, 256, (3, *size), dtype=np.uint8) for size in ((23, 41), (37, 19), (5, 7))]


def _scattered(model: nn.Module) -> nn.Module:
    """With weights so large that what it says hangs on what it sees."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("blip")
    marked = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    words = BertTokenizer(vocab={word: number for number, word in enumerate([*marked, *(f"w{n}" for n in range(94))])})
    words.add_special_tokens({"bos_token": "[DEC]"})
    text = {**_SMALL, "vocab_size": 101, "projection_dim": 16, "encoder_hidden_size": 32}
    marks = {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3}
    config = BlipConfig(text_config={**text, **marks}, vision_config=_VISION, projection_dim=16)
    model = _scattered(BlipForConditionalGeneration(config))
    with torch.no_grad():
        for layer in model.text_decoder.bert.encoder.layer:
            layer.crossattention.output.dense.weight.mul_(30)  # else each word repeats the one before
        model.text_decoder.cls.predictions.bias[: len(marked)] = -1e4  # else it might have nothing but marks to say
    model.save_pretrained(folder)
    squash = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(squash, words).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(6)
    folder = tmp_path_factory.mktemp("llava")
    marks = {"bos_token_id": 512, "eos_token_id": 513}
    text = LlamaConfig(vocab_size=515, **_SMALL, **marks)
    config = LlavaConfig(vision_config=CLIPVisionConfig(**_VISION), text_config=text, image_token_index=514)
    _scattered(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    words = tokenizer()
    words.model_max_length = 2048
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    crop = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    strategy = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    LlavaProcessor(crop, words, patch_size=8, **strategy).save_pretrained(folder)
    return folder


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions of a few words, so that tests are fast."""
    monkeypatch.setattr(captioners, "_NEW_TOKENS", 7)


@pytest.fixture(params=["blip", "llava", "template"])
def captioner(request: pytest.FixtureRequest) -> Captioner:
    folder = None if request.param == "template" else str(request.getfixturevalue(request.param))
    return open_captioner(request.param, model=folder, device="cpu")


@pytest.mark.usefixtures("_short")
def test_every_captioner_gives_each_image_one_caption(captioner: Captioner):
    assert isinstance(captioner, Captioner)
    made = captioner.caption(pictures(), NAMES)
    assert len(made) == 3 and all(made)
    assert captioner.caption(pictures(), NAMES) == made
    assert captioner.caption(pictures()[1:2], NAMES[1:2]) == made[1:2]
    assert captioner.caption([], []) == []


def test_networks_are_in_the_precision_that_the_memory_was_counted_in(blip: Path, llava: Path):
    assert open_captioner("blip", model=str(blip), device="cpu").model.dtype == torch.float32
    assert open_captioner("llava", model=str(llava), device="cpu").model.dtype == torch.bfloat16


def test_the_template_knows_the_class_alone():
    assert open_captioner("template").caption(pictures(), NAMES)[1] == "a photo of a beagle"


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("kind", ["blip", "llava"])
def test_captions_are_of_the_image(request, kind: str):
    made = open_captioner(kind, model=str(request.getfixturevalue(kind)), device="cpu")
    flat = [np.full((3, 11, 13), grey, dtype=np.uint8) for grey in (0, 80, 170, 255)]
    assert len(set(made.caption([*flat, *pictures()], ["tench"] * 7))) > 1


def test_captions_are_greedy_and_of_at_most_96_tokens(llava: Path, monkeypatch):
    asked = {}
    made = open_captioner("llava", model=str(llava), device="cpu")
    generate = made.model.generate
    monkeypatch.setattr(made.model, "generate", lambda **how: (asked.update(how), generate(**how))[1])
    made.caption(pictures()[:1], ["tench"])
    assert (asked["max_new_tokens"], asked["do_sample"], asked["num_beams"]) == (96, False, 1)


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize(("topic", "words"), [("scene", "surroundings and light"), ("appearance", "posture")])
def test_llava_is_asked_about_the_class_by_name(llava: Path, monkeypatch, topic: str, words: str):
    made = open_captioner("llava", model=str(llava), topic=topic, device="cpu")
    tokens = []
    generate = made.model.generate
    monkeypatch.setattr(made.model, "generate", lambda **how: (tokens.append(how["input_ids"]), generate(**how))[1])
    answer = made.caption(pictures()[:1], ["sea lion"])[0]
    request = made.processor.tokenizer.decode(tokens[0][0]).replace("</w>", " ").lower()
    assert "photo of a sea lion" in request if topic == "scene" else "the sea lion in this photo" in request
    assert words in " ".join(request.split())
    assert "assistant" not in answer


def test_the_request_is_part_of_the_fingerprint(llava: Path, blip: Path):
    scene = open_captioner("llava", model=str(llava), device="cpu")
    appearance = open_captioner("llava", model=str(llava), topic="appearance", device="cpu")
    other = open_captioner("blip", model=str(blip), device="cpu")
    assert len({scene.fingerprint, appearance.fingerprint, other.fingerprint}) == 3
    assert open_captioner("llava", model=str(llava), device="cpu").fingerprint == scene.fingerprint


def test_llava_without_room_is_refused(llava: Path, monkeypatch):
    monkeypatch.setattr(captioners, "free_bytes", lambda place: 0)
    with pytest.raises(SettingsError) as refused:
        open_captioner("llava", model=str(llava), device="cpu")
    assert str(refused.value).split("\n") == [
        f'The captioner "{llava}" needs about 0 GB and 0 GB are free.',
        "Use --captioner blip, --captioner file, or --allow-offload.",
    ]


def test_llava_seven_b_needs_sixteen_gigabytes(monkeypatch):
    import transformers

    seven = transformers.LlavaConfig()
    place = torch.device("cpu")
    monkeypatch.setattr(captioners, "free_bytes", lambda place: 15_900_000_000)
    with pytest.raises(SettingsError, match="needs about 16 GB and 16 GB are free"):
        captioners._check_memory(transformers, seven, "7b", place, allow_offload=False)
    assert not captioners._check_memory(transformers, seven, "7b", place, allow_offload=True)
    monkeypatch.setattr(captioners, "free_bytes", lambda place: 16_100_000_000)
    assert captioners._check_memory(transformers, seven, "7b", place, allow_offload=False)


@pytest.mark.usefixtures("_short")
def test_an_offloaded_llava_says_the_same(llava: Path, monkeypatch):
    whole = open_captioner("llava", model=str(llava), device="cpu")
    monkeypatch.setattr(captioners, "free_bytes", lambda place: 100_000)
    offloaded = open_captioner("llava", model=str(llava), device="cpu", allow_offload=True)
    assert "disk" in offloaded.model.hf_device_map.values()
    assert offloaded.caption(pictures()[:1], NAMES[:1]) == whole.caption(pictures()[:1], NAMES[:1])
    assert offloaded.fingerprint == whole.fingerprint


@pytest.mark.usefixtures("_short")
def test_loading_and_writing_stay_silent(blip: Path, llava: Path, capfd, monkeypatch):
    def wordy(**how: object) -> torch.Tensor:
        logging.getLogger("transformers.generation").warning("a log line")
        warnings.warn("a warning", stacklevel=1)
        return generate(**how)

    for kind, folder in (("blip", blip), ("llava", llava)):
        made = open_captioner(kind, model=str(folder), device="cpu")
        generate = made.model.generate
        monkeypatch.setattr(made.model, "generate", wordy)
        made.caption(pictures()[:1], NAMES[:1])
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_not_here_are_refused():
    with pytest.raises(BackboneError, match=r'EDITS needs "Salesforce/blip-image-captioning-base" \(captioner\)'):
        open_captioner("blip", device="cpu")


@pytest.mark.parametrize("kind", ["blip", "llava"])
def test_a_captioner_that_names_code_of_its_own_is_refused_and_nothing_is_asked(tmp_path: Path, monkeypatch, kind: str):
    asked = []
    monkeypatch.setattr("builtins.input", lambda *told: asked.append(told) or "n")
    own = {"auto_map": {"AutoProcessor": "nobody/own--own.Own", "AutoConfig": "nobody/own--own.Own"}}
    for name in ("config.json", "processor_config.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps({"model_type": "own", "processor_class": "Own", **own}))
    with pytest.raises(BackboneError, match="Can't load"):
        open_captioner(kind, model=str(tmp_path), device="cpu")
    assert not asked


def test_an_unknown_captioner_is_refused():
    with pytest.raises(SettingsError, match="There is no captioner 'blib'"):
        open_captioner("blib")

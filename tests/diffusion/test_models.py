"""Pretrained models behind one interface: what they are told, what they say, and which are refused."""

from __future__ import annotations

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import tiny_diffusion
from attar.diffusion import stock
from attar.diffusion.labels import imagenet as imagenet_labels
from attar.diffusion.models import _known, open_diffusion
from attar.diffusion.placement import pick_precision
from attar.diffusion.sampling import sample
from attar.diffusion.schedule import Schedule
from attar.errors import BackboneError, SettingsError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of a DiT with 3 classes of its own, of Stable Diffusion, and of autoencoders of 4 and 7 channels."""
    folder = tmp_path_factory.mktemp("models")
    with stock.quiet():
        tiny_diffusion.dit_pipeline({0: "cat", 1: "dog, hound", 2: "ship"}).save_pretrained(folder / "dit")
        tiny_diffusion.dit_pipeline(learned=False).save_pretrained(folder / "imagenet")
        tiny_diffusion.stable_diffusion().save_pretrained(folder / "sd")
        torch.manual_seed(7)
        for channels in (4, 7):
            vae = tiny_diffusion.vae(channels)
            nn.init.normal_(vae.decoder.conv_out.weight)
            vae.save_pretrained(folder / f"vae{channels}")
    return folder


@pytest.fixture(scope="module")
def dit(saved):
    return open_diffusion(str(saved / "dit"), device="cpu")


@pytest.fixture(scope="module")
def imagenet(saved):
    return open_diffusion(str(saved / "imagenet"), device="cpu")


@pytest.fixture(scope="module")
def sd(saved):
    return open_diffusion(str(saved / "sd"), device="cpu")


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def test_what_a_model_says_of_itself(dit, imagenet, sd):
    for model in (dit, imagenet, sd):
        assert model.side == 16 and model.latent == (4, 8, 8) and model.dtype == torch.float32
        assert model.placement.endswith("resident on cpu") and model.weight_bytes > 10**5
        assert not any(part.training for part in model.pipeline.components.values() if isinstance(part, nn.Module))
    assert [model.guidance for model in (dit, imagenet, sd)] == [4.0, 4.0, 7.5]
    assert [model.tells_variance for model in (dit, imagenet, sd)] == [True, False, False]
    assert [model.null for model in (dit, imagenet, sd)] == [3, 1000, ""]
    assert len({model.fingerprint for model in (dit, imagenet, sd)}) == 3


def test_the_schedule_is_the_one_trained_with_in_double_precision(dit, sd):
    linear = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    scaled = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    for model, alphas in ((dit, linear), (sd, scaled)):
        np.testing.assert_allclose(model.alphas, alphas, rtol=3e-6)
    assert (dit.final_alpha, dit.offset) == (1.0, 0)
    assert (sd.final_alpha, sd.offset) == (float(sd.alphas[0]), 1)


def test_a_class_is_told_by_its_number_and_none_by_the_next(dit):
    latents, network = noise(3, 4, 8, 8), dit.pipeline.transformer
    told = dit.predict(latents, 481, [2, 0, 1], guided=True)
    times = torch.tensor([481] * 3)
    for numbers, found in (([2, 0, 1], told.conditional), ([3, 3, 3], told.unconditional)):
        with torch.no_grad():
            expected = network(latents, timestep=times, class_labels=torch.tensor(numbers)).sample
        torch.testing.assert_close(found, expected[:, :4], atol=1e-5, rtol=1e-5)
        if numbers != [3, 3, 3]:
            torch.testing.assert_close(told.variance, expected[:, 4:], atol=1e-5, rtol=1e-5)
    alone = dit.predict(latents, 481, [2, 0, 1], guided=False)
    assert alone.unconditional is None
    torch.testing.assert_close(alone.conditional, told.conditional, atol=1e-5, rtol=1e-5)


def test_a_network_without_variances_tells_none(imagenet):
    told = imagenet.predict(noise(2, 4, 8, 8), 3, [999, 0], guided=True)
    assert told.variance is None and told.unconditional.shape == (2, 4, 8, 8)


def test_encoding_takes_the_mode_of_images_at_the_models_size(dit):
    images = torch.rand(3, 3, 13, 13, generator=torch.Generator().manual_seed(2))
    pixels = functional.interpolate(images, (16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        mean, _ = dit.pipeline.vae.quant_conv(dit.pipeline.vae.encoder(2 * pixels - 1)).chunk(2, dim=1)
    torch.testing.assert_close(dit.encode(images), 0.18215 * mean, atol=1e-6, rtol=1e-5)


def test_decoding_undoes_the_scale_and_clips(saved):
    model = open_diffusion(str(saved / "dit"), vae=str(saved / "vae4"), device="cpu")
    latents = noise(3, 4, 8, 8)
    with torch.no_grad():
        raw = model.pipeline.vae.decode(latents / 0.18215).sample / 2 + 0.5
    assert raw.min() < 0 and raw.max() > 1
    torch.testing.assert_close(model.decode(latents), raw.clamp(0, 1), atol=1e-6, rtol=1e-5)


def test_another_autoencoder_is_another_model(saved, dit):
    other = open_diffusion(str(saved / "dit"), vae=str(saved / "vae4"), device="cpu")
    assert other.fingerprint != dit.fingerprint
    with pytest.raises(BackboneError, match="takes latents of 4 channels, and the autoencoder makes 7"):
        open_diffusion(str(saved / "dit"), vae=str(saved / "vae7"), device="cpu")


def test_the_same_files_elsewhere_are_the_same_model(saved, dit, tmp_path):
    shutil.copytree(saved / "dit", tmp_path / "moved")
    assert open_diffusion(str(tmp_path / "moved"), device="cpu").fingerprint == dit.fingerprint


def test_classes_become_numbers_or_prompts(saved, dit, imagenet, sd, tmp_path):
    assert dit.conditions(["a", "hound"], ["Ship", "b"]) == [2, 1]
    assert imagenet.conditions(["n02088364", "x"], ["x", "golden_retriever"]) == [162, 207]
    prompts = sd.conditions(["n02088364", "0", "crane"], ["whatever", "grey_cat", "crane"])
    assert prompts == ["a photo of a beagle", "a photo of a grey cat", "a photo of a crane"]
    with pytest.raises(SettingsError, match='Label "frog" is not one of the 3 classes this model knows'):
        dit.conditions(["frog"], ["frog"])
    (tmp_path / "map.csv").write_text("a,162\nb,n02123045\nc,my cat\n")
    mapped = open_diffusion(str(saved / "sd"), device="cpu", label_map=tmp_path / "map.csv")
    words = [prompt.removeprefix("a photo of a ") for prompt in mapped.conditions(["a", "b", "c", "d"], list("abcd"))]
    assert words == ["beagle", "tabby", "my cat", "d"]


def test_each_prompt_is_embedded_once(sd, monkeypatch):
    sd.embedded.clear()
    embed, asked = sd.pipeline.encode_prompt, []
    monkeypatch.setattr(
        sd.pipeline, "encode_prompt", lambda prompt, *rest, **more: asked.append(prompt) or embed(prompt, *rest, **more)
    )
    for _ in range(2):
        sd.predict(noise(3, 4, 8, 8), 481, ["an ant", "a bee", "an ant"], guided=True)
    assert asked == ["an ant", "a bee", ""]


def test_the_loop_over_stable_diffusion_is_diffusers_own_pipeline(saved, sd):
    diffusers = stock.library("diffusers", "a test")
    options = {"safety_checker": None, "requires_safety_checker": False}
    pipeline = stock.load(diffusers.StableDiffusionPipeline, str(saved / "sd"), absent=BackboneError, **options)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    start, prompts = noise(2, 4, 8, 8), ["a photo of a bee", "a photo of a cow"]
    told = {"guidance_scale": 7.5, "num_inference_steps": 5, "output_type": "latent"}
    expected = pipeline(prompt=prompts, latents=start, **told).images
    found = sample(sd, start, prompts, Schedule(sd.alphas, sd.final_alpha, sd.offset, 5), guidance=7.5)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_model_opens_from_the_hubs_cache(saved, dit, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--owner--dit"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0123456789" * 4)
    shutil.copytree(saved / "dit", place / "snapshots" / ("0123456789" * 4))
    model = open_diffusion("owner/dit", device="cpu")
    assert model.name == "owner/dit" and model.fingerprint == dit.fingerprint


@pytest.mark.parametrize("where", ["name", "vae"])
def test_weights_that_are_not_here_are_one_sentence(saved, tmp_path, monkeypatch, where: str):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError) as refused:
        open_diffusion("some/one" if where == "name" else str(saved / "dit"), vae="some/one", device="cpu")
    told = 'DIVER needs the diffusion weights "some/one"; they are not on this machine.'
    option = {"name": "--model", "vae": "--vae"}[where]
    assert str(refused.value) == f"{told}\nPass {option} PATH or --allow-download."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prediction_type": "v_prediction"}, 'This scheduler predicts "v_prediction"; DIVER needs an epsilon model.'),
        ({"clip_sample": True}, "This scheduler has clip_sample on"),
        ({"thresholding": True}, "This scheduler has thresholding on"),
    ],
)
def test_other_schedulers_are_refused(saved, tmp_path, changes, sentence: str):
    folder = shutil.copytree(saved / "dit", tmp_path / "dit")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(BackboneError, match=sentence):
        open_diffusion(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"_class_name": "FluxPipeline"}, "is a FluxPipeline, and attar knows DiTPipeline and StableDiffusionPipeline"),
        ({"id2label": {"0": "cat", "1": "dog"}}, "knows 3 classes, and the id2label of its model_index.json names 2"),
        ({"id2label": {"0": "cat", "1": "dog", "3": "ship"}}, "can't be read: its classes aren't numbered"),
        ({"id2label": ["cat", "dog", "ship"]}, r'id2label .* can\'t be read: it isn\'t {"0": "name, other name", ...}'),
        ({"id2label": {"0": "cat", "1": 7, "2": "ship"}}, "can't be read: it isn't"),
    ],
)
def test_other_pipelines_and_lists_of_classes_are_refused(saved, tmp_path, changes, sentence: str):
    folder = shutil.copytree(saved / "dit", tmp_path / "dit")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | changes))
    with pytest.raises(BackboneError, match=sentence):
        open_diffusion(str(folder), device="cpu")


def test_a_network_that_knows_no_missing_class_is_refused():
    network = tiny_diffusion.dit(3)
    for block in network.transformer_blocks:
        block.norm1.emb.class_embedder.embedding_table = nn.Embedding(3, 16)
    with pytest.raises(BackboneError, match="no embedding for images without a class, which guidance needs"):
        _known("a model", network, {"id2label": {"0": "a", "1": "b", "2": "c"}})


def test_a_thousand_classes_are_imagenets_only_where_their_names_say_so():
    network, table = tiny_diffusion.dit(1000), imagenet_labels().names
    spelt = {str(index): names[-1].upper() for index, names in enumerate(table)}
    own = {str(index): f"thing {index}" for index in range(1000)}
    for listed in ({}, {"id2label": {}}, {"id2label": spelt}, {"id2label": spelt | dict(list(own.items())[:499])}):
        assert _known("a model", network, listed) is imagenet_labels()
    shuffled = {str(index): names[0] for index, names in enumerate(reversed(table))}
    for listed, index in ((own, 163), (spelt | dict(list(own.items())[:500]), 163), (shuffled, 999)):
        name = "tench" if listed is shuffled else listed["163"]
        assert _known("a model", network, {"id2label": listed}).index(name) == index
    with pytest.raises(BackboneError, match=r"knows 1000 classes, and the id2label .* names 1\."):
        _known("a model", network, {"id2label": {"0": "tench"}})


def test_a_label_map_of_other_classes_is_refused(saved, tmp_path):
    (tmp_path / "map.csv").write_text("cats,cat\nshipz,ship\n")
    for name in ("dit", "sd"):
        model = open_diffusion(str(saved / name), device="cpu", label_map=tmp_path / "map.csv")
        with pytest.raises(SettingsError) as refused:
            model.conditions(["cats", "dog", "ships"], ["cats", "dog", "ships"])
        told = "The label map names 'shipz', which is no class of the set.\nDid you mean ships?"
        assert str(refused.value) == told


def test_the_precision_follows_the_device():
    assert pick_precision("auto", torch.device("cpu")) == torch.float32
    assert pick_precision("auto", torch.device("cuda")) == torch.float16
    assert pick_precision("bf16", torch.device("cpu")) == torch.bfloat16


def test_an_unknown_precision_is_refused(saved):
    with pytest.raises(SettingsError, match="Unknown precision 'fp8'"):
        open_diffusion(str(saved / "dit"), precision="fp8", device="cpu")
    half = open_diffusion(str(saved / "dit"), precision="bf16", device="cpu")
    assert half.dtype == half.pipeline.transformer.dtype == torch.bfloat16
    told = half.predict(half.encode(torch.rand(2, 3, 16, 16)), 500, [0, 1], guided=True)
    assert told.conditional.dtype == torch.float32 and half.decode(noise(1, 4, 8, 8)).dtype == torch.float32

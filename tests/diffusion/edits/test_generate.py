"""Images from prototypes: the table of strengths, diffusers' own pipeline as an oracle, batches, long prompts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from attar.diffusion import stock
from attar.diffusion.edits.generate import Generator, Request, _ddim, image_seed, resized
from attar.diffusion.edits.settings import choose_edits
from attar.errors import BackboneError, SettingsError
from tiny_diffusion import dit_pipeline

CPU = torch.device("cpu")
RELEASED = {  # Stable Diffusion 1.5's scheduler, as its folder says it
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
STRENGTHS = {  # edits.md 7, for 50 steps: steps taken, first timestep, signal, noise
    0.3: (15, 281, 0.7889, 0.6145),
    0.5: (25, 481, 0.5498, 0.8353),
    0.6: (30, 581, 0.4241, 0.9056),
    0.7: (35, 681, 0.3076, 0.9515),
    0.75: (37, 721, 0.2655, 0.9641),
    0.8: (40, 781, 0.2085, 0.9780),
    0.9: (45, 881, 0.1311, 0.9914),
    1.0: (50, 981, 0.0760, 0.9971),
}


def latents(count: int = 3, channels: int = 4) -> torch.Tensor:
    return torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(0))


def requests(count: int = 3, channels: int = 4) -> list[Request]:
    texts = ["a tench in a net", "a church", "two tench"]
    return [Request(latents(count, channels)[n], texts[n], 11 + n) for n in range(count)]


@pytest.fixture(scope="module")
def generator(sd) -> Generator:
    return Generator(choose_edits(model=str(sd), steps=5), CPU)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_strength_is_a_number_of_steps_a_timestep_and_a_share_of_noise(sd, strength: float):
    steps, first, signal, noise = STRENGTHS[strength]
    pipeline = Generator(choose_edits(model=str(sd)), CPU)._pipeline
    pipeline.scheduler = _ddim(RELEASED, "Stable Diffusion 1.5")
    pipeline.scheduler.set_timesteps(50)
    timesteps, taken = pipeline.get_timesteps(50, strength, CPU)
    ones, noises = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    assert (taken, len(timesteps), int(timesteps[0])) == (steps, steps, first)
    assert float(pipeline.scheduler.add_noise(ones, 0 * noises, timesteps[:1])) == pytest.approx(signal, abs=5e-5)
    assert float(pipeline.scheduler.add_noise(0 * ones, noises, timesteps[:1])) == pytest.approx(noise, abs=5e-5)


def test_images_are_those_of_diffusers_own_pipeline(sd, generator):
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    with stock.quiet():
        oracle = StableDiffusionImg2ImgPipeline.from_pretrained(sd, safety_checker=None, requires_safety_checker=False)
    oracle.scheduler = DDIMScheduler.from_config(oracle.scheduler.config, clip_sample=False)
    oracle.set_progress_bar_config(disable=True)
    one = requests()[1]
    with torch.no_grad():
        wanted = oracle(
            prompt=one.text,
            negative_prompt="cartoon, anime, painting",
            image=one.latent[None],
            strength=0.7,
            guidance_scale=10.0,
            num_inference_steps=5,
            generator=torch.Generator().manual_seed(one.seed),
            output_type="np",
        ).images[0]
    np.testing.assert_allclose(generator([one])[0].transpose(1, 2, 0), 255 * wanted, atol=0.51)


def test_a_batch_makes_what_each_image_would_be_alone(generator):
    together = generator(requests()).astype(int)
    alone = np.concatenate([generator([each]) for each in requests()]).astype(int)
    assert np.abs(together - alone).max() <= 1 and len({each.tobytes() for each in together}) == 3


@pytest.mark.parametrize("changed", ["text", "latent", "seed"])
def test_text_latent_and_seed_all_matter(generator, changed: str):
    first, second, _ = requests()
    other = Request(**{**vars(first), changed: getattr(second, changed)})
    assert not np.array_equal(generator([first]), generator([other]))


def test_latents_may_have_any_number_of_channels(wide_sd):
    made = Generator(choose_edits(model=str(wide_sd), steps=4), CPU)(requests(2, channels=8))
    assert made.shape == (2, 3, 16, 16) and not np.array_equal(made[0], made[1])


def test_text_alone_starts_from_stronger_noise(sd):
    first, second, _ = requests()
    alike = Request(second.latent, first.text, first.seed)
    settings = {"model": str(sd), "steps": 4, "strength": 0.5}
    gaps = []
    for control in ("none", "text-only"):
        make = Generator(choose_edits(**settings, control=control), CPU)
        gaps.append(np.abs(make([first]).astype(int) - make([alike]).astype(int)).mean())
    assert gaps[1] < gaps[0]


def test_the_schedulers_own_sampler_makes_other_images(sd, generator):
    made = Generator(choose_edits(model=str(sd), steps=5, scheduler="own"), CPU)(requests())
    assert not np.array_equal(made, generator(requests()))
    again = Generator(choose_edits(model=str(sd), steps=5, scheduler="own"), CPU)
    assert np.array_equal(again(requests()), made)


def test_images_are_resized_to_the_size_of_the_set(sd, generator):
    small = Generator(choose_edits(model=str(sd), steps=5, out_size=7), CPU)(requests(1))
    assert np.array_equal(small[0], resized(generator(requests(1))[0].transpose(1, 2, 0), 7))


def test_short_texts_are_encoded_as_diffusers_does(generator):
    pipeline = generator._pipeline
    text, negative = generator._embeddings(["a church"])
    wanted = pipeline.encode_prompt("a church", CPU, 1, True, "cartoon, anime, painting")
    torch.testing.assert_close(text, wanted[0])
    torch.testing.assert_close(negative, wanted[1])


LONG = "church " * 20  # of 140 tokens: the tiny vocabulary has a token a letter


def test_a_long_text_is_cut_or_read_in_chunks_each_between_its_marks(sd, generator):
    assert generator.chunks(LONG) == 1
    whole = Generator(choose_edits("vlcp", model=str(sd), steps=5), CPU)
    assert whole.chunks(LONG) == 2 and whole.chunks("a church") == 1 and whole.chunks("") == 1
    text, negative = whole._embeddings([LONG])
    assert text.shape == negative.shape == (1, 154, 32)
    words = whole._pipeline.tokenizer(LONG, add_special_tokens=False).input_ids
    encoder = whole._pipeline.text_encoder
    for number, piece in enumerate([words[:75], words[75:]]):
        ids = torch.tensor([[512, *piece, 513]])  # what follows the end doesn't reach back to it
        part = text[:, 77 * number : 77 * number + len(piece) + 2]
        torch.testing.assert_close(part, encoder(ids)[0], atol=1e-5, rtol=1e-5)
    empty = encoder(torch.tensor([[512, 513]]))[0]
    torch.testing.assert_close(negative[:, 77:79], empty, atol=1e-5, rtol=1e-5)
    cut = Request(latents()[0], LONG[: 75 + 12], 3)
    assert not np.array_equal(whole([Request(latents()[0], LONG, 3)]), whole([cut]))


def test_the_seed_of_an_image_is_that_of_its_place():
    digest = hashlib.sha256(b"edits|42|n01440764|3|0").hexdigest()
    assert image_seed(42, "n01440764", 3, 0) == int(digest[:16], 16) % 2**63
    places = [(42, "a", 0, 0), (42, "a", 0, 1), (42, "a", 1, 0), (42, "b", 0, 0), (43, "a", 0, 0)]
    assert len({image_seed(*place) for place in places}) == 5


def test_a_checkpoint_with_another_schedule_is_refused_for_ddim():
    with pytest.raises(BackboneError, match=r"steps_offset 0, and EDITS samples with 1\.\nUse --set scheduler=own"):
        _ddim({**RELEASED, "steps_offset": 0}, "mine")
    with pytest.raises(BackboneError, match="prediction_type v_prediction"):
        _ddim({**RELEASED, "prediction_type": "v_prediction"}, "mine")


def test_models_that_are_absent_or_of_another_kind_are_refused(tmp_path):
    with pytest.raises(BackboneError) as caught:
        Generator(choose_edits(), CPU)
    assert str(caught.value) == (
        'EDITS needs "stable-diffusion-v1-5/stable-diffusion-v1-5" (diffusion model); it is not on this machine.\n'
        "Pass a path or --allow-download."
    )
    with stock.quiet():
        dit_pipeline({0: "tench", 1: "church"}).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="is a DiTPipeline, and EDITS needs a StableDiffusionPipeline"):
        Generator(choose_edits(model=str(tmp_path)), CPU)


def test_places_that_do_not_exist_here_are_refused(sd):
    with pytest.raises(SettingsError, match="No accelerator found: offloading is only for GPUs"):
        Generator(choose_edits(model=str(sd)), CPU, offload="model")
    with pytest.raises(SettingsError, match="There is no precision 'fp8'"):
        Generator(choose_edits(model=str(sd)), CPU, precision="fp8")

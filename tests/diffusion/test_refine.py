"""From a distilled set to a refined one, through a tiny diffusion model: finished, interrupted, killed, refused."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import attar
from attar.diffusion import dive as diving
from attar.diffusion.dive import dive, image_seed
from attar.diffusion.models import open_diffusion
from attar.diffusion.refine_settings import RefineSettings
from attar.diffusion.sampling import sample
from attar.diffusion.schedule import Schedule
from attar.distilled import write
from attar.errors import SettingsError
from attar.progress import Progress
from small import CLASSES, coloured, manifest
from tiny_diffusion import dit_pipeline

COUNT = 8  # images: three of two classes, two of the third
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


class Watcher(Progress):
    """Counts the images; presses Ctrl-C or fails once some are there."""

    def __init__(self, *, press_at: int = 0, fail_at: int = 0):
        self.done, self.notes, self.plans, self.pictures = [], [], [], []
        self.press_at, self.fail_at = press_at, fail_at

    def advance(self, task, done, total, figures=None):
        self.done.append(done)
        if done == self.press_at:
            signal.raise_signal(signal.SIGINT)
        if done == self.fail_at:
            raise MemoryError("killed")

    def note(self, text):
        self.notes.append(text)

    def plan(self, text):
        self.plans.append(text)

    def picture(self, path):
        self.pictures.append(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A DiT of three classes, in the hub's layout."""
    place = tmp_path_factory.mktemp("model") / "tiny-dit"
    dit_pipeline(dict(enumerate(CLASSES))).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def model(folder):
    return open_diffusion(str(folder), device="cpu")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A distilled set of 11 pixels, with weights and hashes of training images."""
    pixels = np.random.default_rng(7).integers(0, 256, (COUNT, 3, 11, 11), dtype=np.uint8)
    record = manifest(image_side=11, ipc=2)
    place = tmp_path_factory.mktemp("given") / "sfm.attar"
    hashes = [bytes([number] * 32) for number in (3, 5)]
    return write(place, pixels, LABELS, manifest=record, weights=np.arange(1.0, 9).tolist(), train_hashes=hashes)


def settings(**changes) -> RefineSettings:
    return attar.choose_refinement(**({"steps": 5, "t_f": 3, "window_high": 4, "window_low": 2} | changes))


def refined(given, model, out, *, progress=None, chosen=None, **options):
    return attar.refine(given, model, out, settings=chosen or settings(), progress=progress or Watcher(), **options)


def pngs(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("images/*/*.png")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, given, model) -> dict[str, bytes]:
    """The images of a run in batches of three that nothing interrupted."""
    return pngs(refined(given, model, tmp_path_factory.mktemp("whole") / "x", batch=3).path)


def test_the_plain_loop_is_diffusers_own_pipeline(folder, model):
    from diffusers import DiTPipeline

    theirs = DiTPipeline.from_pretrained(folder, local_files_only=True)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn((2, 4, 8, 8), generator=generator)
    labels = [2, 0]
    schedule = Schedule(model.alphas, model.final_alpha, model.offset, 7)
    ours = model.decode(sample(model, noise, labels, schedule, guidance=4.0))
    # the stock call knows one number alone for "no class", and it is not this model's
    null = torch.nn.Embedding(1001, 16)
    for block in theirs.transformer.transformer_blocks:
        embedder = block.norm1.emb.class_embedder
        grown = null.weight.detach().clone()
        grown[: len(embedder.embedding_table.weight)] = embedder.embedding_table.weight.detach()
        grown[1000] = embedder.embedding_table.weight.detach()[3]
        embedder.embedding_table = torch.nn.Embedding.from_pretrained(grown)
    images = theirs(
        labels, guidance_scale=4.0, generator=torch.Generator().manual_seed(5), num_inference_steps=7, output_type="pt"
    ).images
    assert (ours - images).abs().max() < 1e-6


def test_a_refined_set_says_how_it_was_made(tmp_path, given, model, whole):
    watcher = Watcher()
    made = refined(given, model, tmp_path / "x.attar", progress=watcher, batch=3)
    made.verify()
    assert pngs(made.path) == whole and len(whole) == COUNT == len(set(whole.values()))
    assert made.labels.tolist() == LABELS.tolist() and made.images.shape == (COUNT, 3, 16, 16)
    assert made.weights.tolist() == list(range(1, 9))
    record, before = made.manifest, given.manifest
    assert record.method == "diver" and record.ipc == 2 and record.image_side == 16
    assert record.settings["refined"] == "sfm" and record.settings["cfg"] == 4.0 and record.settings["steps"] == 5
    assert record.backbones[1].name.endswith("/tiny-dit") and len(record.backbones) == 2
    assert record.backbones[1].fingerprint == model.fingerprint and record.backbones[0] == before.backbones[0]
    assert record.data == before.data and record.train_images == before.train_images
    assert made.train_hashes.tolist() == given.train_hashes.tolist()
    assert watcher.done == [3, 6, 8]
    assert "8 images of 3 classes, 5 steps (10 passes) each, 3 at a time" in watcher.plans[0]
    assert (
        record.scores["seconds_per_image"] > 0 and 0 < record.scores["plain_share"] < 1 and record.scores["moved"] > 0
    )


def test_each_line_tells_input_output_seed_and_latents(tmp_path, given, model):
    made = refined(given, model, tmp_path / "x", batch=3)
    lines = [json.loads(line) for line in (tmp_path / "x.run" / "refined.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines[:4]] == ["ant/00000.png", "bee/00000.png", "cow/00000.png", "ant/00001.png"]
    for number, line in enumerate(lines):
        file = tmp_path / "x.run" / "refined" / line["file"]
        assert line["output"] == hashlib.sha256(file.read_bytes()).hexdigest()
        pixels = given.images[number]
        assert line["input"] == hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        assert line["label"] == LABELS[number] and set(line["std"]) == {"4", "2", "0"}
        text = f"diver|3407|{LABELS[number]}|{number // 3}|0"
        assert line["seed"] == int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 2**63
    assert made.manifest.scores["moved"] == pytest.approx(np.mean([line["moved"] for line in lines]))


def test_what_moved_and_how_spread_latents_are(given, model):
    images, seeds = list(given.images[:2]), [1, 2]
    found = dive(model, images, [0, 1], seeds, settings(cfg=1.0))
    z0 = model.encode(torch.from_numpy(given.images[:2]).float() / 255)
    alpha = model.alphas[1000 // 5 * 2]
    noise = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    seen = []
    sample(model, (alpha.sqrt() * z0 + (1 - alpha).sqrt() * noise).float(), [0, 1],
           Schedule(model.alphas, 1.0, 0, 5), guidance=1.0, watch=lambda k, z: seen.append(z))  # fmt: skip
    assert [row["4"] for row in found.stds] == pytest.approx([float(z.std()) for z in seen[1]], rel=1e-4)
    unpulled = dive(model, images, [0, 1], seeds, settings(cfg=1.0, sg=False))
    expected = [float((end - start).square().mean().sqrt()) for end, start in zip(seen[-1], z0, strict=True)]
    assert unpulled.moved == pytest.approx(expected, rel=1e-4)
    assert unpulled.moved != found.moved


def test_the_loop_is_a_scheduler_that_pulls(given, folder, model):
    """The same as a subclass of diffusers' scheduler, which sees the latents before each step."""
    from diffusers import DDIMScheduler

    class SemanticGuidanceDDIM(DDIMScheduler):
        def step(self, model_output, timestep, sample, **options):
            k = 5 - self.timesteps.tolist().index(int(timestep))
            found = super().step(model_output, timestep, sample, **options)
            if 2 < k <= 4:
                now = self.alphas_cumprod[timestep]
                after = self.alphas_cumprod[timestep - 200]
                sigma = ((1 - after) / (1 - now) * (1 - now / after)).sqrt()
                found.prev_sample = found.prev_sample - 0.1 * sigma * (sample - self.inherited)
            return found

    scheduler = SemanticGuidanceDDIM(beta_schedule="linear", clip_sample=False)
    scheduler.set_timesteps(5)
    scheduler.inherited = z0 = model.encode(torch.from_numpy(given.images[:3]).float() / 255)
    noise = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2, 3)])
    latents = scheduler.add_noise(z0, noise, torch.tensor(400))
    for timestep in scheduler.timesteps:
        told = model.predict(latents, int(timestep), [0, 1, 2], guided=True)
        blended = told.unconditional + 4.0 * (told.conditional - told.unconditional)
        latents = scheduler.step(blended, timestep, latents).prev_sample
    theirs = (model.decode(latents) * 255).round().to(torch.uint8).numpy()
    ours = dive(model, list(given.images[:3]), [0, 1, 2], [1, 2, 3], settings(cfg=4.0))
    assert np.abs(theirs.astype(int) - ours.images).max() <= 1
    moved = [float((end - start).square().mean().sqrt()) for end, start in zip(latents, z0, strict=True)]
    assert ours.moved == pytest.approx(moved, rel=2e-6)


def test_images_do_not_hang_on_the_batch(tmp_path, given, model):
    one = dive(model, [given.images[4]], [1], [9], settings(cfg=4.0))
    four = dive(model, list(given.images[2:6]), [2, 0, 1, 2], [7, 8, 9, 10], settings(cfg=4.0))
    assert one.moved[0] == pytest.approx(four.moved[2], rel=1e-5)
    assert np.abs(one.images[0].astype(int) - four.images[2]).max() <= 1
    again = dive(model, [given.images[4]], [1], [9], settings(cfg=4.0))
    assert np.array_equal(one.images, again.images)


def test_no_strength_is_inheritance_alone(given, model):
    images = list(given.images[:2])
    alone = dive(model, images, [0, 1], [3, 4], settings(cfg=4.0, sg=False))
    none = dive(model, images, [0, 1], [3, 4], settings(cfg=4.0, gamma=0.0))
    pulled = dive(model, images, [0, 1], [3, 4], settings(cfg=4.0, gamma=0.5))
    assert np.array_equal(alone.images, none.images) and alone.moved == none.moved
    assert pulled.moved != none.moved


@pytest.mark.parametrize(("name", "value"), [("si", False), ("sf", False), ("sigma", "marginal"), ("sigma", "learned"),
                                             ("target", "renoised"), ("target", "x0hat"), ("start_index", 3),
                                             ("t_f", 2), ("cfg", 1.0), ("window_low", 3)])  # fmt: skip
def test_every_setting_changes_the_images(given, model, name, value):
    images = list(given.images[:2])
    base, other = (
        dive(model, images, [0, 1], [3, 4], settings(**({"cfg": 4.0, "gamma": 0.5} | changed)))
        for changed in ({}, {name: value})
    )
    assert base.moved != other.moved


def test_plain_samples_know_nothing_of_the_images(given, model):
    chosen = settings(cfg=4.0, si=False, sg=False)
    one, other = (dive(model, [given.images[n]], [1], [3], chosen) for n in (0, 1))
    assert np.array_equal(one.images, other.images)


def test_the_round_trip_alone_is_the_autoencoders(given, model, monkeypatch):
    monkeypatch.setattr(diving, "sample", None)
    found = dive(model, list(given.images[:2]), [0, 1], [3, 4], settings(vae_only=True, steps=1))
    expected = model.decode(model.encode(torch.from_numpy(given.images[:2]).float() / 255))
    assert np.array_equal(found.images, (expected * 255).round().byte().numpy())
    assert found.moved == [0.0, 0.0] and list(found.stds[0]) == ["0"]


def test_images_are_resized_last(given, model):
    whole, small = (dive(model, [given.images[0]], [0], [3], settings(cfg=1.0, out_size=side)) for side in (None, 5))
    page = Image.fromarray(whole.images[0].transpose(1, 2, 0)).resize((5, 5), Image.Resampling.BICUBIC)
    assert small.images.shape == (1, 3, 5, 5)
    assert np.abs(np.asarray(page).transpose(2, 0, 1).astype(int) - small.images[0]).max() <= 2


def test_replicas_differ_and_lie_side_by_side(tmp_path, given, model, whole):
    made = refined(given, model, tmp_path / "x", chosen=settings(replicas=2), batch=5)
    assert made.labels.tolist() == np.repeat(LABELS, 2).tolist() and made.manifest.ipc == 4
    assert made.weights.tolist() == np.repeat(np.arange(1, 9), 2).tolist()
    assert len({image.tobytes() for image in made.images}) == 2 * COUNT
    first = attar.load(tmp_path / "x").images[::2].astype(int)
    once = refined(given, model, tmp_path / "y").images
    assert np.abs(first - once).max() <= 1  # replica 0 has the noise of a set without replicas


def test_seeds_tell_every_image_apart():
    seeds = {image_seed(run, label, place, replica) for run in (0, 1) for label in range(5) for place in range(5)
             for replica in range(3)}  # fmt: skip
    assert len(seeds) == 150 and all(0 <= seed < 2**63 for seed in seeds)


def test_a_finished_run_is_not_redone(tmp_path, given, model):
    out = tmp_path / "x"
    refined(given, model, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    watcher = Watcher()
    refined(given, model, out, progress=watcher)
    assert watcher.done == [] and any("nothing to do" in note for note in watcher.notes)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("how", ["press_at", "fail_at"])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, given, model, whole, how):
    out = tmp_path / "x"
    with pytest.raises((KeyboardInterrupt, MemoryError)) as stopped:
        refined(given, model, out, progress=Watcher(**{how: 3}), batch=3)
    assert not out.exists()
    if how == "press_at":
        assert str(stopped.value) == "The same command again continues after 3 of 8 images."
    watcher = Watcher()
    made = refined(given, model, out, progress=watcher, batch=3)
    assert watcher.done == [6, 8] and watcher.notes[0] == "Continuing after 3 of 8 images."
    assert pngs(made.path) == whole


def test_cut_lines_and_altered_files_are_made_again(tmp_path, given, model, whole):
    out, run = tmp_path / "x", tmp_path / "x.run"
    with pytest.raises(MemoryError):
        refined(given, model, out, progress=Watcher(fail_at=6), batch=3)
    log = run / "refined.jsonl"
    log.write_text(log.read_text()[:-20])  # the sixth line is cut
    (run / "refined" / "bee" / "00000.png").write_bytes(b"altered")
    (run / "refined" / "cow" / "00000.png").unlink()
    watcher = Watcher()
    made = refined(given, model, out, progress=watcher, batch=3)
    assert watcher.done == [6, 8] and watcher.notes[0] == "Continuing after 3 of 8 images."
    assert {name: np.abs(_pixels(data) - _pixels(whole[name])).max() for name, data in pngs(made.path).items()} == (
        pytest.approx(dict.fromkeys(whole, 0), abs=1)
    )
    assert all(json.loads(line)["output"] for line in log.read_text().splitlines())


def _pixels(data: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def test_another_run_in_the_way_is_refused_or_replaced(tmp_path, given, model, whole):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        refined(given, model, out, progress=Watcher(press_at=3), batch=3, chosen=settings(gamma=0.5))
    with pytest.raises(SettingsError, match=r"gamma 0.5 -> 0.1"):
        refined(given, model, out)
    assert pngs(refined(given, model, out, batch=3, restart=True).path) == whole
    with pytest.raises(SettingsError, match=r"seed 3407 -> 1"):
        refined(given, model, out, chosen=settings(seed=1))
    other = refined(given, model, tmp_path / "y", chosen=settings(vae_only=True))
    with pytest.raises(SettingsError, match="refined_fingerprint"):
        refined(other, model, out)


def test_too_large_a_batch_is_halved(tmp_path, given, model, whole, monkeypatch):
    real = diving.dive

    def greedy(model, images, *rest):
        if len(images) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(model, images, *rest)

    monkeypatch.setattr("attar.diffusion.refining.dive", greedy)
    watcher = Watcher()
    made = refined(given, model, tmp_path / "x", batch=7, progress=watcher)
    assert watcher.done == [3, 6, 8] and pngs(made.path) == whole
    assert "Out of memory with 7 images at a time; going on with 3." in watcher.notes

    def full(*given):
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr("attar.diffusion.refining.dive", full)
    with pytest.raises(SettingsError, match="One image of 16 pixels doesn't fit into the memory of cpu"):
        refined(given, model, tmp_path / "y")
    monkeypatch.setattr("attar.diffusion.refining.dive", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        refined(given, model, tmp_path / "z")


def test_any_images_can_be_refined(tmp_path, model):
    source = coloured(2)
    made = refined(source, model, tmp_path / "x", chosen=settings(vae_only=True))
    record = made.manifest
    assert record.settings["refined"] == "images" and record.ipc == 2 and len(record.backbones) == 1
    assert record.data.fingerprint == source.fingerprint and record.train_images == len(source)
    assert len(made.train_hashes) == len(source)
    squares = torch.stack([torch.from_numpy(image[:, :, 1:10].copy()) for _, image in source.read(range(6))])
    expected = model.decode(model.encode(squares.float() / 255))
    assert np.abs(made.images.astype(int) - (expected * 255).round().numpy()).max() <= 1


def test_what_cannot_be_refined_is_one_sentence(tmp_path, given, model):
    with pytest.raises(SettingsError, match="would replace the set"):
        refined(given, model, given.path)
    with pytest.raises(SettingsError, match="batch of 0 images"):
        refined(given, model, tmp_path / "x", batch=0)
    assert not (tmp_path / "x.run").exists()


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        (
            {"steps": 30, "window_high": 40, "window_low": 25},
            "Window [40, 25] is not inside 1..30 with 40 > 25.",
            "--set",
        ),
        ({"window_high": 25}, "Window [25, 25] is not inside 1..50 with 25 > 25.", "--set"),
        ({"window_low": 0}, "Window [40, 0] is not inside 1..50 with 40 > 0.", "--set"),
        ({"t_f": 51}, "t_f 51 is beyond the 50 steps", "--set"),
        ({"start_index": 51}, "start_index 51 is beyond the 50 steps", "--set"),
        ({"vaeonly": 1}, "vaeonly is no setting of a refinement", "Did you mean vae_only?"),
        ({"sigma": "large"}, "setting sigma = 'large': input should be 'posterior', 'marginal' or 'learned'", "--set"),
        ({"preset": "papr"}, "there is no preset 'papr' of a refinement", "Did you mean paper?"),
    ],
)
def test_settings_out_of_range_are_one_sentence(changes, message, hint):
    with pytest.raises(SettingsError) as refused:
        attar.choose_refinement(**changes)
    assert refused.value.message == message
    assert hint in refused.value.hint


def test_what_is_not_used_is_not_refused():
    assert attar.choose_refinement(steps=20, t_f=10, sf=False).window == (20, 0)
    assert attar.choose_refinement(steps=20, t_f=10, sg=False).window == (0, 0)
    assert attar.choose_refinement(steps=20, si=False, sg=False).first == 20
    assert attar.choose_refinement(steps=3, vae_only=True).vae_only
    assert attar.choose_refinement(start_index=25).window == (40, 25)  # what lies above the start is never reached


def test_presets_and_file_and_flags_add_up(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("gamma = 0.02\nt_f = 9\n")
    assert attar.choose_refinement() == attar.choose_refinement("paper") == RefineSettings()
    chosen = attar.choose_refinement("fast", file, t_f=8, cfg=None)
    assert (chosen.steps, chosen.gamma, chosen.t_f, chosen.cfg) == (20, 0.02, 8, None)


def test_other_numbers_of_steps_keep_the_authors_shares():
    chosen = attar.choose_refinement(steps=20)
    assert (chosen.t_f, chosen.window) == (10, (16, 10))
    assert attar.choose_refinement(steps=20, t_f=7).t_f == 7
    assert attar.choose_refinement(steps=2).window == (2, 1)


def test_more_steps_than_the_model_has_leave_no_run_behind(tmp_path, given, model):
    with pytest.raises(SettingsError, match="steps are not between 1 and the 1000 timesteps"):
        refined(given, model, tmp_path / "x", chosen=attar.choose_refinement(steps=2000))
    assert len(refined(given, model, tmp_path / "x")) == COUNT


def test_a_model_that_moved_is_the_same_model(tmp_path, given, folder):
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(folder, here)
    made = refined(given, open_diffusion(str(here), device="cpu"), tmp_path / "x")
    here.rename(there)
    watcher = Watcher()
    again = refined(given, open_diffusion(str(there), device="cpu"), tmp_path / "x", progress=watcher)
    assert again.manifest == made.manifest and any("nothing to do" in note for note in watcher.notes)


def test_the_learned_sigma_needs_variances(tmp_path, given):
    dit_pipeline(dict(enumerate(CLASSES)), learned=False).save_pretrained(tmp_path / "model")
    plain = open_diffusion(str(tmp_path / "model"), device="cpu")
    with pytest.raises(SettingsError, match="tells no variances"):
        refined(given, plain, tmp_path / "x", chosen=settings(sigma="learned"))
    assert math.isfinite(refined(given, plain, tmp_path / "x").manifest.scores["moved"])

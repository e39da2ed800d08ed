"""From images to a distilled set: finished, interrupted, killed, resumed, refused."""

from __future__ import annotations

import errno
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import attar
from attar.distilled.journey import read_journey
from attar.errors import ArtefactError, ImageError, SettingsError
from attar.progress import Progress
from attar.run import Run
from attar.synthesis import choose_settings, distillation, steps
from attar.synthesis.real import view_policy
from small import CLASSES, coloured, small_backbone, write_folder

STEPS = 12


class Watcher(Progress):
    """Counts the steps; presses Ctrl-C or fails in the middle of one."""

    def __init__(self, *, press_at: int = 0, fail_at: int = 0):
        self.steps, self.notes, self.plans, self.press_at, self.fail_at = [], [], [], press_at, fail_at

    def advance(self, task, done, total, figures=None):
        if task != "distilling":
            return
        self.steps.append(done)
        if done == self.press_at:
            signal.raise_signal(signal.SIGINT)
        if done == self.fail_at:
            raise MemoryError("killed")

    def note(self, text):
        self.notes.append(text)

    def plan(self, text):
        self.plans.append(text)


def settings(**changes):
    return choose_settings(
        **({"steps": STEPS, "grow_every": 3, "views": 2, "ipc": 2, "noise": 0.5, "lr": 0.05} | changes)
    )


def distilled(out: Path, *, source=None, progress=None, chosen=None, **options):
    return attar.distill(
        source or coloured(5),
        small_backbone(),
        out,
        settings=chosen or settings(),
        device="cpu",
        progress=progress or Watcher(),
        **options,
    )


def pngs(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("images/*/*.png")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The images of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "x.attar"
    distilled(out)
    return pngs(out)


def test_a_run_makes_a_set_that_says_how_it_was_made(tmp_path, whole):
    watcher = Watcher()
    made = distilled(tmp_path / "x.attar", progress=watcher)
    made.verify()
    assert pngs(made.path) == whole and len(whole) == 6
    assert made.classes == CLASSES and made.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert made.images.shape == (6, 3, 8, 8)
    record = made.manifest
    assert record.settings["steps"] == STEPS and record.settings["backbone"] == "small-0" and record.ipc == 2
    assert record.seeds == {"distill": 3407} and record.train_images == 15
    assert record.backbones[0].fingerprint == small_backbone().fingerprint
    assert record.data.fingerprint == coloured(5).fingerprint
    assert -1 <= record.scores["worst_class"] <= record.scores["cosine"] <= 1
    assert watcher.steps == list(range(1, STEPS + 1)) and len(watcher.plans) == 1
    run = tmp_path / "x.attar.run"
    assert {path.name for path in run.iterdir()} >= {
        "settings.toml",
        "log.jsonl",
        "checkpoint.json",
        "checkpoint",
        "journey",
        "pictures",
    }
    assert len(list(run.glob("pictures/*.png"))) == STEPS


def test_the_images_come_closer_to_the_real_means(tmp_path):
    few = distilled(tmp_path / "few", chosen=settings(steps=1, target="means")).manifest.scores["cosine"]
    many = distilled(tmp_path / "many", chosen=settings(steps=150, target="means")).manifest.scores["cosine"]
    assert many > 0.9 and many > few + 0.1


def test_a_finished_run_is_not_redone(tmp_path):
    out = tmp_path / "x"
    distilled(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    watcher = Watcher()
    assert len(distilled(out, progress=watcher)) == 6
    assert watcher.steps == [] and any("finished" in note for note in watcher.notes)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("step", [1, 7, STEPS])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, whole, step: int):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        distilled(out, progress=Watcher(press_at=step))
    assert not out.exists()
    watcher = Watcher()
    distilled(out, progress=watcher)
    assert watcher.steps == list(range(step + 1, STEPS + 1))
    assert pngs(out) == whole


def test_a_killed_run_goes_on_from_an_older_checkpoint_to_the_same_bytes(tmp_path, whole, monkeypatch):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        distilled(out, progress=Watcher(press_at=4))
    with pytest.raises(MemoryError):
        distilled(out, progress=Watcher(fail_at=11))  # its log is ahead of the checkpoint
    watcher = Watcher()
    monkeypatch.setattr(steps, "_LOG_EVERY", 1)
    distilled(out, progress=watcher)
    assert watcher.steps == list(range(5, STEPS + 1))
    assert pngs(out) == whole
    logged = [json.loads(line)["step"] for line in (tmp_path / "x.run" / "log.jsonl").read_text().splitlines()]
    assert logged == sorted(set(logged)) and logged[-1] == STEPS - 1


def test_the_journey_ends_in_the_set_itself(tmp_path):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        distilled(out, progress=Watcher(press_at=4))
    made = distilled(out)
    frames = read_journey(Run.beside(out).journey)
    assert [frame.step for frame in frames] == list(range(1, STEPS + 1))
    off = np.abs(frames[-1].images.astype(float) - made.images)
    assert frames[-1].images.shape == made.images.shape and off.mean() < 8  # JPEG's losses on noisy pixels
    assert np.abs(frames[0].images.astype(float) - made.images).mean() > 2 * off.mean()


def test_checkpoints_come_by_the_clock(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(steps, "_CHECKPOINT_SECONDS", -1)
    with pytest.raises(MemoryError):
        distilled(tmp_path / "x", progress=Watcher(fail_at=9))
    watcher = Watcher()
    distilled(tmp_path / "x", progress=watcher)
    assert watcher.steps == list(range(9, STEPS + 1)) and pngs(tmp_path / "x") == whole


def test_a_full_disk_at_the_end_costs_no_step(tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:

        def fail(*arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("attar.distilled.write", fail)
        with pytest.raises(OSError, match="No space"):
            distilled(tmp_path / "x")
    watcher = Watcher()
    distilled(tmp_path / "x", progress=watcher)
    assert watcher.steps == [] and pngs(tmp_path / "x") == whole


def test_other_settings_are_refused_with_the_difference_and_restart_starts_afresh(tmp_path):
    out = tmp_path / "x"
    distilled(out)
    before = pngs(out)
    with pytest.raises(SettingsError, match=r"lr 0\.05 -> 0\.1, steps 12 -> 13\."):
        distilled(out, chosen=settings(steps=13, lr=0.1))
    assert pngs(out) == before
    watcher = Watcher()
    made = distilled(out, chosen=settings(steps=13, lr=0.1), restart=True, progress=watcher)
    assert watcher.steps == list(range(1, 14)) and made.manifest.settings["steps"] == 13
    assert pngs(out) != before


def test_other_images_and_another_backbone_are_refused(tmp_path):
    distilled(tmp_path / "x")
    with pytest.raises(SettingsError, match="data_fingerprint"):
        distilled(tmp_path / "x", source=coloured(5, seed=1))
    with pytest.raises(SettingsError, match="backbone 'small-0' -> 'small-1', backbone_fingerprint"):
        attar.distill(coloured(5), small_backbone(1), tmp_path / "x", settings=settings(), device="cpu")


def test_a_set_that_another_run_left_is_refused_and_untouched(tmp_path):
    out = tmp_path / "x"
    distilled(out)
    before = pngs(out)
    (tmp_path / "x.run").rename(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="set with other settings"):
        distilled(out, chosen=settings(steps=13))
    assert pngs(out) == before


def test_a_foreign_folder_is_refused_before_the_work_begins(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"x")
    watcher = Watcher()
    for restart in (False, True):
        with pytest.raises(ArtefactError, match="is not a distilled set"):
            distilled(tmp_path / "photos", progress=watcher, restart=restart)
    assert watcher.steps == [] and [path.name for path in tmp_path.rglob("*")] == ["photos", "one.jpg"]


@pytest.mark.parametrize("where", [{"chunk": 1}, {"chunk": 5}, {"memory": 40_000}])
def test_chunk_and_memory_change_nothing_but_the_last_bit(tmp_path, whole, where):
    made = distilled(tmp_path / "x", **where)
    (tmp_path / "plain").mkdir()
    for name, content in whole.items():
        (tmp_path / "plain" / Path(name).name).write_bytes(content)
        expected = np.asarray(Image.open(tmp_path / "plain" / Path(name).name)).astype(int)
        got = np.asarray(Image.open(made.path / name)).astype(int)
        assert np.abs(got - expected).max() <= 1


def test_where_it_runs_may_change_on_the_way(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path / "x", progress=Watcher(press_at=5), chunk=3)
    watcher = Watcher()
    distilled(tmp_path / "x", progress=watcher, memory=10**9)
    assert watcher.steps[0] == 6


def test_memory_makes_chunks(tmp_path):
    watcher = Watcher()
    distilled(tmp_path / "x", progress=watcher, memory=40_000)
    assert "two passes" in watcher.plans[0]


def test_memory_that_holds_not_one_view_is_refused_with_what_it_takes(tmp_path):
    with pytest.raises(SettingsError, match="One view through small-0 takes"):
        distilled(tmp_path / "x", memory=1)


def test_two_backbones_share_the_images_and_each_has_its_say(tmp_path):
    first, second = small_backbone(0), small_backbone(1)
    both = attar.distill(coloured(5), [first, second], tmp_path / "both", settings=settings(), device="cpu")
    scores, record = both.manifest.scores, both.manifest.settings
    assert [origin.name for origin in both.manifest.backbones] == ["small-0", "small-1"]
    assert record["backbone"] == "small-0+small-1"
    assert scores["cosine"] == min(scores["small-0.cosine"], scores["small-1.cosine"])
    for single in (first, second):
        alone = attar.distill(coloured(5), single, tmp_path / single.name, settings=settings(), device="cpu")
        assert not np.array_equal(alone.images, both.images)
    with pytest.raises(SettingsError, match="given twice"):
        attar.distill(coloured(5), [first, first], tmp_path / "x", settings=settings(), device="cpu")


def test_a_run_on_two_backbones_that_was_interrupted_goes_on_to_the_same_bytes(tmp_path):
    networks = [small_backbone(0), small_backbone(1)]
    whole = attar.distill(coloured(5), networks, tmp_path / "whole", settings=settings(), device="cpu")
    with pytest.raises(KeyboardInterrupt):
        stop = Watcher(press_at=7)
        attar.distill(coloured(5), networks, tmp_path / "cut", settings=settings(), device="cpu", progress=stop)
    again = attar.distill(coloured(5), networks, tmp_path / "cut", settings=settings(), device="cpu")
    assert pngs(again.path) == pngs(whole.path)


def test_images_of_sub_centres_carry_the_shares_of_their_clusters(tmp_path):
    chosen = settings(method="sfm-sub", ipc=2, equal_clusters=False)
    made = distilled(tmp_path / "free", chosen=chosen, source=coloured(7))
    assert made.weights.reshape(3, 2).sum(1) == pytest.approx([2, 2, 2])
    equal = distilled(tmp_path / "equal", chosen=settings(method="sfm-sub", ipc=2), source=coloured(7))
    assert equal.weights.tolist() == [1.0] * 6


def test_a_refused_run_reads_no_image(tmp_path):
    source = coloured(5)
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path / "x", progress=Watcher(press_at=3), chosen=settings(flip=True))
    source._decode = None  # not to be called
    with pytest.raises(SettingsError, match="steps"):
        distilled(tmp_path / "x", source=source, chosen=settings(steps=99, flip=True))


def test_two_backbones_of_one_name_are_told_apart(tmp_path):
    twins = [small_backbone(0), replace(small_backbone(1), name="small-0")]
    made = attar.distill(coloured(5), twins, tmp_path / "x", settings=settings(), device="cpu")
    assert [origin.name for origin in made.manifest.backbones] == ["small-0", "small-0#2"]
    assert {"small-0.cosine", "small-0#2.cosine"} <= made.manifest.scores.keys()


def test_groups_belong_to_what_decides_the_result(tmp_path):
    source, chosen = coloured(6), settings(group_balanced=True, target="means")
    with pytest.raises(SettingsError, match="need images with groups"):
        distilled(tmp_path / "x", source=source, chosen=chosen)
    source.group_names = ("sea", "wood")
    source.groups = np.arange(len(source)) // 9
    distilled(tmp_path / "x", source=source, chosen=chosen)
    source.groups = np.arange(len(source)) // 5 % 2
    with pytest.raises(SettingsError, match="groups"):
        distilled(tmp_path / "x", source=source, chosen=chosen)


def test_too_many_sub_centres_are_refused_before_anything_is_read(tmp_path):
    source = coloured(3)
    source._decode = None  # not to be called
    with pytest.raises(SettingsError, match="Class ant has 3 images for 4 sub-centres"):
        distilled(tmp_path / "x", source=source, chosen=settings(method="sfm-sub", ipc=4, flip=True))


def test_the_plan_comes_before_the_long_pass(tmp_path):
    """A folder's images aren't known before they are read."""
    write_folder(coloured(4), tmp_path / "photos")
    (tmp_path / "photos" / "ant" / "0000.png").write_bytes(b"x")
    (tmp_path / "photos" / "bee" / "0001.png").write_bytes(b"x")
    watcher = Watcher()
    with pytest.raises(ImageError, match=r"2 of 12 images(.|\n)*ant/0000\.png(.|\n)*bee/0001\.png"):
        distilled(tmp_path / "x", source=attar.open(tmp_path / "photos"), progress=watcher, chosen=settings(flip=True))
    assert len(watcher.plans) == 1
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.run").exists()


def test_backbones_that_crowd_the_device_are_parked_and_the_images_are_the_same(tmp_path, monkeypatch):
    networks = [small_backbone(0), small_backbone(1)]
    free = attar.distill(coloured(5), networks, tmp_path / "free", settings=settings(), device="cpu")
    monkeypatch.setattr(distillation, "weight_bytes", lambda backbone: 10**15)
    parked = attar.distill(coloured(5), networks, tmp_path / "parked", settings=settings(), device="cpu")
    assert pngs(parked.path) == pngs(free.path)


@pytest.mark.parametrize(("names", "told"), [(("10", "2", "3"), True), (("1", "2", "10"), False), (("a", "b"), False)])
def test_numbers_in_the_order_of_strings_are_told(tmp_path, names, told):
    watcher = Watcher()
    distilled(tmp_path / "x", source=coloured(3, classes=names), progress=watcher)
    assert any("order of strings" in note for note in watcher.notes) == told


def test_grey_images_make_grey_images_and_coloured_ones_coloured(tmp_path):
    for grey in (True, False):
        images = distilled(tmp_path / str(grey), source=coloured(5, grey=grey)).images
        same = (images[:, 0] == images[:, 1]).all() and (images[:, 1] == images[:, 2]).all()
        assert same == grey


def test_the_seed_decides(tmp_path, whole):
    distilled(tmp_path / "x", chosen=settings(seed=1))
    assert pngs(tmp_path / "x") != whole


def test_one_class_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="at least two classes"):
        distilled(tmp_path / "x", source=coloured(5, classes=("ant",)))
    assert not list(tmp_path.iterdir())


def test_the_training_images_are_known_by_hash(tmp_path):
    from safetensors.numpy import load_file

    distilled(tmp_path / "x")
    kept = load_file(tmp_path / "x" / "provenance" / "train.safetensors")["sha256"]
    assert set(kept.tolist()) == {int.from_bytes(sha[:8], "big") for sha in coloured(5).hashes()}


@pytest.mark.parametrize(("side", "low", "canvas"), [(224, 0.08, 256), (64, 0.5, 64), (32, 0.5, 32)])
def test_small_images_are_cropped_less_and_digits_are_not_mirrored(side: int, low: float, canvas: int):
    policy = view_policy(settings(), coloured(3), side)
    assert (policy.canvas, policy.crop, policy.scale, policy.flip) == (canvas, side, (low, 1.0), True)
    assert not view_policy(settings(), attar.open("digits"), side).flip
    assert view_policy(settings(flip=True), attar.open("digits"), side).flip
    assert view_policy(settings(scale_low=0.3), coloured(3), side).scale == (0.3, 1.0)


def test_what_was_used_is_written_down(tmp_path):
    used = distilled(tmp_path / "x").manifest.settings
    assert (used["scale_low"], used["flip"]) == (0.5, True)


def test_a_backbone_with_other_preprocessing_than_the_settings_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="ask for imagenet normalisation, and small-0 has native"):
        distilled(tmp_path / "x", chosen=settings(normalise="imagenet"))


def test_an_unknown_method_names_the_nearest(tmp_path):
    with pytest.raises(SettingsError, match="no method 'sfn'") as caught:
        distilled(tmp_path / "x", chosen=settings(method="sfn"))
    assert "sfm" in caught.value.hint


def test_a_refused_run_leaves_the_finished_one_alone(tmp_path):
    import shutil

    distilled(tmp_path / "x")
    shutil.rmtree(tmp_path / "x.run")
    with pytest.raises(SettingsError, match="holds a set with other settings: steps"):
        distilled(tmp_path / "x", chosen=settings(steps=9))
    distilled(tmp_path / "x")


def test_two_processes_do_not_share_a_run(tmp_path):
    from attar.run import Run

    with Run.beside(tmp_path / "x").alone(), pytest.raises(SettingsError, match="nother process is at work"):
        distilled(tmp_path / "x")


def test_a_run_too_short_for_its_pyramid_says_so(tmp_path):
    short, long = Watcher(), Watcher()
    distilled(tmp_path / "short", progress=short, chosen=settings(steps=4, grow_every=2))
    assert any("4 steps end at 2 x 2 of 8 x 8 pixels; --set grow_every=1" in note for note in short.notes)
    distilled(tmp_path / "long", progress=long, chosen=settings(steps=8, grow_every=2))
    assert not any("steps end at" in note for note in long.notes)

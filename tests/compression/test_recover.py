"""From a squeezed network to a distilled set: finished, interrupted, killed, resumed, refused."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import attar
from attar.backbones.load import body_of
from attar.backbones.squeezed import state_hash
from attar.compression import recover as recovering
from attar.compression.block import Block
from attar.compression.blocks import Layout
from attar.compression.recovery_settings import choose_recovery
from attar.errors import BackboneError, SettingsError
from attar.progress import Progress
from frozen import squeezed
from small import CLASSES, coloured

STEPS = 11
ALL = STEPS * 4  # two images a class in blocks of two of three classes


class Watcher(Progress):
    """Counts the steps; presses Ctrl-C or fails in the middle of one."""

    def __init__(self, *, press_at: int = 0, fail_at: int = 0):
        self.steps, self.notes, self.plans, self.press_at, self.fail_at = [], [], [], press_at, fail_at

    def advance(self, task, done, total, figures=None):
        assert (task, total) == ("recovering", ALL) or not self.press_at
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
    return choose_recovery(**({"steps": STEPS, "ipc": 2, "block": 2, "crop": "random", "lr": 0.1} | changes))


def recovered(out: Path, *, progress=None, chosen=None, network=None, source=None, **options):
    return attar.recover(
        source or coloured(5),
        network or squeezed(),
        out,
        settings=chosen or settings(),
        device="cpu",
        progress=progress or Watcher(),
        **options,
    )


def pngs(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("images/*/*.png")}


def sure():
    """A network whose logits differ widely between images."""
    network = squeezed()
    head, features = network.network.head, network.network.body(torch.randn(29, 3, 8, 8))
    head.weight.data *= 100
    head.bias.data = -(head.weight @ features.mean(0))
    return network


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The images of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "x.attar"
    recovered(out)
    return pngs(out)


def test_a_run_makes_a_set_that_says_how_it_was_made(tmp_path, whole):
    watcher, network = Watcher(), squeezed()
    before = state_hash(network.network)
    made = recovered(tmp_path / "x.attar", progress=watcher, network=network)
    made.verify()
    assert pngs(made.path) == whole and len(whole) == 6 and len(set(whole.values())) == 6
    assert made.labels.tolist() == [0, 0, 1, 1, 2, 2] and made.images.shape == (6, 3, 8, 8)
    record = made.manifest
    assert record.method == "scdd" and record.settings["steps"] == STEPS and record.settings["roll_high"] == 4
    assert record.settings["backbone_fingerprint"] == network.fingerprint and record.image_side == 8
    assert record.backbones[0].fingerprint == body_of(network).fingerprint
    assert record.data.fingerprint == coloured(5).fingerprint and len(made.train_hashes) == 15
    assert state_hash(network.network) == before
    assert watcher.steps == list(range(1, ALL + 1)) and len(watcher.plans) == 1
    assert "6 images in 4 blocks of up to 2" in watcher.plans[0]


def test_scores_are_those_of_the_images_as_they_are_stored(tmp_path):
    network = squeezed()
    made = recovered(tmp_path / "x", network=network, chosen=settings(steps=60, block=3, ipc=1))
    logits = network.logits(torch.from_numpy(made.images).float() / 255).double()
    scores = made.manifest.scores
    assert scores["right"] == pytest.approx(float((logits.argmax(1) == torch.arange(3)).double().mean()))
    assert scores["cross_entropy"] == pytest.approx(float(-logits.log_softmax(1).diagonal().mean()), rel=1e-5)


def test_the_loss_falls_and_the_log_tells_of_it(tmp_path):
    out = tmp_path / "x"
    chosen = settings(steps=101, block=3, ipc=1, crop="none", roll_high=0, lr=0.3, bn_weight=0.2)
    made = recovered(out, chosen=chosen, network=sure())
    lines = [json.loads(line) for line in (tmp_path / "x.run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(0, 101, 10))
    assert lines[0]["right"] < 1 and lines[-1]["right"] == 1
    for term in ("cross_entropy", "mismatch", "stem"):
        assert lines[-1][term] < 0.8 * lines[0][term]
    for line in lines:
        assert line["loss"] == pytest.approx(line["cross_entropy"] + line["weighted"])
        assert line["weighted"] == pytest.approx(0.2 * (line["mismatch"] + 9 * line["stem"]), rel=1e-5)
        assert line["crop"] == 1.0 and line["lr"] == chosen.rate(line["step"])
    assert [line["step"] for line in lines if "ratio" in line] == [0, 50, 100]
    assert made.manifest.scores["right"] == 1 and made.manifest.scores["mismatch"] < 0.8 * lines[0]["mismatch"]


def test_a_finished_run_is_not_redone(tmp_path):
    out = tmp_path / "x"
    recovered(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    watcher = Watcher()
    assert len(recovered(out, progress=watcher)) == 6
    assert watcher.steps == [] and any("finished" in note for note in watcher.notes)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("step", [1, STEPS, STEPS + 4, ALL])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, whole, step: int):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt, match=f"continues after step {step} of {ALL}"):
        recovered(out, progress=Watcher(press_at=step))
    assert not out.exists()
    watcher = Watcher()
    recovered(out, progress=watcher)
    assert watcher.steps == list(range(step + 1, ALL + 1)) and pngs(out) == whole


def test_a_killed_run_goes_on_from_what_it_kept_to_the_same_bytes(tmp_path, whole):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        recovered(out, progress=Watcher(press_at=4))
    with pytest.raises(MemoryError):
        recovered(out, progress=Watcher(fail_at=STEPS + 7))  # the second block has no checkpoint yet
    watcher = Watcher()
    recovered(out, progress=watcher)
    assert watcher.steps == list(range(STEPS + 1, ALL + 1)) and pngs(out) == whole
    log = [json.loads(line)["step"] for line in (tmp_path / "x.run" / "log.jsonl").read_text().splitlines()]
    assert log == [0, 10, 11, 21, 22, 32, 33, 43]


def test_a_damaged_block_is_made_again(tmp_path, whole):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        recovered(out, progress=Watcher(press_at=STEPS + 2))
    kept = sorted((tmp_path / "x.run" / "blocks").iterdir())
    kept[0].write_bytes(kept[0].read_bytes()[:-7])
    watcher = Watcher()
    recovered(out, progress=watcher)
    assert watcher.steps == list(range(2 + 1, ALL + 1)) and pngs(out) == whole


def test_blocks_of_another_run_are_not_taken_over(tmp_path, whole):
    out = tmp_path / "x"
    with pytest.raises(MemoryError):  # killed before its first checkpoint is due
        recovered(out, progress=Watcher(fail_at=STEPS + 2), chosen=settings(seed=1))
    block = tmp_path / "x.run" / "blocks" / "000000.safetensors"
    finished = block.read_bytes()
    with pytest.raises(SettingsError, match="other settings: seed 1 -> 3407"):
        recovered(out)
    recovered(out, restart=True)
    assert pngs(out) == whole
    shutil.rmtree(out)
    block.write_bytes(finished)  # of seed 1
    recovered(out)
    assert pngs(out) == whole


def test_the_order_of_the_blocks_does_not_matter(tmp_path, whole, monkeypatch):
    share = recovering.processes.share
    monkeypatch.setattr(recovering.processes, "share", lambda things, **which: share(things, **which)[::-1])
    monkeypatch.setattr(recovering.Run, "forget_log_from", lambda *_: None)
    recovered(tmp_path / "x")
    assert pngs(tmp_path / "x") == whole


def test_more_images_a_class_begin_with_those_of_fewer(tmp_path, whole):
    recovered(tmp_path / "x", chosen=settings(ipc=3))
    more = pngs(tmp_path / "x")
    assert len(more) == 9 and all(more[name] == image for name, image in whole.items())


def test_every_image_is_in_one_block():
    layout = Layout(classes=7, ipc=3, size=3)
    assert len(layout) == 9 and [len(layout.classes_of(block)) for block in range(4)] == [3, 3, 1, 3]
    places = [place for block in range(len(layout)) for place in layout.places(block)]
    assert sorted(places) == list(range(21)) and layout.places(4) == [3 * 3 + 1, 4 * 3 + 1, 5 * 3 + 1]


def test_blocks_larger_than_the_classes_hold_several_images_of_each():
    layout = Layout(classes=3, ipc=5, size=7)
    assert len(layout) == 3 and [layout.classes_of(block) for block in range(3)] == [[0, 1, 2] * 2] * 2 + [[0, 1, 2]]
    assert layout.places(1) == [2, 7, 12, 3, 8, 13] and layout.places(2) == [4, 9, 14]


def test_classes_are_matched_by_name(tmp_path, whole):
    """The network's classes in another order, its head likewise: the same images of the same classes."""
    one, other = squeezed(), squeezed(classes=CLASSES[::-1])
    other.network.head.weight.data = one.network.head.weight.data.flip(0).clone()
    other.network.head.bias.data = one.network.head.bias.data.flip(0).clone()
    made = recovered(tmp_path / "x", network=other)
    assert made.classes == CLASSES
    known = recovered(tmp_path / "y")
    assert np.abs(made.images.astype(int) - known.images.astype(int)).max() <= 1


def test_other_settings_are_refused_and_restart_takes_them(tmp_path, whole):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        recovered(out, progress=Watcher(press_at=3))
    with pytest.raises(SettingsError, match=r"other settings: lr 0\.1 -> 0\.2"):
        recovered(out, chosen=settings(lr=0.2))
    recovered(out, chosen=settings(lr=0.2), restart=True)
    assert pngs(out) != whole
    with pytest.raises(SettingsError, match=r"holds a .* with other settings"):
        recovered(out)
    recovered(out, restart=True)
    assert pngs(out) == whole


@pytest.mark.parametrize("altered", ["train", "weight"])
def test_a_network_that_changes_ends_the_run(tmp_path, monkeypatch, altered: str):
    """`.train()` moves the running statistics with every batch: the classic mistake."""
    step = Block.step

    def disturbed(block: Block) -> None:
        network = block._network.network
        if altered == "train":
            network.train()
        else:
            network.head.weight.data[0, 0] += 1e-3
        step(block)

    monkeypatch.setattr(Block, "step", disturbed)
    with pytest.raises(BackboneError, match="changed while its images were made"):
        recovered(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_images_that_go_astray_end_the_run_with_the_last_checkpoint_whole(tmp_path, whole, monkeypatch):
    out = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        recovered(out, progress=Watcher(press_at=5))
    step = Block.step

    def astray(block: Block) -> None:
        if block.steps == 8:
            block.canvas.pixels.data[0, 0, 0, 0] = torch.nan
        step(block)

    with monkeypatch.context() as patched, pytest.raises(SettingsError, match="are not finite"):
        patched.setattr(Block, "step", astray)
        recovered(out)
    recovered(out)
    assert pngs(out) == whole


def blind(network):
    network.network.body[1], network.network.body[5] = nn.Identity(), nn.Identity()


def learning(network):
    network.network.body[5].train()


REFUSED = {
    "no BatchNorm": ({}, {}, blind, "needs BatchNorm statistics"),
    "in training mode": ({}, {}, learning, "layer body.5 is in training mode"),
    "other classes": ({"classes": ("ant", "bee", "dog")}, {}, None, "iny doesn't know cow"),
    "a head that knows nothing": ({"held_out_accuracy": 60.0}, {}, None, "does not know the classes: 60.0 %"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_networks_that_cannot_be_recovered_from_are_refused(tmp_path, reason: str):
    about, changes, spoil, sentence = REFUSED[reason]
    network = squeezed(**about)
    if spoil:
        spoil(network)
    with pytest.raises(BackboneError, match=sentence):
        recovered(tmp_path / "x", network=network, chosen=settings(**changes))
    assert list(tmp_path.iterdir()) == []


def test_a_lone_image_in_a_layer_of_one_place_has_no_variance(tmp_path):
    network = squeezed()
    network.network.body[3] = nn.AdaptiveAvgPool2d(1)
    with pytest.raises(SettingsError, match=r"layer body.5 sees one value a channel of a block of one image"):
        recovered(tmp_path / "x", network=network)  # of three classes in blocks of two, one is left
    recovered(tmp_path / "x", network=network, chosen=settings(block=3))


def test_a_weight_that_drowns_the_classes_is_noted_with_a_better_one(tmp_path):
    watcher = Watcher()
    recovered(tmp_path / "x", chosen=settings(bn_weight=300.0, steps=2), progress=watcher)
    (note,) = [note for note in watcher.notes if "times the cross-entropy" in note]
    better = float(note.partition("bn_weight=")[2].split()[0])
    watcher = Watcher()
    recovered(tmp_path / "y", chosen=settings(bn_weight=better, steps=2), progress=watcher)
    assert not [note for note in watcher.notes if "times the cross-entropy" in note]


@pytest.mark.parametrize(("method", "ssl", "noted"), [("scdd", "none", 1), ("sre2l", "simclr", 1), ("cda", "none", 0)])
def test_a_network_of_another_kind_than_the_method_is_for_is_noted(tmp_path, method: str, ssl: str, noted: int):
    watcher = Watcher()
    recovered(tmp_path / "x", network=squeezed(ssl=ssl), chosen=settings(method=method, steps=2), progress=watcher)
    assert len([note for note in watcher.notes if "is made for" in note]) == noted


def test_half_precision_makes_a_set_too(tmp_path, whole):
    assert len(recovered(tmp_path / "x", precision="bf16")) == 6
    assert pngs(tmp_path / "x") != whole


def test_what_the_network_has_seen_is_kept_for_the_leak_check(tmp_path):
    seen = frozenset({b"12345678"})
    network = replace(squeezed(), train_hashes=seen)
    watcher = Watcher()
    made = recovered(tmp_path / "x", network=network, progress=watcher)
    known = {int(value).to_bytes(8, "big") for value in made.train_hashes}
    assert known == {value[:8] for value in coloured(5).hashes()} | seen
    assert any("was squeezed from other images" in note for note in watcher.notes)


def test_images_that_the_network_only_guesses_end_the_run_with_a_sentence(tmp_path):
    network = squeezed()
    network.network.head.weight.data.zero_()  # knows nothing: ln 3 for any image
    network.network.head.bias.data.zero_()
    with pytest.raises(SettingsError, match=r"After 10 steps the network knows the images of block 0 no better"):
        recovered(tmp_path / "x", network=network, chosen=settings(steps=100))


def test_layers_are_logged_at_the_start_the_middle_and_the_end(tmp_path):
    recovered(tmp_path / "x", chosen=settings(steps=21, ipc=1))
    lines = [json.loads(line) for line in (tmp_path / "x.run" / "log.jsonl").read_text().splitlines()]
    layers = {name for name in lines[0] if name.startswith("R ")}
    assert layers == {"R body.1", "R body.5"}
    assert sum(lines[0][name] for name in layers) == pytest.approx(lines[0]["mismatch"], rel=1e-5)
    assert [line["step"] for line in lines if layers <= line.keys()][:3] == [0, 10, 20]

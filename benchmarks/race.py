"""A race of methods on one backbone and one set: equal steps, equal image passes, equal wall time.

    python benchmarks/rivals.py --part race --quick      # CIFAR-10 of the assets, ResNet-20; `--plot FILE.png` draws it

Each method distils one image a class with the settings of preset `fast`, growth and learning rate scaled to its number
of steps; only method and views differ, and `sfm` goes towards class means, as published. "Equal steps" gives everybody
as many; "equal passes" as much work in the backbone as `sfm` with one view has, where a forward counts 1, with backward
to the images 2.2, with gradients for weights as well 3.1; "equal time" as many seconds. The pass over the real images
is part of passes and seconds, but for the authors' loop, which has none. A run that would take longer than `--longest`
is left out, its time computed.

The accuracy along the way is that of `probe-v1` (one draw of 20 views), its time not counted. "to 99 %" is the
time until 99 % of the run's own last accuracy, and of the best last accuracy of its table. Peaks are of live tensors in
one step's forward and backward, beside weights, canvas and their gradients.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import attar
from attar.evaluation import paired_difference
from attar.features import extract
from attar.synthesis.draws import Stream
from attar.synthesis.objectives import objective_names
from attar.synthesis.real import real_features, view_policy
from attar.synthesis.settings import Settings
from attar.synthesis.views import CentreView, RandomViews, probe_policy
from race_table import Finish, write_race
from racers import PROBE, Ours, Theirs, Track

AUTHORS = "lgm, authors"
RIVALS = [("sfm", 1), ("sfm", 3), ("sfm", 10), ("lgm", 1), ("lgm", 3), ("lgm", 10), ("clp", 1), ("dm-mean", 1),
          ("dm-batch", 1), (AUTHORS, 10)]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the race."""
    assets = Path(os.environ.get("ATTAR_ASSETS", "../shared/assets"))
    parser.add_argument("--train", default=str(assets / "data/cifar10/train.npz"))
    parser.add_argument("--test", default=str(assets / "data/cifar10/test.npz"))
    parser.add_argument("--backbone", default="cifar_resnet20", help="of part race")
    parser.add_argument("--weights", default=str(assets / "weights/cifar_resnet20.safetensors"))
    parser.add_argument("--steps", type=int, help="of a run at equal steps (400; quick: 100)")
    parser.add_argument("--seeds", type=int, help="runs of each method (3; quick: 1)")
    parser.add_argument("--longest", type=float, help="seconds that a run may take (600; quick: 30)")
    parser.add_argument("--plot", type=Path, help="draw accuracy against time into this PNG")


def race(given: argparse.Namespace) -> None:
    """All runs, then table, JSON and plot."""
    steps, seeds = given.steps or (100 if given.quick else 400), given.seeds or (1 if given.quick else 3)
    longest = given.longest or (30 if given.quick else 600)
    track = make_track(given)
    rivals = [rival for rival in RIVALS if is_there(rival[0])]
    costs = {rival: cost_of(track, rival, steps) for rival in rivals}
    first = costs["sfm", 1]
    passes, seconds = (track.pass_forwards + steps * first[1], track.pass_seconds + steps * first[0])
    finishes: list[Finish] = []
    for name, views in rivals:
        each, work, peak = costs[name, views]
        own = name == AUTHORS
        before = 0.0 if own else track.pass_seconds
        counts = {
            "steps": steps,
            "passes": round((passes - (0 if own else track.pass_forwards)) / work),
            "time": round((seconds - before) / each),
        }
        for budget, count in counts.items():
            finish = Finish(budget, f"{name} V={views}", count, each, before + count * each, work * count, peak)
            if count < 1 or count * each > longest:
                finishes.append(finish)
                continue
            for seed in range(seeds):
                finish.add(*run(track, settings_for(name, views, count, seed), own, before))
            finish.seconds = float(finish.curve()[0][-1])
            finishes.append(finish)
            print(f"{finish.rival}, equal {budget}: {count} steps, {finish.accuracy:.1f} %", flush=True)
    compare(finishes, track.test_labels)
    write_race(finishes, about(given, track, steps, seeds), given.json, given.plot)


def make_track(given: argparse.Namespace) -> Track:
    """Open everything, and time the pass over the real images without its cache."""
    train, test = attar.open(given.train), attar.open(given.test)
    backbone = attar.backbone(given.backbone, weights=given.weights)
    settings = attar.choose_settings("fast")
    policy = view_policy(settings, train, backbone.image_size)
    centre = CentreView(probe_policy(backbone.image_size, flip=policy.flip))
    cut = RandomViews(policy, settings.statistics_views, 0, Stream.STATISTICS)
    started = time.perf_counter()
    extract(train, backbone, cut, cache=False)
    seconds = time.perf_counter() - started
    real = real_features(train, backbone, settings, policy)
    known = extract(test, backbone, centre).values[:, 0].numpy()
    return Track(train, test.labels, known, backbone, policy, real, seconds, len(train) * settings.statistics_views)


def is_there(name: str) -> bool:
    if name == AUTHORS or name in objective_names():
        return True
    print(f"{name} is left out: attar has no such method", flush=True)
    return False


def settings_for(name: str, views: int, steps: int, seed: int) -> Settings:
    """Preset `fast`, its growth scaled to the number of steps; the authors' loop takes its schedule alone."""
    preset = attar.choose_settings("fast")
    grow_every = max(1, round(preset.grow_every * steps / preset.steps))
    method = "lgm" if name == AUTHORS else name
    published = {"target": "means"} if method == "sfm" else {}
    return attar.choose_settings(
        "fast", method=method, views=views, steps=steps, grow_every=grow_every, seed=seed, **published
    )


def cost_of(track: Track, rival: tuple[str, int], steps: int) -> tuple[float, float, int]:
    """Seconds (the least of four) and forwards of a step, and the peak of its tensors, on a grown pyramid."""
    name, views = rival
    runner = start(track, settings_for(name, views, steps, 0), name == AUTHORS, grown=True)
    times = []
    for number in range(5):  # the first warms up
        started = time.perf_counter()
        runner.step(number)
        times.append(time.perf_counter() - started)
    return min(times[1:]), runner.forwards(), runner.peak()


def start(track: Track, settings: Settings, authors: bool, *, grown: bool = False) -> Ours | Theirs:
    return Theirs(track, settings, grown=grown) if authors else Ours(track, settings, grown=grown)


def run(track: Track, settings: Settings, authors: bool, before: float) -> tuple[list[float], list[np.ndarray]]:
    """Seconds, and which test images are right, at ten points of a run."""
    runner = start(track, settings, authors)
    points = {round(settings.steps * part / 10) for part in range(1, 11)}
    seconds, correct, elapsed = [], [], before
    for number in range(settings.steps):
        started = time.perf_counter()
        runner.step(number)
        elapsed += time.perf_counter() - started
        if number + 1 in points:
            seconds.append(elapsed)
            correct.append(track.correct(runner.images()))
    return seconds, correct


def compare(finishes: Sequence[Finish], labels: np.ndarray) -> None:
    """Note how each run differs from `sfm` with one view at the same budget."""
    for finish in finishes:
        other = next(each for each in finishes if each.budget == finish.budget and each.rival == "sfm V=1")
        if finish.curves and other.curves and finish is not other:
            finish.against = paired_difference(finish.last_correct(), other.last_correct(), labels)


def about(given: argparse.Namespace, track: Track, steps: int, seeds: int) -> dict[str, Any]:
    """What the figures are of."""
    return {
        "train": given.train,
        "test": given.test,
        "backbone": given.backbone,
        "protocol": f"{PROBE.id}, one draw",
        "steps": steps,
        "seeds": seeds,
        "pass_seconds": track.pass_seconds,
        "pass_forwards": track.pass_forwards,
    }

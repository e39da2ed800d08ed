"""A classifier of all training images, put into a distilled set for its own backbones and carried over to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attar.backbones.record import Backbone, told_apart
from attar.devices import keep_freed_memory, pick_device, pick_dtype
from attar.distilled import DistilledSet, Head, add_heads
from attar.errors import EvaluationError, expect, expect_all
from attar.evaluation.bench import Bench
from attar.evaluation.cells import Cells
from attar.evaluation.checks import common_classes
from attar.evaluation.heads import hold_out
from attar.evaluation.inherited import Inheritance
from attar.evaluation.protocols import protocol
from attar.images.source import ImageSource
from attar.linear import temperature
from attar.progress import SILENT, Progress
from attar.run import Run


def inherit(
    distilled: DistilledSet,
    *,
    train: ImageSource,
    backbones: Backbone | Sequence[Backbone],
    device: str = "auto",
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> DistilledSet:
    """The set with a head for each of `backbones` in its folder `heads/`; `attar.classifier` takes them from there.

    On backbones that the set was distilled on it is `probe-v1` of all training images; on others the same classifier
    carried over by ridge regression (`inherit-ridge-v1`), for which the set's images align the two backbones
    (sfm.md 12). Each is brought to the temperature at which its probabilities fit a tenth of the training images, by
    what the others teach. Heads of the same backbones are replaced. Raises EvaluationError where the classes differ,
    and where no backbone of the set is among `backbones` to inherit from.
    """
    expect(distilled, DistilledSet, "distilled")
    expect(train, ImageSource, "train")
    given = told_apart(expect_all(backbones, Backbone, "backbones"))
    keep_freed_memory()
    placed = [each.to(device=pick_device(device), dtype=pick_dtype(precision)) for each in given]
    classes = common_classes([distilled], train, None)
    benches = [Bench(each, train, classes, Cells(), progress) for each in placed]
    own = {origin.fingerprint for origin in distilled.manifest.backbones}
    taught = [bench for bench in benches if bench.backbone.fingerprint in own]
    if not taught:
        names = ", ".join(origin.name for origin in distilled.manifest.backbones)
        raise EvaluationError(
            f"{distilled.path} was distilled on {names}, which is not among the backbones given",
            "a classifier is inherited from there: give it too, with the same weights and preprocessing",
        )
    full = {bench.backbone.name: bench.head(train, "probe-v1") for bench in taught}
    teacher = max(taught, key=lambda bench: full[bench.backbone.name].accuracy or 0.0)
    heads = []
    for bench in benches:
        name, fingerprint = bench.backbone.name, bench.backbone.fingerprint
        if name in full:
            head = full[name]
            probe = head.probe.cooled(head.temperature)
            heads.append(Head(name, fingerprint, probe, "full", None, head.accuracy))
            continue
        way = Inheritance(protocol("inherit-ridge-v1"), teacher, bench, train)
        material = bench.material(distilled.path.name, distilled.source, distilled.weights)
        probe, accuracy = way.carried(material, 0), None
        kept, held_out = hold_out(bench.labels(train))
        if len(held_out):  # what nine tenths teach is tried on the others
            tried = replace(way, train=train.subset(kept.numpy())).carried(material, 0)
            logits = tried.logits(bench.centre_features(train)[held_out].numpy())
            known = bench.labels(train)[held_out].numpy()
            accuracy = float(100 * np.mean(logits.argmax(1) == known))
            probe = probe.cooled(temperature(logits, known))
        heads.append(Head(name, fingerprint, probe, way.protocol.id, teacher.backbone.name, accuracy))
    with Run.beside(distilled.path).alone():
        return add_heads(distilled, heads)

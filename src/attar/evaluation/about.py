"""What a reader needs to make an evaluation's numbers again, and what its sets cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from attar.backbones.record import Backbone
from attar.devices import hardware
from attar.distilled import DistilledSet
from attar.evaluation.student_plan import StudentPlan
from attar.images.source import ImageSource
from attar.synthesis.distillation import data_name


def about(
    sets: Sequence[DistilledSet],
    test: ImageSource,
    train: ImageSource | None,
    classes: Sequence[str],
    backbones: Sequence[Backbone],
    plan: StudentPlan | None,
    precision: str,
) -> dict[str, Any]:
    """What decided the numbers, and what the sets cost: bytes of their parts, and seconds and views of their making."""
    sources = {"test": test} if train is None else {"test": test, "train": train}
    images = {
        name: {"name": data_name(source.location), "images": len(source), "fingerprint": source.fingerprint}
        for name, source in sources.items()
    }
    return {
        "attar": version("attar"),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "precision": precision,
        "classes": list(classes),
        **images,
        "backbones": {each.name: each.fingerprint for each in backbones},
        "sets": dict(zip(distinct([one.path.name for one in sets]), map(_cost, sets), strict=True)),
        **({} if plan is None else _about_students(plan)),
    }


def distinct(names: Sequence[str]) -> list[str]:
    """The names, those that come more than once with a number: alone they could mean any."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[:place].count(name) + 1})"
        for place, name in enumerate(names)
    ]


def _about_students(plan: StudentPlan) -> dict[str, Any]:
    """Who was trained at which side, by whose answers, and the bytes of those that lie with sets."""
    stored = [(path.name, protocol, labels) for (protocol, path), labels in plan.labels.items()]
    return {
        "students": {"names": list(plan.students), "side": plan.side},
        "teacher": None
        if plan.teacher is None
        else {"name": plan.teacher.name, "fingerprint": plan.teacher.fingerprint},
        "soft_labels": [
            {
                "set": name,
                "protocol": protocol,
                "bytes": labels.bytes,
                "teacher": labels.record.teacher.name,
                "teacher_fingerprint": labels.record.teacher.fingerprint,
                "seed": labels.record.seed,
            }
            for name, protocol, labels in stored
        ],
    }


def _cost(one: DistilledSet) -> dict[str, Any]:
    settings, scores = one.manifest.settings, one.manifest.scores
    steps, views = settings.get("steps"), settings.get("views")
    passes = len(one) * steps * views if isinstance(steps, int) and isinstance(views, int) else None
    return {
        "checksum": one.manifest.checksum,
        "parts": one.parts,
        "raw_bytes": one.raw_bytes,
        "seconds": scores.get("seconds"),
        "views": passes,
    }

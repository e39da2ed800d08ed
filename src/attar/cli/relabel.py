"""`attar relabel`: a teacher's soft labels, kept with a set for students that train from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.names import SOFT_PROTOCOLS, offer
from attar.cli.options import Device, Json
from attar.errors import EvaluationError


def relabel(
    distilled: Annotated[Path, typer.Argument(metavar="SET", help="A distilled set.")],
    teacher: Annotated[Path, typer.Option(help="A squeezed network (attar squeeze) of the set's classes.")],
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            "-p",
            help="soft-fkd, soft-cda-in1k, soft-rded, ...: what students will see.",
            autocompletion=offer(*SOFT_PROTOCOLS),
        ),
    ],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of the students' training; default: the protocol's. More adds to them.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the students' views.")] = 42,
    device: Device = "auto",
    restart: Annotated[bool, typer.Option("--restart", help="Replace labels that were made otherwise.")] = False,
    json: Json = False,
) -> None:
    """Keep a teacher's soft labels with a distilled set, for every view that students will see.

    **attar relabel photos.attar --teacher net.safetensors --protocol soft-fkd**

    Two bytes for each epoch, image and class. The same command again continues an interrupted run.
    """
    import shlex
    import sys

    import attar
    from attar.backbones.squeezed import read_squeezed
    from attar.cli.show import Shown, print_json
    from attar.evaluation.student_protocols import student_protocol

    name = protocol if epochs is None else f"{protocol.partition('/')[0]}/epochs={epochs}"
    plan = student_protocol(name)
    if not plan.soft:
        soft = name.replace("hard-", "soft-", 1)
        raise EvaluationError(f"{name} learns from the images' own labels", f"--protocol {soft} learns from a teacher.")
    opened, network = attar.load(distilled), read_squeezed(teacher)
    schedule = plan.schedule(opened.manifest.ipc, len(opened.classes), len(opened), network.record.side)
    with Shown() as progress:
        labels = attar.relabel(
            opened,
            network,
            schedule.recipe,
            protocol=name,
            epochs=schedule.epochs,
            batch=schedule.batch,
            seed=seed,
            device=device,
            restart=restart,
            progress=progress,
        )
        progress.note(f"{labels.folder}: {labels.record.epochs} epochs, {labels.bytes:,} bytes")
    taught = ["--protocol", name, "--student", network.record.architecture, "--teacher", str(teacher)]
    words = [str(distilled), "--test", "TEST_IMAGES", *taught]
    print(f"Next: attar evaluate {shlex.join(words)}", file=sys.stderr)
    if json:
        record = labels.record.model_dump(mode="json")
        print_json({"labels": {"path": str(labels.folder), "bytes": labels.bytes, **record}})

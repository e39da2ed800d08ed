"""`attar squeeze`: a network with BatchNorm learns the images, for SC-DD and its family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.names import NETWORKS, offer
from attar.cli.options import (
    IMAGES,
    AllowDownload,
    Classes,
    ClassNames,
    Device,
    Json,
    Limit,
    SkipCorrupt,
    chosen_classes,
    three,
)

_TRAINING = "Training"


def squeeze(
    images: Annotated[str, typer.Argument(help=IMAGES)],
    arch: Annotated[
        str,
        typer.Option(
            help="convnet3 to convnet6, resnetap10, cifar_resnet20, -56, or a network of timm.",
            autocompletion=offer(*NETWORKS),
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The squeezed network, a .safetensors file.")],
    ssl: Annotated[
        str,
        typer.Option(help="moco-v2 or simclr (pip install attar[ssl]); none: supervised.", rich_help_panel=_TRAINING),
    ] = "none",
    weights: Annotated[
        Path | None,
        typer.Option(help="Instead of training: a checkpoint of MoCo v2 or v3, SwAV, DINO, torchvision or timm."),
    ] = None,
    side: Annotated[int | None, typer.Option(min=1, help="Side of its images (theirs up to 64, else 224).")] = None,
    stem: Annotated[
        str | None, typer.Option(help="small (3x3, no max-pool: up to 64 pixels) or native; for residual networks.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="200.", rich_help_panel=_TRAINING)] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="128; simclr 256, moco-v2 512.", rich_help_panel=_TRAINING)
    ] = None,
    lr: Annotated[float | None, typer.Option(help=".1; simclr .3, moco-v2 .06.", rich_help_panel=_TRAINING)] = None,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=_TRAINING)] = 0,
    mean: Annotated[
        str | None, typer.Option(help="Three numbers: ImageNet's, but to be given for most of --weights.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Three numbers, as --mean.")] = None,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32 or bf16 (autocast).", autocompletion=offer("fp32", "bf16"), rich_help_panel="Where to run"
        ),
    ] = "fp32",
    class_names: ClassNames = None,
    classes: Classes = None,
    limit: Limit = None,
    skip_corrupt: SkipCorrupt = False,
    allow_download: AllowDownload = False,
    restart: Annotated[bool, typer.Option("--restart", help="Start afresh, also over another run.")] = False,
    json: Json = False,
) -> None:
    """Train a network whose BatchNorm statistics stand for the images, or import one, and give it a linear head.

    **attar squeeze photos/train --arch resnet18 --ssl simclr --out net.safetensors**

    The same command again continues an interrupted training. The file is a backbone for every other command. Next:
    attar distill photos/train --method scdd --backbone net.safetensors --out photos.attar
    """
    import shlex
    import sys

    import attar
    from attar.cli.show import Shown, print_json
    from attar.compression.squeeze_settings import SqueezeSettings
    from attar.errors import SettingsError

    unused = {"--epochs": epochs, "--batch": batch, "--lr": lr}
    if weights is not None and (given := [option for option, value in unused.items() if value is not None]):
        raise SettingsError(f"--weights brings a trained network, and {given[0]} trains one", "leave one of them out")
    settings = SqueezeSettings(arch, ssl, side, stem, epochs or 200, batch, lr, seed=seed)
    source = attar.open(
        images,
        class_names=class_names,
        classes=chosen_classes(classes),
        limit=limit,
        skip_corrupt=skip_corrupt,
        allow_download=allow_download,
    )
    with Shown() as progress:
        made = attar.squeeze(
            source,
            out,
            settings,
            weights=weights,
            mean=three(mean, "--mean"),
            std=three(std, "--std"),
            device=device,
            precision=precision,
            restart=restart,
            progress=progress,
        )
        progress.note(
            f"{out}: {arch}, {sum(part.numel() for part in made.network.parameters()):,} weights, "
            f"right about {made.record.held_out_accuracy:.1f} % of the images that were kept from its head"
        )
    labelled = made.record.settings["layout"] == "plain" if weights else ssl == "none"
    words = [images, "--method", "sre2l" if labelled else "scdd", "--backbone", str(out), "--ipc", "10"]
    words += ["--classes", classes] if classes else []
    words += ["--limit", str(limit)] if limit else []
    words += ["--class-names", str(class_names)] if class_names else []
    words += ["--skip-corrupt"] if skip_corrupt else []
    words += ["--out", "SET.attar"]
    print(f"Next: attar distill {shlex.join(words)}", file=sys.stderr)
    if json:
        print_json({"network": {"path": str(out), "fingerprint": made.fingerprint, **made.record.model_dump()}})

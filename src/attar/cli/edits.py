"""`attar edits`: captions, clusters and prototypes that guide Stable Diffusion (EDITS; VLCP and D4M as presets)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from attar.cli.names import EDITS_PRESETS, offer
from attar.cli.options import IMAGES, Classes, ClassNames, Device, Json, Limit, SkipCorrupt, chosen_classes

_SETTINGS = "Settings (later wins: preset, file, flags)"
_MODELS = "Models: a folder, or a name on the hub"
_PROTOTYPES = "Captions and prototypes"
_GENERATION = "Generation"
_WHERE = "Where to run"
_ALLOWED = ("--allow-download", "--allow-offload", "--allow-remote-text")
_FLAGS = ("--", "--json", "--restart", "--skip-corrupt", *_ALLOWED)  # options without a value


def edits(
    stage: Annotated[
        Literal["caption", "fuse", "prototypes", "generate", "run"],
        typer.Argument(metavar="STAGE", help="caption, fuse, prototypes or generate; run: all of them in turn."),
    ],
    images: Annotated[str, typer.Argument(help=IMAGES)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the distilled set; all files are in OUT.run.")],
    ipc: Annotated[int | None, typer.Option(min=1, help="Images per class (1).")] = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            help='Captions, a JSON object a line: {"file_name": "CLASS/IMAGE", "text": "..."}.',
            rich_help_panel=_PROTOTYPES,
        ),
    ] = None,
    captioner: Annotated[
        str | None, typer.Option(help="file, blip, llava, template or none.", rich_help_panel=_PROTOTYPES)
    ] = None,
    caption_fallback: Annotated[
        str | None,
        typer.Option(help="template: what images without a caption are called.", rich_help_panel=_PROTOTYPES),
    ] = None,
    fuse: Annotated[
        str | None,
        typer.Option(help="What is clustered: query, concat, image or vae.", rich_help_panel=_PROTOTYPES),
    ] = None,
    image_proto: Annotated[
        str | None, typer.Option(help="mean, medoid, mean-rescaled or centre.", rich_help_panel=_PROTOTYPES)
    ] = None,
    text_proto: Annotated[
        str | None,
        typer.Option(help="medoid, llm, frequency, file, label or label-all.", rich_help_panel=_PROTOTYPES),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help='Texts of the prototypes, as captions, by "CLASS/CLUSTER".', rich_help_panel=_PROTOTYPES),
    ] = None,
    prototypes: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Use the prototypes of another run, for controls.", rich_help_panel=_PROTOTYPES
        ),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Of the noise on an image prototype (.7).", rich_help_panel=_GENERATION)
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="By the text (10; D4M 8).", rich_help_panel=_GENERATION)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the sampler (50).", rich_help_panel=_GENERATION)] = None,
    out_size: Annotated[int | None, typer.Option(help="Side of the set's images.", rich_help_panel=_GENERATION)] = None,
    control: Annotated[
        str | None,
        typer.Option(help="medoid, vae, decode (no diffusion), text-only or image-only.", rich_help_panel=_GENERATION),
    ] = None,
    fine_tuned: Annotated[
        str | None,
        typer.Option(help="Whether the model saw these images: yes, no or unknown.", rich_help_panel=_MODELS),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Stable Diffusion (stable-diffusion-v1-5/stable-diffusion-v1-5).", rich_help_panel=_MODELS),
    ] = None,
    vae: Annotated[
        str | None, typer.Option(help="In place of its own, e.g. stabilityai/sd-vae-ft-mse.", rich_help_panel=_MODELS)
    ] = None,
    clip: Annotated[str | None, typer.Option(help="openai/clip-vit-base-patch32.", rich_help_panel=_MODELS)] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="attar, edits, vlcp or d4m.", autocompletion=offer(*EDITS_PRESETS), rich_help_panel=_SETTINGS
        ),
    ] = "attar",
    settings: Annotated[Path | None, typer.Option(help="A TOML file of settings.", rich_help_panel=_SETTINGS)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE for any setting, e.g. k_image=3.", rich_help_panel=_SETTINGS),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", rich_help_panel=_SETTINGS)] = None,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto (fp16 on an accelerator), fp32, fp16 or bf16.",
            autocompletion=offer("auto", "fp32", "fp16", "bf16"),
            rich_help_panel=_WHERE,
        ),
    ] = "auto",
    memory: Annotated[str | None, typer.Option(help="Budget on the device, e.g. 4GB.", rich_help_panel=_WHERE)] = None,
    offload: Annotated[str, typer.Option(help="auto, none, model or sequential.", rich_help_panel=_WHERE)] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Images made at once.", rich_help_panel=_WHERE)] = 4,
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="Fetch models from the hub.", rich_help_panel=_MODELS)
    ] = False,
    allow_offload: Annotated[
        bool, typer.Option("--allow-offload", help="Let a captioner that doesn't fit wait.", rich_help_panel=_WHERE)
    ] = False,
    allow_remote_text: Annotated[
        bool,
        typer.Option("--allow-remote-text", help="Let captions leave this machine (llm).", rich_help_panel=_PROTOTYPES),
    ] = False,
    class_names: ClassNames = None,
    classes: Classes = None,
    limit: Limit = None,
    skip_corrupt: SkipCorrupt = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Do this stage afresh; run: from what would be refused.")
    ] = False,
    json: Json = False,
) -> None:
    """Distil through Stable Diffusion: captions, clusters and prototypes of the images (EDITS; presets vlcp, d4m).

    **attar edits run photos/train --captions photos.jsonl --ipc 10 --out photos.attar**

    caption writes OUT.run/captions.jsonl, fuse OUT.run/clusters, prototypes OUT.run/prototypes, whose texts may be
    edited; generate makes an image of each prototype, and the set. All stages take the same options. The same command
    again continues; what is done with the same settings is not redone. Needs pip install 'attar[diffusion]'.
    """
    import attar
    from attar.cli.options import bytes_of, setting
    from attar.cli.show import Shown, print_json
    from attar.diffusion.edits.settings import STAGES

    named = {
        "ipc": ipc,
        "captioner": captioner or ("file" if captions else None),
        "caption_fallback": caption_fallback,
        "fuse": fuse,
        "image_proto": image_proto,
        "text_proto": text_proto or ("file" if texts else None),
        "strength": strength,
        "guidance": guidance,
        "steps": steps,
        "out_size": out_size,
        "control": control,
        "fine_tuned": fine_tuned,
        "model": model,
        "vae": vae,
        "clip": clip,
        "seed": seed,
    }
    given = {name: value for name, value in named.items() if value is not None}
    chosen = attar.choose_edits(preset, settings, **dict(setting(text) for text in set_ or []) | given)
    source = attar.open(
        images, class_names=class_names, classes=chosen_classes(classes), limit=limit, skip_corrupt=skip_corrupt
    )
    with Shown() as progress:
        if chosen.fine_tuned == "unknown":
            progress.note(f"Fine-tuned on these images: unknown (say --fine-tuned yes or no): {chosen.model}")
        made = attar.edits(
            source,
            out,
            settings=chosen,
            stages=STAGES if stage == "run" else [stage],
            captions=captions,
            texts=texts,
            prototypes=prototypes,
            device=device,
            precision=precision,
            memory=bytes_of(memory),
            offload=offload,
            batch=batch,
            allow_download=allow_download,
            allow_offload=allow_offload,
            allow_remote_text=allow_remote_text,
            restart=restart,
            progress=progress,
        )
        if made is not None:
            progress.note(f"{out}: {len(made)} images, {made.bytes:,} bytes; look at {out / 'preview.png'}")
    _name_next(stage, STAGES, out)
    if json:
        made_set = {} if made is None else {"path": str(out), **made.manifest.model_dump(exclude={"files"})}
        print_json({"set": made_set} if made else {"run": f"{out}.run", "stage": stage})


def _name_next(stage: str, stages: Sequence[Any], out: Path) -> None:
    """The next command to type: this one with the next stage, or an evaluation."""
    import shlex
    import sys

    if stage in stages[:-1]:
        following = stages[stages.index(stage) + 1]
        words = [word for word in sys.argv[1:] if word != "--restart"]
        place = _place_of(stage, words)
        told = ["edits", following, "..."] if place is None else [*words[:place], following, *words[place + 1 :]]
        print(f"Next: attar {shlex.join(told)}", file=sys.stderr)
    else:
        told = [str(out), "--test", "TEST_IMAGES", "--student", "resnetap10", "--protocol", "hard-minimax"]
        print(f"Next: attar evaluate {shlex.join(told)}", file=sys.stderr)


def _place_of(stage: str, words: Sequence[str]) -> int | None:
    """Where the stage stands among the words of this command: where no option before it takes the word for its value.

    None where attar was not started by such a command.
    """
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        if word == stage and (not before.startswith("-") or before in _FLAGS):
            return place
    return None

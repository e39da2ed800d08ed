"""`attar refine`: a distilled set through a diffusion model (DIVER)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.names import REFINE_PRESETS, offer
from attar.cli.options import Device, Json, bytes_of, setting

if TYPE_CHECKING:
    from attar.distilled import DistilledSet
    from attar.images import ImageSource

_DIT, _DIT_VAE = "facebook/DiT-XL-2-256", "stabilityai/sd-vae-ft-mse"
_SETTINGS = "Settings (later wins: preset, file, flags)"
_CONTROLS = "Controls"
_WHERE = "Where to run"


def refine(
    distilled: Annotated[str, typer.Argument(help="A distilled set, or any images that `attar distill` reads.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the refined set; its run is kept in OUT.run.")],
    model: Annotated[
        str, typer.Option(help="A DiT or Stable Diffusion pipeline of diffusers: a folder, or a name on the hub.")
    ] = _DIT,
    vae: Annotated[
        str | None, typer.Option(help=f"Another autoencoder for it ({_DIT_VAE} for the default model).")
    ] = None,
    label_map: Annotated[
        Path | None,
        typer.Option(
            help='Which of the model\'s classes a class is: JSON {"folder": 134 or name}, or lines folder,134.'
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="attar, paper or fast (20 steps).",
            autocompletion=offer(*REFINE_PRESETS),
            rich_help_panel=_SETTINGS,
        ),
    ] = "attar",
    settings: Annotated[Path | None, typer.Option(help="A TOML file of settings.", rich_help_panel=_SETTINGS)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE for any setting.", rich_help_panel=_SETTINGS)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler (50).", rich_help_panel=_SETTINGS)] = None,
    t_f: Annotated[
        int | None,
        typer.Option("--t-f", help="The step whose noise is put on an image (25 of 50).", rich_help_panel=_SETTINGS),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help="HIGH,LOW: steps HIGH to LOW+1 are guided (40,25 of 50).", rich_help_panel=_SETTINGS),
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Strength of the guidance (.1; .02 for NCFM).", rich_help_panel=_SETTINGS)
    ] = None,
    cfg: Annotated[
        float | None,
        typer.Option(help="Classifier-free guidance (4; Stable Diffusion 7.5).", rich_help_panel=_SETTINGS),
    ] = None,
    sigma: Annotated[
        str | None, typer.Option(help="posterior, marginal or learned.", rich_help_panel=_SETTINGS)
    ] = None,
    target: Annotated[str | None, typer.Option(help="clean, renoised or x0hat.", rich_help_panel=_SETTINGS)] = None,
    start_index: Annotated[
        int | None, typer.Option(help="The step to begin at (the first; t_f for SDEdit).", rich_help_panel=_SETTINGS)
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="Refined images of each image (1).", rich_help_panel=_SETTINGS)
    ] = None,
    out_size: Annotated[
        int | None, typer.Option(help="Side of the refined images (the model's).", rich_help_panel=_SETTINGS)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the noise.", rich_help_panel=_SETTINGS)] = None,
    no_si: Annotated[
        bool,
        typer.Option(
            "--no-si", help="Start from noise alone (with --no-sg: plain samples).", rich_help_panel=_CONTROLS
        ),
    ] = False,
    no_sg: Annotated[bool, typer.Option("--no-sg", help="No semantic guidance.", rich_help_panel=_CONTROLS)] = False,
    no_sf: Annotated[
        bool, typer.Option("--no-sf", help="Guidance at every step, not in the window.", rich_help_panel=_CONTROLS)
    ] = False,
    vae_only: Annotated[
        bool, typer.Option("--vae-only", help="Encode and decode, no diffusion.", rich_help_panel=_CONTROLS)
    ] = False,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp16, bf16 or auto (fp16, but fp32 on a CPU).",
            autocompletion=offer("auto", "fp32", "fp16", "bf16"),
            rich_help_panel=_WHERE,
        ),
    ] = "auto",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images at a time (8, or what fits).", rich_help_panel=_WHERE)
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Budget on the device, e.g. 4GB.", rich_help_panel=_WHERE)] = None,
    offload: Annotated[
        str, typer.Option(help="auto, none, model or sequential: weights wait in host memory.", rich_help_panel=_WHERE)
    ] = "auto",
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="Fetch weights from the hub; mind their licence.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Start afresh, also over another run.")] = False,
    json: Json = False,
) -> None:
    """Refine a distilled set by a pretrained diffusion model: images that networks of any kind learn from (DIVER).

    **attar refine photos.attar --out refined.attar**

    Needs pip install 'attar[diffusion]', and classes that the model knows. The same command again continues an
    interrupted run. Without the weights of the default model, once: --allow-download.
    """
    import shlex
    import sys

    import attar
    from attar.cli.show import Shown, print_json
    from attar.diffusion.models import open_diffusion
    from attar.distilled import DistilledSet

    high, low = _window(window)
    named = {
        "steps": steps,
        "t_f": t_f,
        "window_high": high,
        "window_low": low,
        "gamma": gamma,
        "cfg": cfg,
        "sigma": sigma,
        "target": target,
        "start_index": start_index,
        "replicas": replicas,
        "out_size": out_size,
        "seed": seed,
        "si": False if no_si else None,
        "sg": False if no_sg else None,
        "sf": False if no_sf else None,
        "vae_only": vae_only or None,
    }
    flags = dict(setting(text) for text in set_ or []) | {k: v for k, v in named.items() if v is not None}
    chosen = attar.choose_refinement(preset, settings, **flags)
    images = _open(distilled)
    opened = open_diffusion(
        model,
        vae=_DIT_VAE if vae is None and model == _DIT else vae,
        device=device,
        precision=precision,
        memory=bytes_of(memory),
        offload=offload,
        label_map=label_map,
        allow_download=allow_download,
    )
    with Shown() as progress:
        made = attar.refine(images, opened, out, settings=chosen, batch=batch, restart=restart, progress=progress)
        scores = made.manifest.scores
        progress.note(
            f"{made.path}: {len(made)} images, {scores['seconds_per_image']:.2f} s each, of which a plain sample takes "
            f"{scores['plain_share']:.0%}{_memory(scores)}; look at {made.path / 'preview.png'}"
        )
    sets = [distilled] if isinstance(images, DistilledSet) else []
    words = [*sets, str(made.path), "--protocol", "hard-minimax", "--student", "resnet18", "--test", "TEST_IMAGES"]
    print(f"Next: attar evaluate {shlex.join(words)}", file=sys.stderr)  # unwrapped, to be copied
    if json:
        print_json({"sets": [{"path": str(made.path), **made.manifest.model_dump(exclude={"files"})}]})


def _memory(scores: Mapping[str, float]) -> str:
    """What it took at most of a GPU's memory."""
    return f"; {scores['peak_bytes'] / 2**30:.2f} GiB" if "peak_bytes" in scores else ""


def _open(place: str) -> DistilledSet | ImageSource:
    import attar

    on_the_hub = place.startswith("hf:") and not Path(place.removeprefix("hf:")).exists()
    return attar.load(place) if on_the_hub or (Path(place) / "attar.json").is_file() else attar.open(place)


def _window(text: str | None) -> tuple[int | None, int | None]:
    """'40,25' as two numbers."""
    from attar.errors import SettingsError

    if text is None:
        return None, None
    try:
        high, low = (int(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--window {text!r} is not two numbers", "For example --window 40,25.") from error
    return high, low

"""`attar bn-report`: whether one squeezed network's BatchNorm statistics are more spread than another's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.options import IMAGES, Device, Json, Limit

if TYPE_CHECKING:
    from rich.table import Table

    from attar.compression.bn_report import Report

_OF_LAYERS = ("entropy_mean", "entropy_var", "scale_free_mean", "scale_free_var")
_LEGEND = (
    "m, v: running means and variances; D: their variance over a layer's channels; H: entropy in nats, of a Gaussian "
    "with that variance; bins H: of a histogram with 256 bins; D(m/√v), D(ln v): scale-free; R: distance of noise from "
    "m and v. Sums over the layers, with the 95 % interval of their difference."
)


def bn_report(
    first: Annotated[Path, typer.Argument(metavar="A", help="A network that `attar squeeze` wrote.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another of the same architecture.")],
    data: Annotated[
        str | None,
        typer.Option(help=f"Take the statistics of these images, not those that training left. {IMAGES}"),
    ] = None,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for bn-report.json, with every layer, and bn-report.png.")
    ] = None,
    rescale_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write B, the same function, with A's scale in every layer: a control to recover images from.",
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare the BatchNorm statistics of two squeezed networks: spread, entropy, and what of it is scale alone.

    **attar bn-report simclr.safetensors supervised.safetensors --out report**
    """
    import sys

    import attar
    from attar.backbones.squeezed import read_squeezed, write_squeezed
    from attar.cli.show import print_json
    from attar.compression.bn_report import bn_report as compare
    from attar.compression.rescale import rescaled_like
    from attar.devices import pick_device
    from attar.errors import SettingsError

    if rescale_to is not None and rescale_to.resolve() in (first.resolve(), second.resolve()):
        raise SettingsError(f"--rescale-to {rescale_to} is one of the two networks", "write it to another file")
    if rescale_to is not None and (rescale_to.exists() or rescale_to.suffix != ".safetensors"):
        raise SettingsError(f"--rescale-to {rescale_to} exists, or isn't a .safetensors file", "name a new one")
    if limit is not None and data is None:
        raise SettingsError("--limit is for the images of --data, and there is none", "give both, or neither")
    one, other = read_squeezed(first), read_squeezed(second)
    place = pick_device(device)
    source = None if data is None else attar.open(data, limit=limit)
    report = compare(one.to(place), other.to(place), source)
    if out is not None:
        _write(report, out)
    if rescale_to is not None:
        made = rescaled_like(other, one)
        write_squeezed(rescale_to, made.network, made.record, made.train_hashes)
        print(f"{second} with the scales of {first}: {rescale_to}", file=sys.stderr)
    if json:
        print_json(report.as_json())
    else:
        _show(report)


def _write(report: Report, out: Path) -> None:
    import json

    from attar.files import write_bytes, write_text
    from attar.report.bn_plot import bn_plot

    write_text(out / "bn-report.json", json.dumps(report.as_json(), indent=1))
    write_bytes(out / "bn-report.png", bn_plot(report))


def _show(report: Report) -> None:
    from rich.console import Console

    from attar.compression.bn_report import CAVEAT

    console = Console()
    console.print(_layers(report))
    console.print(_totals(report))
    for text in (_LEGEND, CAVEAT, *report.notes, report.verdict):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _layers(report: Report) -> Table:
    from rich.markup import escape
    from rich.table import Table

    columns = [report[name] for name in _OF_LAYERS]
    table = Table(title=escape(" | ".join(report.names)), title_justify="left")
    table.add_column("layer", overflow="fold")
    for found in columns:
        table.add_column(found.item.symbol, justify="right")
    for place, layer in enumerate(report.layers):
        cells = (f"{found.first[place]:.2g} | {found.second[place]:.2g}" for found in columns)
        table.add_row(escape(layer.removeprefix("body.")), *cells)
    return table


def _totals(report: Report) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("")
    headings = (*map(escape, report.names), "difference", "95 % interval", "higher on", "p")
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for found in report.comparisons:
        low, high = found.interval
        table.add_row(
            found.item.symbol,
            f"{found.first.sum():.3g}",
            f"{found.second.sum():.3g}",
            f"{found.difference:+.3g}",
            f"{low:.3g} to {high:.3g}",
            f"{found.higher} of {len(found.first)}",
            f"{found.p:.2g}",
        )
    one, other = report.gradients
    gap = one - other
    ends = f"{gap.min():.3g} to {gap.max():.3g}"
    table.add_row("|dR/dx|", f"{one.mean():.3g}", f"{other.mean():.3g}", f"{gap.mean():+.3g}", ends, "8 seeds", "")
    return table

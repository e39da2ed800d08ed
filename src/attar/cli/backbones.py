"""`attar backbones`: what the catalogue knows."""

from __future__ import annotations

from typing import Annotated

import typer

from attar.cli.options import Json


def backbones(
    pattern: Annotated[str, typer.Argument(help="A part of the names to show, or a pattern with * and ?.")] = "*",
    json: Json = False,
) -> None:
    """List the backbones that attar knows by a short name, with size, feature and licence.

    **attar backbones dino**

    Every other network of timm, torchvision, open_clip or the hub works too: --backbone timm:NAME.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from attar.backbones import list_backbones
    from attar.backbones.networks import nearest_network
    from attar.cli.show import print_json
    from attar.errors import BackboneError

    entries = list_backbones(pattern if set("*?[") & set(pattern) else f"*{pattern}*")
    if not entries:
        raise BackboneError(f"no backbone of attar's is called {pattern!r}", nearest_network(pattern.strip("*")))
    if json:
        print_json({"backbones": [asdict(entry) for entry in entries]})
        return
    table = Table(caption="Loader and source of each: --json")
    for heading in ("name", "features", "pixels", "kind", "licence of the weights"):
        table.add_column(heading, justify="right" if heading in ("features", "pixels") else "left")
    for entry in entries:
        table.add_row(entry.name, str(entry.dim), str(entry.image_size), entry.feature, entry.licence)
    Console().print(table)

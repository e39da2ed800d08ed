"""`attar push`: a distilled set on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.options import Json


def push(
    distilled: Annotated[Path, typer.Argument(metavar="SET", help="A distilled set.")],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="What the dataset is called on the hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make it for your eyes only; a public one that is there is refused.")
    ] = False,
    include_real: Annotated[
        bool, typer.Option("--include-real", help="Also where images are, or may be, photos that you may publish.")
    ] = False,
    message: Annotated[str, typer.Option(help="Text of the commit.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go up, and ask nobody.")] = False,
    json: Json = False,
) -> None:
    """Publish a distilled set on the Hugging Face hub, as a dataset that anyone can load and look at.

    **attar push photos.attar you/photos --private**

    It needs a login of huggingface_hub (hf auth login; older: huggingface-cli login) or HF_TOKEN. Elsewhere:
    attar evaluate hf:you/photos ..., or attar.load("hf:you/photos"). What goes up is what attar.json lists. Photos
    don't, nor what may be photos (refined from them, or imported without --method), unless you say so.
    """
    import sys

    import attar
    from attar.cli.show import Shown, print_json
    from attar.distilled.hub import check_name, travelling

    opened = attar.load(distilled)
    check_name(name)
    files = travelling(opened, include_real=include_real)
    about = f"{len(files)} files, {sum(files.values()):,} bytes"
    address = None
    if dry_run:
        print(f"{about} would go to {name}; nothing was sent.", file=sys.stderr)
    else:
        with Shown() as progress:
            address = attar.push(
                opened, name, private=private, include_real=include_real, message=message, progress=progress
            )
        print(f"{about}. Look at its card and write its licence: {address}", file=sys.stderr)
        print(f"Next, anywhere: attar verify hf:{name}", file=sys.stderr)
    if json:
        print_json({"name": name, "address": address, "files": files})
    elif dry_run:
        for file, size in files.items():
            print(f"{size:>12,}  {file}")
    else:
        print(address)

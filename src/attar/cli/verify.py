"""`attar verify`: whether distilled sets and runs are on the disk as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.options import Json


def verify(
    sets: Annotated[list[Path], typer.Argument(help="Distilled sets; also runs, OUT.run.")],
    json: Json = False,
) -> None:
    """Compare every file of distilled sets with the checksum that was written with it.

    **attar verify photos.attar**
    """
    from attar.cli.show import print_json
    from attar.errors import AttarError

    faults: list[AttarError] = []
    rows: list[dict[str, object]] = []
    for path in sets:
        try:
            found, sound = _checked(path), True
        except AttarError as error:
            faults.append(error)
            found, sound = error.message, False
        rows.append({"path": str(path), "ok": sound, "found": found})
        if sound and not json:
            print(f"{path}: {found}")
    if json:
        print_json({"sets": rows})
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "\n".join(fault.message for fault in faults)
        raise AttarError(
            f"{len(faults)} of {len(sets)} are not as they were written:\n{listed}", "Restore them, or distil again."
        )


def _checked(path: Path) -> str:
    """What is found sound at `path`; AttarError where something isn't."""
    from attar.distilled import open_manifest
    from attar.run import Run

    if (path / "settings.toml").is_file():
        run = Run(path)
        run.settings()
        last = run.load_checkpoint()
        return "no checkpoint yet" if last is None else f"its checkpoint after step {last[0]} is whole"
    opened = open_manifest(path)
    opened.verify()
    return f"{len(opened.manifest.files)} files, all as written"

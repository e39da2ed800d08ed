"""Previews of several sets, one beneath the other, each under its name.

python benchmarks/side_by_side.py PICTURE.jpg SET [SET ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

HEAD = 22


def main() -> None:
    target, *sets = map(Path, sys.argv[1:])
    previews = [Image.open(path / "preview.png").convert("RGB") for path in sets]
    width, height = max(each.width for each in previews), sum(each.height + HEAD for each in previews)
    picture = Image.new("RGB", (width, height), "white")
    top = 0
    for path, preview in zip(sets, previews, strict=True):
        ImageDraw.Draw(picture).text((6, top + 4), path.name, fill="black")
        picture.paste(preview, (0, top + HEAD))
        top += preview.height + HEAD
    picture.save(target, quality=82)


if __name__ == "__main__":
    main()

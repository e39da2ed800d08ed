"""What each part of DIVER makes of the same images: one row a set that diffusion.sh made, one image a class.

python benchmarks/diffusion_page.py OUT PAGE.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import attar

SETS = (
    *("sre2l", "vae-only", "diver", "si", "sg", "si+sg", "renoised", "x0hat", "sdedit", "class-only"),
    *("random", "random+diver"),
)
TILE, GAP, MARGIN = 64, 2, 110


def main() -> None:
    out, file = map(Path, sys.argv[1:])
    sets = {name: attar.load(out / name) for name in SETS if (out / name / "attar.json").is_file()}
    classes = len(next(iter(sets.values())).classes)
    page = Image.new("RGB", (MARGIN + classes * (TILE + GAP), len(sets) * (TILE + GAP)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for row, (name, one) in enumerate(sets.items()):
        top = row * (TILE + GAP)
        draw.text((4, top + TILE // 3), name, fill="black", font=font)
        for label in range(classes):
            image = Image.fromarray(one.images[one.labels.tolist().index(label)].transpose(1, 2, 0))
            page.paste(image.resize((TILE, TILE), Image.Resampling.NEAREST), (MARGIN + label * (TILE + GAP), top))
    page.save(file, optimize=True)


if __name__ == "__main__":
    main()

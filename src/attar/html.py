"""Small pieces of HTML, of which `_repr_html_` of sets, runs and evaluations is made: what a notebook shows.

All text is escaped, because class names may come from anywhere. Styles stand on the elements, since notebooks drop
style sheets; colours are the notebook's own, dark or light; nothing is a script, and nothing is fetched.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_LINE = "border-bottom:1px solid rgba(128,128,128,.4)"
_CELL = f"padding:.2em .7em;{_LINE}"
_WIDTH, _HEIGHT = 240, 48
_POINTS = 200


def block(title: str, *parts: str) -> str:
    """A heading and what stands beneath it; `parts` are HTML."""
    return f'<div style="max-width:70em"><p style="margin:.3em 0"><b>{escape(title)}</b></p>{"".join(parts)}</div>'


def note(text: str) -> str:
    """A sentence."""
    return f'<p style="margin:.3em 0">{escape(text)}</p>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, words: int = 1) -> str:
    """A table whose first `words` columns hold words and the others numbers; wide ones scroll in their own box."""
    sides = ["left" if place < words else "right;white-space:nowrap" for place in range(len(headings))]
    head = "".join(
        f'<th scope="col" style="text-align:{side};{_CELL}">{escape(text)}</th>'
        for side, text in zip(sides, headings, strict=True)
    )
    lines = "".join(f"<tr>{_cells(sides, row)}</tr>" for row in rows)
    title = f'<caption style="text-align:left;caption-side:top;padding:.3em 0">{escape(caption)}</caption>'
    start = '<div style="overflow-x:auto"><table style="border-collapse:collapse">'
    return f"{start}{title}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def facts(title: str, values: Mapping[str, object]) -> str:
    """Names and values, folded under `title`."""
    lines = "".join(
        f'<tr><th scope="row" style="text-align:left;font-weight:normal;{_CELL}">{escape(name)}</th>'
        f'<td style="text-align:left;{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in values.items()
    )
    body = f'<table style="border-collapse:collapse">{lines}</table>'
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def figure(title: str, pictures: Sequence[str]) -> str:
    """Pictures (of `thumbnail`) beside each other, with a title beneath."""
    words = f'<figcaption style="text-align:center;overflow-wrap:anywhere">{escape(title)}</figcaption>'
    row = f'<div style="display:flex;flex-wrap:wrap;gap:3px">{"".join(pictures)}</div>'
    return f'<figure style="margin:0">{row}{words}</figure>'


def figures(each: Sequence[str]) -> str:
    """A grid of figures."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px">{"".join(each)}</div>'


def thumbnail(image: UInt8[np.ndarray, "3 h w"], side: int, words: str) -> str:
    """A picture at most `side` pixels high, shown at `side`: small images keep their pixels."""
    shown = Image.fromarray(image.transpose(1, 2, 0))
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    style = f"width:{side}px;height:{side}px;max-width:none;margin:0"
    return _img(shown, words, style + (";image-rendering:pixelated" if shown.width <= side // 2 else ""))


def picture(path: Path, width: int = 480) -> str:
    """The picture that lies at `path`, at most `width` pixels wide; a sentence where it can't be read."""
    try:
        with Image.open(path) as file:
            file.thumbnail((width, 4 * width))
            return _img(file.convert("RGB"), path.stem, "max-width:100%")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return note(f"{path.name} can't be shown.")


def sparkline(values: Sequence[float], name: str) -> str:
    """A curve of `values` with the first and the last one in words; a sentence where fewer than two are finite."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return note(f"No curve of the {name} yet.")
    words = f"{name}: {known[0]:.4g} at the start, {known[-1]:.4g} at the end, {min(known):.4g} at the lowest"
    chosen = [known[round(place)] for place in np.linspace(0, len(known) - 1, min(len(known), _POINTS))]
    low, span = min(chosen), max(chosen) - min(chosen) or 1.0
    across = _WIDTH / (len(chosen) - 1)
    points = " ".join(
        f"{place * across:.1f},{_HEIGHT - 2 - (_HEIGHT - 4) * (value - low) / span:.1f}"
        for place, value in enumerate(chosen)
    )
    line = f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    return f'<svg role="img" aria-label="{escape(words)}" {size} style="display:block">{line}</svg>{note(words)}'


def _cells(sides: Sequence[str], row: Sequence[str]) -> str:
    return "".join(
        f'<td style="text-align:{side};{_CELL}">{escape(text)}</td>' for side, text in zip(sides, row, strict=True)
    )


def _img(image: Image.Image, words: str, style: str) -> str:
    """An inline WebP: noise, which PNG can't pack, takes a fifth of the bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=75)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(words)}" style="{style}" src="data:image/webp;base64,{data}">'

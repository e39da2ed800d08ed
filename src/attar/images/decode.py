"""One decoder for every image file: upright 8-bit RGB, whatever the file holds."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from attar.errors import ImageError

# A file is known by its first bytes, not by its ending. Naming the five readers, instead of asking `Image.open`, keeps
# untrusted files away from Pillow's other forty, and avoids its warning about large images: silencing a warning
# changes state that all threads share, and the size is checked here anyway.
_READERS = {
    b"\xff\xd8\xff": ("JPEG", JpegImageFile),
    b"\x89PNG\r\n\x1a\n": ("PNG", PngImageFile),
    b"RIFF": ("WebP", WebPImageFile),
    b"BM": ("BMP", BmpImageFile),
    b"GIF8": ("GIF", GifImageFile),
}

_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

MAX_PIXELS = 64_000_000


def decode(
    file: Path | bytes | io.BufferedIOBase, shorter_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "3 h w"]:
    """The first frame of a JPEG, PNG, WebP, BMP or GIF file as upright RGB, values 0..255.

    EXIF orientation is applied, transparency is laid on white, grey fills three channels, 16-bit grey is scaled
    (65535 becomes 255). With `shorter_side` the image is resized (bilinear, antialiased) so that its shorter side is
    exactly that many pixels; JPEGs are then decoded at 1/2, 1/4 or 1/8 where that leaves enough pixels.

    Raises ImageError for a file that can't be read, is empty, damaged, of another kind, or has more than `max_pixels`
    pixels; the size is taken from the header, before anything is decoded.
    """
    data = _bytes(file)
    kind, reader = _reader(data)
    try:
        with reader(io.BytesIO(data)) as image:
            size = _target(image.size, shorter_side, max_pixels)
            image.draft(None, size)  # does nothing but for JPEGs, and there only where fewer pixels will do
            return _upright(image, size)
    except _DAMAGED as error:
        raise ImageError(f"truncated or damaged {kind} ({error})") from error


def to_pixels(image: Image.Image, shorter_side: int | None = None) -> UInt8[np.ndarray, "3 h w"]:
    """A Pillow image as `decode` would give it: upright RGB, resized where `shorter_side` says so."""
    return _upright(image, _target(image.size, shorter_side, MAX_PIXELS))


def resize(pixels: UInt8[np.ndarray, "3 h w"], shorter_side: int | None) -> UInt8[np.ndarray, "3 new_h new_w"]:
    """`pixels` with a shorter side of `shorter_side` (bilinear, antialiased); as they are where that is None."""
    height, width = pixels.shape[1:]
    if shorter_side is None or min(height, width) == shorter_side:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    size = _target((width, height), shorter_side, MAX_PIXELS)
    return _planes(image.resize(size, Image.Resampling.BILINEAR))


def _bytes(file: Path | bytes | io.BufferedIOBase) -> bytes:
    if isinstance(file, bytes):
        return file
    try:
        return file.read_bytes() if isinstance(file, Path) else file.read()
    except OSError as error:
        raise ImageError(f"the file can't be read ({error.strerror})") from error


def _reader(data: bytes) -> tuple[str, type[ImageFile]]:
    if not data:
        raise ImageError("the file is empty")
    for head, found in _READERS.items():
        if data.startswith(head):
            return found
    raise ImageError("it is no JPEG, PNG, WebP, BMP or GIF file")


def _target(size: tuple[int, int], shorter_side: int | None, max_pixels: int) -> tuple[int, int]:
    """(width, height) with that shorter side; the longer one is rounded down, as torchvision's Resize does."""
    if size[0] * size[1] > max_pixels:
        raise ImageError(f"{size[0]}x{size[1]} is more than {max_pixels:,} pixels")
    if shorter_side is None:
        return size
    longer_side = shorter_side * max(size) // min(size)
    if shorter_side * longer_side > max_pixels:
        raise ImageError(f"{size[0]}x{size[1]} is too elongated to give it a shorter side of {shorter_side}")
    return (shorter_side, longer_side) if size[0] <= size[1] else (longer_side, shorter_side)


def _upright(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    image.load()
    colours = _rgb(image)
    if colours.size != size:
        colours = colours.resize(size, Image.Resampling.BILINEAR)
    turn = _UPRIGHT.get(_orientation(image))
    return _planes(colours if turn is None else colours.transpose(turn))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion saturates: every value above 255 would become white.
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except _DAMAGED:  # damaged EXIF beside sound pixels: many cameras and editors write it
        return 1


def _planes(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

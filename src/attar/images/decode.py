"""One decoder for every image file: upright 8-bit RGB, whatever the file holds."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
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
from attar.images.facts import Fact, examine

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

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    RuntimeError,
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
# Files with these endings are taken for images.
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".heic", ".heif"})


def decode(
    file: Path | bytes | io.BufferedIOBase, shorter_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "3 h w"]:
    """The first frame of a JPEG, PNG, WebP, BMP, GIF or (with the extra `heic`) HEIC file as upright RGB, 0..255.

    EXIF orientation is applied, transparency is laid on white, grey fills three channels, 16-bit grey is scaled
    (65535 becomes 255). With `shorter_side` the image is resized (bilinear, antialiased) so that its shorter side is
    exactly that many pixels; JPEGs are then decoded at 1/2, 1/4 or 1/8 where that leaves enough pixels.

    Raises ImageError for a file that can't be read, is empty, damaged, of another kind, or has more than `max_pixels`
    pixels; the size is taken from the header, before anything is decoded.
    """
    with _opened(_bytes(file)) as image:
        size = _target(image.size, shorter_side, max_pixels)
        _reduce(image, size)
        return _upright(_rgb(_loaded(image)), size, _turn(image))


def decode_and_examine(
    file: Path | bytes | io.BufferedIOBase, shorter_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[UInt8[np.ndarray, "3 h w"], Fact]:
    """What `decode` gives, and the fact of the full-size pixels.

    The file is decoded once, except for JPEGs of which `decode` would decode a fraction: these once more, in full.
    Raises ImageError as `decode` does, also where only the full-size image is damaged.
    """
    data = _bytes(file)
    with _opened(data) as image:
        full_size = image.size
        size = _target(full_size, shorter_side, max_pixels)
        _reduce(image, size)
        reduced = image.size != full_size
        colours, turn = _rgb(_loaded(image)), _turn(image)
        pixels = _upright(colours, size, turn)
        whole = pixels if size == full_size or reduced else _upright(colours, full_size, turn)
    return pixels, examine(decode(data, None, max_pixels) if reduced else whole)


def to_pixels(image: Image.Image, shorter_side: int | None = None) -> UInt8[np.ndarray, "3 h w"]:
    """A Pillow image as `decode` would give it: upright RGB, resized where `shorter_side` says so."""
    return _upright(_rgb(image), _target(image.size, shorter_side, MAX_PIXELS), _turn(image))


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


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[ImageFile]:
    """The image with its header read; what Pillow raises, then or while it is used, becomes an ImageError."""
    kind, reader = _reader(data)
    try:
        with reader(io.BytesIO(data)) as image:
            yield image
    except _DAMAGED as error:
        reason = " ".join(str(error).split())  # libheif's messages end lines
        raise ImageError(f"truncated or damaged {kind} ({reason})") from error


def _reader(data: bytes) -> tuple[str, type[ImageFile]]:
    if not data:
        raise ImageError("the file is empty")
    for head, found in _READERS.items():
        if data.startswith(head):
            return found
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "HEIC", _heic_reader()
    raise ImageError("it is no JPEG, PNG, WebP, BMP, GIF or HEIC file")


def _heic_reader() -> type[ImageFile]:
    """Pillow's reader from pillow-heif, used without registering it. It turns images upright and says so in EXIF."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError('it is a HEIC file, which needs pip install "attar[heic]"') from error
    return HeifImageFile


def _reduce(image: ImageFile, size: tuple[int, int]) -> None:
    """Decode a JPEG at 1/2, 1/4 or 1/8 where that leaves `size`. (In a HEIC file `draft` would take a thumbnail.)"""
    if isinstance(image, JpegImageFile):
        image.draft(None, size)


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


def _upright(colours: Image.Image, size: tuple[int, int], turn: Image.Transpose | None) -> np.ndarray:
    if colours.size != size:
        colours = colours.resize(size, Image.Resampling.BILINEAR)
    return _planes(colours if turn is None else colours.transpose(turn))


def _loaded(image: ImageFile) -> ImageFile:
    stated = image.size
    image.load()
    if image.size != stated:  # HEIC says it twice; the limit on pixels was held against the first
        raise ValueError(f"{image.size[0]}x{image.size[1]} pixels instead of {stated[0]}x{stated[1]}")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion saturates: every value above 255 would become white.
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How the loaded image must be turned to stand upright; None where it does."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGED:  # damaged EXIF beside sound pixels: many cameras and editors write it
        return None


def _planes(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

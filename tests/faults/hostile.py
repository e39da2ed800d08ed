"""Hostile files of every kind that attar reads, and the one property all of them must have.

Whatever a file holds: attar reads it, or refuses it with an AttarError. No other exception, no warning, no code of the
file is run, no file appears outside of the folder, and memory stays bounded. `survive` checks one input; the suite
draws few inputs from `KINDS`, benchmarks/fuzz.py many.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import pickle
import shutil
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import attar
from attar.backbones.weights import fit_weights, read_weights
from attar.distilled import load, write
from attar.errors import AttarError
from attar.images import ArraySource, decode
from attar.images.titles import find_titles, read_titles
from attar.run import Run, toml
from attar.tensors import read_tensors, write_tensors
from small import manifest

MEMORY = 400 * 2**20  # by so much may the memory grow
PIXELS = 4_000_000  # images beyond are refused here, so that a sound one can't fill the memory

NAMES = (
    "", ".", "..", "../../x", "/etc/passwd", "a/b", "a\\b", "con", "CON.txt", "nul", "a\0b", "a\nb", "\x1b[2J", "😀",
    "\u202ertl", "عربي", "é", "e\u0301", "ﬁ", "a" * 300, "é" * 300, "=cmd()", "+1", "-rf", "@x", "<script>alert(1)",
    "</title>", "a'b\"c", "$(touch x)", "%s", "{0}", "A", "a", "\ud800", "\ufeff", " ", "a ", "images/link", "|", "`x`",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "1", "-1",
    "1e9", [], {}, [[]], [None], {"": None}, [1, "a"], *NAMES,
)  # fmt: skip
_INTEGERS = (0, 1, 2, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Kind:
    """A kind of input: `make` writes one into a folder and returns its path, `read` is all that attar does with it."""

    name: str
    make: Callable[[Random, Path], Path]
    read: Callable[[Path], object]


def survive(kind: Kind, random: Random) -> bool:
    """Whether attar accepts the input drawn; AssertionError where what it does is neither accepting nor refusing."""
    with tempfile.TemporaryDirectory() as root, contextlib.chdir(root):
        folder = Path(root) / "a" / "b" / "inside"
        folder.mkdir(parents=True)
        path = kind.make(random, folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                # Pillow warns of damaged EXIF; such photos are read all the same.
                warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
                kind.read(path)
            accepted = True
        except AttarError as error:
            assert error.message and len(str(error)) < 5000, f"a message of {len(str(error))} letters"
            accepted = False
        outside = [found for found in Path(root).rglob("*") if not found.is_relative_to(folder) and found.is_file()]
        assert not outside, f"these files appeared: {outside}"
    return accepted


@contextlib.contextmanager
def bounded_memory():
    """AssertionError where the memory grows by more than MEMORY meanwhile; only Linux can tell."""
    before = start_peak()
    yield
    growth = peak() - before
    assert growth < MEMORY, f"memory grew by {growth / 2**20:.0f} MiB"


def start_peak() -> int:
    """Forget what was held before; what is held now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most bytes of memory that this process held since `start_peak`; 0 where the system doesn't tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return 0


def mutated(random: Random, data: bytes) -> bytes:
    """`data` with one to four wounds: bytes changed, cut, doubled, moved, inserted, made an extreme integer."""
    content = bytearray(data)
    for _ in range(random.randint(1, 4)):
        # Headers come first, and most of what can go wrong is in them.
        place = random.randrange(min(len(content), random.choice((16, 64, 512, len(content)))) + 1) if content else 0
        length = random.choice((1, 2, 4, 8, 64))
        match random.randrange(7):
            case 0 if content:
                content[min(place, len(content) - 1)] = random.randrange(256)
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = content[place : place + length]
            case 3:
                content[place:place] = random.choice((b"\0", b"\xff", b"/", b"\n", b'"', b"(")) * length
            case 4:
                value = random.choice(_INTEGERS)
                content[place : place + 4] = struct.pack(random.choice((">I", "<I")), value)
            case 5:
                del content[place + random.randrange(len(content) + 1) :]
            case _:
                start = random.randrange(len(content) + 1)
                content[place : place + length] = content[start : start + length]
    return bytes(content)


def altered(random: Random, document: Any) -> Any:
    """A copy of a JSON-like document of which one to three parts are replaced, removed or added."""
    document = copy.deepcopy(document)
    for _ in range(random.randint(1, 3)):
        place = document
        while isinstance(place, dict | list) and place:
            key = random.choice(sorted(place)) if isinstance(place, dict) else random.randrange(len(place))
            if isinstance(place[key], dict | list) and place[key] and random.random() < 0.7:
                place = place[key]
                continue
            value = copy.deepcopy(random.choice(VALUES))
            match random.randrange(4):
                case 0:
                    del place[key]
                case 1 if isinstance(place, list):
                    place.append(value)
                case 1:
                    place[random.choice(NAMES)] = value
                case _:
                    place[key] = value
            break
    return document


def deep(random: Random) -> str:
    """JSON that is nested beyond reason."""
    return random.choice(("[", '{"a":', "[[")) * random.choice((50, 2_000, 100_000))


# Images


@functools.cache
def _image(kind: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, Any] = {"exif": exif} if kind in ("JPEG", "PNG", "WebP") else {}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _make_image(kind: str, random: Random, folder: Path) -> Path:
    data = _image(kind)
    if random.random() < 0.2:  # the head of one, the body of another
        other = _image(random.choice(("JPEG", "PNG", "WebP", "BMP", "GIF")))
        cut = random.randrange(min(len(data), len(other)))
        data = data[:cut] + other[cut:]
    data = mutated(random, data)
    path = folder / "image"
    path.write_bytes(_with_checksums(data) if kind == "PNG" and random.random() < 0.7 else data)
    return path


def _with_checksums(png: bytes) -> bytes:
    """A PNG file whose chunks have the right checksums, so that what is wrong inside of them is met."""
    content, place = bytearray(png), 8
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return bytes(content)


def _read_image(path: Path) -> None:
    for side in (None, 5):
        pixels = decode(path, side, PIXELS)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and len(pixels) == 3


# Arrays


def _npy(header: str, content: bytes = b"\0" * 64) -> bytes:
    text = header.encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) % 65536) + text + content


def _array(random: Random) -> bytes:
    shape = random.choice(("(100000000000,)", "(4, 10000000000, 3)", "(2, 3, 4, 3)", "(-1,)", "(2**40,)", "()", "[2]",
                           "(99999999999999999999999,)", "(True,)", "(" * 200))  # fmt: skip
    kind = random.choice(("|u1", "<i8", "|O", "<U1000000000", "|V0", "<f8", "nonsense", "<M8[ns]", "|S0"))
    return _npy(f"{{'descr': {kind!r}, 'fortran_order': {random.choice((True, False, 3))}, 'shape': {shape}, }}")


def _make_npz(random: Random, folder: Path) -> Path:
    parts: dict[str, Any] = {
        "images": np.zeros((4, 5, 7, 3), np.uint8),
        "labels": np.array([0, 0, 1, 1]),
        "names": np.array(["a", "b"]),
    }
    way = random.randrange(5)
    if way == 0:
        part = random.choice(("images", "labels", "names"))
        parts[part] = random.choice((
            np.array([_Bomb(folder), None]), np.zeros((0,)), np.zeros(()), np.full(4, 2**62), np.full(4, -1),
            np.array([b"a"]), np.array(["a\0b", "c"]), np.zeros((4, 5, 7, 3)), np.full(4, 2**63, np.uint64),
            np.array(random.sample(NAMES, 2), dtype=object).astype(str) if random.random() < 0.5 else np.zeros(9, bool),
            np.zeros(2, [("a", "u1")]), np.array(["NaT"], "M8[s]"),
        ))  # fmt: skip
    file = io.BytesIO()
    (np.savez_compressed if random.random() < 0.5 else np.savez)(file, **parts)
    path = folder / "data.npz"
    if way == 1:
        with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
            warnings.simplefilter("ignore")  # two members of one name
            name = random.choice(("images.npy", "labels.npy", "names.npy", "../../x.npy", "images"))
            archive.writestr(name, _array(random))
    elif way == 2:
        with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("images.npy", "labels.npy"):
                header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1000, 300000, 3), }"
                content = bytes(random.choice((0, 100, 2**24)))
                archive.writestr(name, _array(random) if random.random() < 0.5 else _npy(header, content))
    path.write_bytes(mutated(random, file.getvalue()) if way == 3 else file.getvalue())
    return path


def _read_source(path: Path) -> None:
    source = attar.open(path)
    assert len(source) == len(source.labels) and source.counts.min() > 0
    for _ in source.read(range(min(3, len(source))), shorter_side=5):
        pass
    assert len(source.fingerprint) == 64


# Tensors


def _header(header: object, length: int | None = None, content: bytes = bytes(48)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if length is None else length) % 2**64) + text + content


def _make_safetensors(random: Random, folder: Path) -> Path:
    sound = {
        "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "bias": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
        "__metadata__": {"step": "1"},
    }
    path = folder / "weights.safetensors"
    match random.randrange(5):
        case 0:
            data = _header(altered(random, sound), content=bytes(32))
        case 1:
            data = _header(sound, length=random.choice((0, 1, 8, 2**20, 100_000_000, 2**32, 2**63, 2**64 - 1)))
        case 2:
            data = _header(deep(random).encode())
        case 3:
            overlapping = {str(n): {"dtype": "U8", "shape": [48], "data_offsets": [0, 48]} for n in range(1000)}
            data = _header(overlapping)
        case _:
            write_tensors(path, {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, {"step": "1"})
            data = path.read_bytes()
            data = mutated(random, data) if random.random() < 0.9 else data
    path.write_bytes(data)
    return path


class _Bomb:
    """A pickle of it makes a file outside of the folder when it is loaded."""

    def __init__(self, folder: Path):
        self._file = folder.parent / "a pickle was run"

    def __reduce__(self):
        return Path.touch, (self._file,)


def _make_pickle(random: Random, folder: Path) -> Path:
    path = folder / f"weights{random.choice(('.pt', '.pth', '.bin'))}"
    weights: dict[Any, Any] = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    way = random.randrange(5)
    if way == 0:
        wrapped = {"state_dict": weights, "extra": _Bomb(folder)}
        path.write_bytes(pickle.dumps(random.choice((_Bomb(folder), [_Bomb(folder)], wrapped)), random.randrange(5)))
        return path
    if way == 1:
        weights["weight"] = random.choice((
            torch.ones(2, 3).to_sparse(), torch.ones(2, 3, dtype=torch.complex64), torch.ones(2, 3, device="meta"),
            torch.ones(2, 3).bool(), torch.ones(2, 3, requires_grad=True), torch.ones(2, 3).to(torch.float8_e4m3fn),
            torch.ones(1).expand(2, 3), torch.full((2, 3), torch.nan), nn.Parameter(torch.ones(2, 3)), 3, None,
            torch.empty(0), _Bomb(folder),
        ))  # fmt: skip
    if way == 2:
        weights = {random.choice(("model", "teacher", "state_dict", 3, None, ("a",))): random.choice((weights, [], 3))}
        weights["model"] = weights.get("model", weights)  # may hold itself
    torch.save(weights, path, _use_new_zipfile_serialization=random.random() < 0.5)
    if way >= 3:
        path.write_bytes(mutated(random, path.read_bytes()))
    return path


def _read_weights(path: Path) -> None:
    fit_weights(nn.Linear(3, 2), read_weights(path), name="small", path=path, is_head=lambda key: False)


def _read_both(path: Path) -> None:
    with contextlib.suppress(AttarError):
        _read_weights(path)
    read_tensors(path)


# Distilled sets


@functools.cache
def _set() -> dict[str, bytes]:
    """The files of a sound set."""
    with tempfile.TemporaryDirectory() as place:
        images = np.random.default_rng(0).integers(0, 256, (6, 3, 7, 7), dtype=np.uint8)
        made = write(Path(place) / "x", images, np.arange(3).repeat(2), manifest=manifest(), train_hashes=[b"\1" * 32])
        return {str(file.relative_to(made.path)): file.read_bytes() for file in made.path.rglob("*") if file.is_file()}


def _make_set(random: Random, folder: Path) -> Path:
    made = folder / "x.attar"
    files = dict(_set())
    match random.randrange(5):
        case 0:
            files["attar.json"] = json.dumps(altered(random, json.loads(files["attar.json"]))).encode()
        case 1:
            rows = [line.split(",") for line in files["images/metadata.csv"].decode().splitlines()]
            for _ in range(random.randint(1, 3)):
                row = random.choice(rows)
                row[random.randrange(len(row))] = str(random.choice(VALUES))
            files["images/metadata.csv"] = "\n".join(map(",".join, rows)).encode(errors="surrogatepass")
        case 2:
            files["attar.json"] = deep(random).encode()
        case 3:
            del files[random.choice(sorted(files))]
        case _:
            name = random.choice(sorted(files))
            files[name] = mutated(random, files[name])
    for name, content in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    if random.random() < 0.1:
        shutil.rmtree(made / "images" / "ant", ignore_errors=True)
        (made / "images" / "ant").symlink_to(random.choice(("/", "..", "ant", "../..")))
    return made


def _read_set(path: Path) -> None:
    found = load(path)
    parts: tuple[Callable[[], object], ...] = (
        lambda: found.images, lambda: found.labels, lambda: found.weights, lambda: found.source, lambda: found[0],
        lambda: found.train_hashes, lambda: len(found), found.verify,
    )  # fmt: skip
    first: AttarError | None = None
    for part in parts:  # what one refuses, the others still meet
        try:
            part()
        except AttarError as error:
            first = first or error
    if first:
        raise first
    assert found.images.shape == (len(found), 3, found.manifest.image_side, found.manifest.image_side)
    assert found.labels.min() >= 0 and found.labels.max() < len(found.classes)
    assert np.isfinite(found.weights).all() and (found.weights >= 0).all()


def _make_names(random: Random, folder: Path) -> Path:
    count = random.randint(2, 6)
    pieces = [random.choice(NAMES) + random.choice(("", random.choice(NAMES))) for _ in range(2 * count)]
    (folder / "names.json").write_text(json.dumps([pieces[:count], pieces[count:]]))
    return folder / "names.json"


def _read_names(path: Path) -> None:
    names, titles = json.loads(path.read_text())
    images = np.zeros((len(names), 7, 7, 3), np.uint8)
    source = ArraySource(images, np.arange(len(names)), names)
    (path.parent / "titles.json").write_text(json.dumps(titles))
    titles = read_titles(path.parent / "titles.json", source.classes)
    about = manifest(source.classes, titles, data={"name": titles[0], "fingerprint": "d", "licence": names[0]})
    made = write(path.parent / "x.attar", images.transpose(0, 3, 1, 2), source.labels, manifest=about, sources=names)
    assert made.classes == source.classes and made.titles == titles
    made.verify()
    card = (made.path / "README.md").read_text()
    assert "<script" not in card.partition("---\n# ")[2] and len(made.images) == len(names)


# Runs, titles, tables, tar files


def _make_run(random: Random, folder: Path) -> Path:
    run = folder / "x.run"
    run.mkdir()
    settings = toml({"steps": 3, "lr": 0.5, "mean": [0.5, 0.25], "method": "sfm", "flip": True}).encode()
    files = {"settings.toml": settings, "places.toml": b'train = "photos/train"\n', "log.jsonl": b'{"step": 1}\n' * 3}
    Run(run).save_checkpoint(2, {"canvas": torch.ones(3)}, images=3)
    kept = [run / "checkpoint.json", *(run / "checkpoint").iterdir()]
    files |= {path.relative_to(run).as_posix(): path.read_bytes() for path in kept}
    name = random.choice(sorted(files))
    files[name] = mutated(random, files[name])
    for name, content in files.items():
        (run / name).write_bytes(content)
    return run


def _read_run(path: Path) -> None:
    run = Run(path)
    try:
        run.settings()
        place = run.place("train")
        assert place is None or isinstance(place, str)
        run.forget_log_from(2)
    finally:
        run.load_checkpoint()
    Run.begin(path.with_name("x"), {"steps": 3, "lr": 0.5, "mean": [0.5, 0.25], "method": "sfm", "flip": True})


def _make_titles(random: Random, folder: Path) -> Path:
    path = folder / random.choice(("classes.json", "classes.txt"))
    sound = random.choice((["Ant", "Bee"], {"a": "Ant", "b": "Bee"}, {"classes": [{"wnid": "a", "name": "Ant"}]}))
    match random.randrange(4):
        case 0:
            path.write_text(deep(random))
        case 1:
            path.write_bytes(mutated(random, json.dumps(sound).encode()))
        case 2:
            path.write_text("\n".join(random.sample(NAMES, 2)), errors="surrogatepass")
        case _:
            path.write_text(json.dumps(altered(random, sound)))
    return path


def _read_titles(path: Path) -> None:
    classes = ("a", "b")
    assert len(find_titles(path.parent, classes)) == 2
    assert len(read_titles(path, classes)) == 2


def _make_table(random: Random, folder: Path) -> Path:
    rows = [["file_name", "label"], ["a.png", "x"], ["b.png", "y"]]
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(_image("PNG"))
    if random.random() < 0.7:
        row = random.choice(rows)
        row[random.randrange(2)] = str(random.choice(VALUES))
    content = "\n".join(map(",".join, rows)).encode(errors="surrogatepass")
    (folder / "labels.csv").write_bytes(mutated(random, content) if random.random() < 0.5 else content)
    return folder


def _make_tar(random: Random, folder: Path) -> Path:
    stream = io.BytesIO()
    form = random.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    members = [["a.png", _image("PNG")], ["a.cls", b"0"], ["b.jpg", _image("JPEG")], ["b.json", b'{"label": 1}']]
    if random.random() < 0.5:
        member = random.choice(members)
        member[0] = random.choice(NAMES) + random.choice(("", ".png", ".cls", ".pkl", ".json"))
    if random.random() < 0.3:
        members[3][1] = random.choice((deep(random).encode(), json.dumps(random.choice(VALUES)).encode(), b"\xff"))
    with (
        contextlib.suppress(ValueError),  # names that tarfile itself refuses
        tarfile.open(fileobj=stream, mode="w", format=form, errors="surrogatepass") as archive,
    ):
        for name, content in members:
            member = tarfile.TarInfo(str(name))
            member.size = len(content)
            if random.random() < 0.05:
                member.type = random.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"S"))
                member.linkname, member.size = "../../../etc/passwd", 0
            archive.addfile(member, io.BytesIO(content[: member.size]))
    data = stream.getvalue()
    match random.randrange(3):
        case 0:
            data = mutated(random, data)
        case 1 if data:
            data = _with_lying_header(random, data)
    path = folder / "shard.tar"
    path.write_bytes(data)
    return path


def _with_lying_header(random: Random, tar: bytes) -> bytes:
    """A tar file of which one header says something else, under a right checksum."""
    content = bytearray(tar)
    start = 512 * random.randrange(min(8, len(content) // 512))
    place, length = random.choice(((0, 100), (124, 12), (156, 1), (157, 100), (345, 155)))  # name, size, type, ...
    lie = random.choice((b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1", b"../../x", b"\0", b"x", b"L"))
    content[start + place : start + place + len(lie[:length])] = lie[:length]
    block = content[start : start + 512]
    checksum = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
    content[start + 148 : start + 156] = b"%06o\0 " % checksum
    return bytes(content)


KINDS = {
    kind.name: kind
    for kind in (
        *(Kind(name.lower(), functools.partial(_make_image, name), _read_image)
          for name in ("JPEG", "PNG", "WebP", "BMP", "GIF")),
        Kind("npz", _make_npz, _read_source),
        Kind("safetensors", _make_safetensors, _read_both),
        Kind("pickle", _make_pickle, _read_weights),
        Kind("set", _make_set, _read_set),
        Kind("names", _make_names, _read_names),
        Kind("run", _make_run, _read_run),
        Kind("titles", _make_titles, _read_titles),
        Kind("table", _make_table, _read_source),
        Kind("tar", _make_tar, _read_source),
    )
}  # fmt: skip

"""Tar shards: webdataset's layout is read, and nothing in a hostile tar file gets further than a sentence."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from attar.errors import ImageError
from attar.images import ArraySource, ShardSource, open
from attar.images.shards import expand

PNG = io.BytesIO()
Image.new("RGB", (11, 7), "red").save(PNG, "PNG")
PNG = PNG.getvalue()


def tar(file, *members, form=tarfile.PAX_FORMAT):
    """Write a tar file of (name, bytes) or of (name, bytes, attributes of TarInfo)."""
    with tarfile.open(file, "w", format=form) as out:
        for name, data, *more in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in (more[0] if more else {}).items():
                setattr(info, key, value)
            out.addfile(info, io.BytesIO(data))
    return file


def sample(key, label, image=PNG, ending="png"):
    return (f"{key}.{ending}", image), (f"{key}.cls", str(label).encode())


def labelled(*labels):
    return [member for number, label in enumerate(labels) for member in sample(f"{number:03d}", label)]


def test_images_and_labels_are_read_by_offset(pets, tmp_path):
    folder, images, labels = pets
    files = sorted(folder.rglob("*.png"))
    for number, part in enumerate((files[:2], files[2:])):
        members = [m for file in part for m in sample(file.stem, file.parent.name, file.read_bytes())]
        tar(tmp_path / f"pets-{number}.tar", *members)
    source = open(str(tmp_path / "pets-{0..1}.tar"))
    assert isinstance(source, ShardSource)
    assert source.classes == source.titles == ("cats", "dogs") and source.labels.tolist() == labels
    assert source.name(3) == "pets-1.tar/0003.png" and source.location == str(tmp_path / "pets-{0..1}.tar")
    assert source.hashes() == ArraySource(images, labels).hashes()
    for index, image in source.read([4, 1]):
        np.testing.assert_array_equal(image, images[index].transpose(2, 0, 1))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_and_the_attributes_of_every_format_are_understood(tmp_path, form):
    key = "/".join(["tief" * 20, "כלב" if form != tarfile.USTAR_FORMAT else "dog", "x" * 90])
    members = [(*m, {"mtime": 1.5}) for m in [*sample(key, "a"), *sample("z", "b")]]
    if form == tarfile.USTAR_FORMAT:
        members = [(name, data) for name, data, _ in members]
    source = open(tar(tmp_path / "a.tar", *members, form=form))
    assert [source.name(index) for index in (0, 1)] == [f"a.tar/{key}.png", "a.tar/z.png"]
    assert len(set(source.hashes())) == 1


def test_the_key_ends_at_the_first_dot_of_the_last_part(tmp_path):
    members = [
        ("dir.v1/a.jpg", PNG),
        ("dir.v1/a.seg.png", b"a mask, not the image"),
        ("dir.v1/a.cls", b"x\n"),
        ("dir.v1/._b.png", b"macOS"),
        ("./other/a.PNG", PNG),
        ("./other/a.txt", b"a caption"),
        ("other/a.cls", b"y"),
    ]
    source = open(tar(tmp_path / "a.tar", *members))
    assert [source.name(index) for index in range(len(source))] == ["a.tar/dir.v1/a.jpg", "a.tar/other/a.PNG"]


def test_members_of_other_kinds_are_never_opened(tmp_path):
    bomb = b"cos\nsystem\n(S'touch /tmp/attar-was-here'\ntR."
    members = [("0.pickle", bomb), ("0.pyd", bomb), ("0.pth", bomb), *labelled("a", "b")]
    assert len(open(tar(tmp_path / "a.tar", *members)).hashes()) == 2


@pytest.mark.parametrize("key", ["label", "cls", "class"])
@pytest.mark.parametrize("values", [("ant", "bee"), (0, 1)])
def test_labels_from_json(tmp_path, key, values):
    members = []
    for number, value in enumerate(values):
        members += [(f"{number}.png", PNG), (f"{number}.json", json.dumps({"width": 11, key: value}).encode())]
    source = open(tar(tmp_path / "a.tar", *members))
    assert source.classes == tuple(map(str, values)) and source.labels.tolist() == [0, 1]


def test_json_without_a_label_may_stand_beside_cls(tmp_path):
    members = [m for n in (0, 1) for m in [*sample(str(n), n), (f"{n}.json", b'{"caption": "x"}')]]
    assert open(tar(tmp_path / "a.tar", *members)).labels.tolist() == [0, 1]
    assert open(tar(tmp_path / "b.tar", *reversed(members))).labels.tolist() == [1, 0]


@pytest.mark.parametrize("other", [b"{", b'{"label": [1]}', b" " * 2**21])
def test_json_that_is_no_label_may_stand_beside_cls(tmp_path, other):
    members = [m for n in (0, 1) for m in [*sample(str(n), n), (f"{n}.json", other)]]
    assert open(tar(tmp_path / "a.tar", *members)).labels.tolist() == [0, 1]
    assert open(tar(tmp_path / "b.tar", *reversed(members))).labels.tolist() == [1, 0]


def test_one_shard_may_be_named_absolutely_and_another_not(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for place in ("data/train.tar", "val.tar"):
        tar(tmp_path / place, *labelled("a", "b"))
    monkeypatch.chdir(tmp_path)
    source = open(f"{{{tmp_path}/data/train,val}}.tar")
    assert [source.name(index) for index in (0, 2)] == ["data/train.tar/000.png", "val.tar/000.png"]


def test_integers_are_positions_and_names_are_sorted_as_strings(tmp_path):
    assert open(tar(tmp_path / "a.tar", *labelled(*range(11)))).classes == tuple(map(str, range(11)))
    assert open(tar(tmp_path / "b.tar", *labelled("no2", "no10", "no1"))).labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("name", "text", "classes", "titles"),
    [
        ("classes.txt", "zebra\nant\n", ("zebra", "ant"), ("zebra", "ant")),
        ("classes.json", '["zebra", "ant"]', ("zebra", "ant"), ("zebra", "ant")),
        ("classes.json", '{"1": "ant", "0": "zebra"}', ("zebra", "ant"), ("zebra", "ant")),
        (
            "classes.json",
            '{"classes": [{"wnid": "n2", "name": "zebra"}, {"wnid": "n1", "name": "ant"}]}',
            ("n2", "n1"),
            ("zebra", "ant"),
        ),
        ("classes.json", '{"zebra": "Zebra"}', ("0", "1"), ("0", "1")),
    ],
)
def test_names_of_integers_come_from_beside_the_shards(tmp_path, name, text, classes, titles):
    (tmp_path / name).write_text(text)
    source = open(tar(tmp_path / "a.tar", *labelled(0, 1, 1)))
    assert (source.classes, source.titles) == (classes, titles) and source.labels.tolist() == [0, 1, 1]


def test_titles_of_names_come_from_beside_the_shards(tmp_path):
    (tmp_path / "classes.json").write_text('{"n1": "tench"}')
    assert open(tar(tmp_path / "a.tar", *labelled("n1", "n2"))).titles == ("tench", "n2")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("a-{008..010}.tar", ["a-008.tar", "a-009.tar", "a-010.tar"]),
        ("a-{8..10}.tar", ["a-8.tar", "a-9.tar", "a-10.tar"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
    ],
)
def test_braces_are_those_of_a_shell(pattern, names):
    assert expand(pattern) == names


@pytest.mark.parametrize("pattern", ["{5..3}.tar", "{0..999999999}.tar", "{0..9999}{0..9999}.tar"])
def test_absurd_ranges_are_refused(pattern):
    with pytest.raises(ImageError, match=r"stands for .* shards"):
        open(pattern)


def test_missing_shards_are_counted(tmp_path):
    tar(tmp_path / "a-0.tar", *labelled("a", "b"))
    with pytest.raises(ImageError, match=r"2 of 3 shards are missing: .*a-1\.tar is no file"):
        open(str(tmp_path / "a-{0..2}.tar"))
    with pytest.raises(ImageError, match="names a shard twice"):
        open(str(tmp_path / "a-{0,0}.tar"))


def test_shards_may_be_joined_and_facts_are_remembered(tmp_path):
    from attar.images import memo

    tar(tmp_path / "a.tar", *labelled("a", "b"))
    tar(tmp_path / "b.tar", *labelled("b", "c"))
    source = open(f"{tmp_path / 'a.tar'}+{tmp_path / 'b.tar'}")
    assert source.classes == ("a", "b", "c") and len(source.hashes()) == 4
    single = open(tmp_path / "b.tar")
    assert [fact is not None for fact in memo.recall([single._key(0), single._key(1)])] == [True, True]


def test_a_shard_that_changed_after_it_was_opened_is_refused(tmp_path):
    source = open(tar(tmp_path / "a.tar", *labelled("a", "b")))
    os.utime(tmp_path / "a.tar", ns=(1, 1))
    with pytest.raises(ImageError, match=r"Can't read a\.tar/000\.png .*changed since it was opened"):
        list(source.read([0]))


ODD_NAMES = ["../../x.png", "/etc/x.png", "a/../x.png", "a\x1b[31m.png", "a\nb.png", "..\\x.png", "x" * 252 + ".png"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_members_are_refused_and_not_repeated(tmp_path, name):
    with pytest.raises(ImageError, match=r"Member name in .*a\.tar: ") as caught:
        open(tar(tmp_path / "a.tar", *labelled("a", "b"), (name, PNG)))
    assert "\x1b" not in str(caught.value) and "a\nb" not in str(caught.value)


@pytest.mark.parametrize("label", ["../../x", "/etc", "a\x1b[31m", "a\nb", "a\0b", "x" * 256, ""])
def test_odd_labels_are_refused(tmp_path, label):
    with pytest.raises(ImageError, match=r"label in 001\.cls of .*a\.tar|Label in"):
        open(tar(tmp_path / "a.tar", *labelled("a", label)))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([*labelled("a", "b"), ("000.png", PNG)], r"member 000\.png of .*a\.tar occurs twice"),
        ([*labelled("a", "b"), ("000.cls", b"b")], r"member 000\.cls of .*a\.tar occurs twice"),
        ([*labelled("a", "b"), ("000.jpg", PNG)], r"member 000\.jpg .* beside 000\.png: two images"),
        ([*labelled("a", "b"), ("2.png", PNG)], r"member 2\.png of .*a\.tar has no label"),
        ([*labelled("a", "b"), ("2.png", PNG), ("2.json", b'{"x": 1}')], r"member 2\.png of .*a\.tar has no label"),
        ([*labelled("a"), ("2.png", PNG), ("2.json", b"{")], r"member 2\.json of .* is no json text"),
        ([*labelled("a"), ("2.png", PNG), ("2.json", b"[" * 100_000)], r"member 2\.json of .* is no json text"),
        ([*labelled("a"), ("2.png", PNG), ("2.cls", b"\xff\xfe")], r"member 2\.cls of .* is no cls text"),
        ([*labelled("a"), ("2.png", PNG), ("2.json", b'{"cls": [1]}')], "neither an integer nor a name"),
        ([*labelled("a"), ("2.png", PNG), ("2.json", b'{"cls": true}')], "neither an integer nor a name"),
        ([*labelled("a"), ("2.png", PNG), ("2.cls", b" " * 2**21)], "too many for a label"),
        (labelled("a", "1"), r"names \(a\), others integers \(1\)"),
        (labelled("a", "a"), "only one class, a"),
        (labelled(0, 10**9), "label 1000000000 in .* for 2 images"),
        (labelled(0, 2), "label 2 in .* for 2 images"),
        (labelled(0, 0, 2), r"Class 1 .* has no images"),
        (labelled(0, -1), "label -1"),
        ([("readme.txt", b"hello")], "holds no images"),
        ([*labelled("a", "b"), ("link.png", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], "symbolic"),
        ([*labelled("a", "b"), ("link.png", b"", {"type": tarfile.LNKTYPE, "linkname": "000.png"})], "a hard link"),
        ([*labelled("a", "b"), ("null.png", b"", {"type": tarfile.CHRTYPE})], r"null\.png.* is a device"),
        ([*labelled("a", "b"), ("pipe.png", b"", {"type": tarfile.FIFOTYPE})], "is a pipe"),
        ([*labelled("a", "b"), ("odd.png", PNG, {"type": b"Z"})], "of an unknown kind"),
        (
            [*labelled("a", "b"), ("s.png", PNG, {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.name": "x"}})],
            "a sparse file",
        ),
        ([*labelled("a", "b"), ("s.png", PNG, {"pax_headers": {"size": "-512"}})], "its size of -512 bytes is wrong"),
        ([*labelled("a", "b"), ("s.png", PNG, {"pax_headers": {"size": "9" * 30}})], "has the size '9999"),
        ([*labelled("a", "b"), ("s.png", PNG, {"pax_headers": {"x": "y" * 2**21}})], "the header at byte .* has"),
    ],
)
def test_samples_that_can_not_be_right_are_refused(tmp_path, members, message):
    with pytest.raises(ImageError, match=f"(?i){message}"):
        open(tar(tmp_path / "a.tar", *members))


def test_every_truncation_is_refused(tmp_path):
    whole = tar(tmp_path / "a.tar", *labelled("a", "b")).read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for length in [*range(0, end, 211), *range(0, end + 1, 512)]:
        (tmp_path / "b.tar").write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"b\.tar (is truncated|is cut off|, or)|of .*b\.tar is cut off"):
            open(tmp_path / "b.tar")


def test_flipped_bytes_give_a_source_or_an_image_error(tmp_path):
    whole, random = tar(tmp_path / "a.tar", *labelled("a", "b")).read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for position in random.integers(0, len(whole), 3):
            damaged[position] = random.integers(256)
        (tmp_path / "b.tar").write_bytes(damaged)
        with contextlib.suppress(ImageError):
            assert len(open(tmp_path / "b.tar")) == 2


@pytest.mark.parametrize("size", [10**6, 2**62, -1])
def test_a_size_past_the_end_is_refused_without_reading(tmp_path, size):
    header = tarfile.TarInfo("x.png")
    header.size = size
    whole = tar(tmp_path / "a.tar", *labelled("a", "b")).read_bytes()
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + whole)
    with pytest.raises(ImageError, match=r"'x\.png' of .*a\.tar is cut off, or its size"):
        open(tmp_path / "a.tar")


def test_compressed_and_appended_and_other_files_are_refused(tmp_path):
    whole = tar(tmp_path / "a.tar", *labelled("a", "b")).read_bytes()
    (tmp_path / "b.tar").write_bytes(gzip.compress(whole))
    (tmp_path / "c.tar.gz").write_bytes(gzip.compress(whole))
    for name in ("b.tar", "c.tar.gz"):
        with pytest.raises(ImageError, match=r"is compressed \(gzip\)"):
            open(tmp_path / name)
    (tmp_path / "d.tar").write_bytes(whole + whole)
    with pytest.raises(ImageError, match="data after its end mark"):
        open(tmp_path / "d.tar")
    (tmp_path / "e.tar").write_bytes(b"hello " * 999)
    with pytest.raises(ImageError, match=r"e\.tar is no tar file"):
        open(tmp_path / "e.tar")
    (tmp_path / "f.tar").write_bytes(whole[:1024] + b"x" * 512 + whole[1536:])
    with pytest.raises(ImageError, match="is damaged at byte 1,024"):
        open(tmp_path / "f.tar")

from __future__ import annotations

import pytest
from PIL import Image

from attar.errors import ImageError
from attar.images import FolderSource, TableSource, open


@pytest.fixture
def flat(tmp_path):
    """Write a flat folder of three images, and a CSV file in it."""

    def make(text, name="labels.csv"):
        folder = tmp_path / "flat"
        folder.mkdir()
        for number, colour in enumerate(("red", "green", "blue")):
            Image.new("RGB", (11, 7), colour).save(folder / f"{number}.png")
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return make


def test_images_come_in_the_order_of_their_names(flat):
    source = open(str(flat("label,file_name\nbee,2.png\nant,0.png\nbee,1.png\n")))
    assert isinstance(source, TableSource) and source.classes == source.titles == ("ant", "bee")
    assert source.labels.tolist() == [0, 1, 1] and [source.name(index) for index in range(3)] == [
        "0.png",
        "1.png",
        "2.png",
    ]
    assert [image[:, 0, 0].tolist() for _, image in source.read([0, 2])] == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize("file", ["file_name", "filename", "file", "image", "path"])
@pytest.mark.parametrize("label", ["label", "class", "class_name"])
def test_columns_have_several_names(flat, file, label):
    folder = flat(f"\ufeffweight, {file} ,{label}\r\n1,0.png,10\r\n\r\n1,1.png,2\r\n")
    assert open(folder).classes == ("10", "2")


def test_cells_may_be_quoted(flat):
    assert open(flat('file_name,label\n"0.png","a, b"\n1.png,"c ""d"""\n')).classes == ("a, b", 'c "d"')


def test_titles_come_from_classes_json(flat):
    folder = flat("file,label\n0.png,a\n1.png,b\n")
    (folder / "classes.json").write_text('{"a": "ant"}')
    assert open(folder).titles == ("ant", "b")


def test_metadata_with_labels_is_a_table_and_without_is_none(flat, pets):
    assert isinstance(open(flat("file_name,label\n0.png,a\n1.png,b\n", "metadata.csv")), TableSource)
    (pets[0] / "metadata.csv").write_text("file_name,place\ncats/0000.png,sea\n")
    assert isinstance(open(pets[0]), FolderSource)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("file,label\n", "names no images"),
        ("name,label\n0.png,a\n", "no column file_name or .*, only name, label"),
        ("file,target\n0.png,a\n", "no column label or class or class_name, only file, target"),
        ("file,label,file\n0.png,a,b\n", "two columns 'file'"),
        ("file,label\n0.png,a\n1.png\n", r"line 3 of .*labels\.csv has 1 cells, not 2"),
        ("file,label\n0.png,a,b\n", r"line 2 of .*labels\.csv has 3 cells, not 2"),
        ('file,label\n0.png,"a\n1.png,b\n', r"line 3 of .* is no CSV"),
        ('file,label\n0.png,"a"x\n', r"line 2 of .* is no CSV"),
        (b"file,label\n0.png,a\n1.png,\xff\n", r"line 3 of .* isn't UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "line 1 of .* isn't UTF-8"),
        ("file,label\n0.png,\n", "line 2 of .* has an empty label"),
        ("file,label\n,a\n", "line 2 of .* has an empty file"),
        ("file,label\n0.png,a\n1.png,b\n0.png,b\n", r"line 4 of .* names '0\.png', as line 2 does"),
        ("file,label\n0.png,a\n../0.png,b\n", r"line 3 of .*: '\.\./0\.png' leads out of its folder"),
        ("file,label\n0.png,a\n/etc/x.png,b\n", r"line 3 of .* leads out of its folder"),
        ("file,label\n0.png,a\nx\0.png,b\n", r"line 3 of .*(control characters|NUL)"),
        ("file,label\n0.png,a\n1.png,b\x1b[31m\n", "control characters"),
        (f"file,label\n0.png,a\n{'x' * 300}.png,b\n", "has not 1 to 255 bytes"),
        ("file,label\n0.png,a\n1.png,a\n", "only one class, a"),
        ("file,label\n0.png,a\n8.png,b\n9.png,b\n", r"2 of 3 files in .* are missing:\n  8\.png\n  9\.png\n"),
    ],
)
def test_tables_that_can_not_be_right_are_refused(flat, text, message):
    with pytest.raises(ImageError, match=f"(?i){message}"):
        open(flat(text))


def test_links_may_not_leave_the_folder(flat, tmp_path):
    folder = flat("file,label\n0.png,a\nlink.png,b\n")
    (folder / "link.png").symlink_to(folder / "1.png")
    assert len(open(folder)) == 2
    (folder / "link.png").unlink()
    (folder / "1.png").rename(tmp_path / "1.png")
    (folder / "link.png").symlink_to(tmp_path / "1.png")
    with pytest.raises(ImageError, match=r"Line 3 of .*'link\.png' is a link that leaves the folder"):
        open(folder)


def test_class_folders_win_over_a_metadata_csv_beside_them(pets):
    """A distilled set's images/ holds both, and there the labels are numbers."""
    rows = "".join(f"{pet}/{pet}-0.png,{label}\n" for label, pet in enumerate(("cats", "dogs")))
    (pets[0] / "metadata.csv").write_text("file_name,label\n" + rows)
    assert isinstance(open(pets[0]), FolderSource)


@pytest.mark.parametrize("text", ["ClassId,Name\n0,cats\n1,dogs\n", "file,Name\n", "id,label\n", "", b"\xff\xfe"])
def test_class_folders_win_over_a_labels_csv_that_labels_no_files(pets, text):
    """GTSRB's says what its classes mean."""
    (pets[0] / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert isinstance(open(pets[0]), FolderSource)


def test_a_labels_csv_that_labels_files_wins_over_class_folders(pets):
    (pets[0] / "labels.csv").write_text("file,label\ncats/0000.png,a\ndogs/0003.png,b\n")
    assert open(pets[0]).classes == ("a", "b")


def test_a_single_folder_beside_a_labels_csv_is_no_class_folder(flat):
    folder = flat("id,label\n0,a\n")
    (folder / "images").mkdir()
    with pytest.raises(ImageError, match="no column file_name"):
        open(folder)

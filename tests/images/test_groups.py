from __future__ import annotations

import numpy as np
import pytest

from attar.errors import ImageError
from attar.images import ArraySource, JoinedSource, open

ROWS = (
    "file_name,place,group\ncats/0000.png,sea,x\n0001.png,land,x\n0002.png,sea,y\ndogs/0003.png,air,y\n0004.png,sea,x\n"
)


@pytest.fixture
def grouped(pets):
    (pets[0] / "metadata.csv").write_text(ROWS)
    return pets[0]


def test_groups_are_matched_by_name_or_by_its_last_part(grouped):
    source = open(grouped, groups="metadata.csv:place")
    assert source.group_names == ("air", "land", "sea") and source.groups.dtype == np.int64
    assert source.groups.tolist() == [2, 1, 2, 0, 2]


def test_the_default_column_is_group_and_the_file_may_lie_anywhere(grouped, tmp_path):
    assert open(grouped, groups="metadata.csv").groups.tolist() == [0, 0, 1, 1, 0]
    (grouped / "metadata.csv").rename(tmp_path / "else:where.csv")
    for spec in (tmp_path / "else:where.csv", f"{tmp_path / 'else:where.csv'}:group"):
        assert open(grouped, groups=spec).group_names == ("x", "y")


def test_the_source_itself_is_left_without_groups(grouped):
    source = open(grouped)
    assert open(source, groups="metadata.csv").groups is not None and source.groups is None


def test_groups_survive_subsets_classes_and_joining(grouped, pixels):
    source = open(grouped, groups="metadata.csv:place")
    part = source.subset([4, 1])
    assert part.groups.tolist() == [2, 1] and part.group_names == source.group_names
    (grouped / "others.csv").write_text(ROWS.replace("sea", "bog"))
    other = open(grouped, groups="others.csv:place").subset([0])
    both = JoinedSource([source, other])
    assert both.group_names == ("air", "bog", "land", "sea") and both.groups.tolist() == [3, 2, 3, 0, 3, 1]
    assert JoinedSource([source, ArraySource(pixels(2, 7, 11), [0, 1])]).groups is None


def test_groups_of_a_part_need_rows_for_that_part_only(grouped):
    (grouped / "some.csv").write_text("file,group\ncats/0000.png,x\ndogs/0003.png,y\n")
    with pytest.raises(ImageError, match=r"3 of 5 images have no row in .*some\.csv, such as cats/0001\.png") as caught:
        open(grouped, groups="some.csv")
    assert "Add them. Its 2 rows name cats/0000.png, dogs/0003.png" in str(caught.value)
    assert open(open(grouped).subset([3, 0]), groups="some.csv").groups.tolist() == [1, 0]


def test_the_folders_in_front_may_be_left_out(pets, tmp_path):
    for number in (1, 2):
        (pets[0] / "dogs" / f"000{number}.png").write_bytes((pets[0] / "dogs" / "0003.png").read_bytes())
    names = ("cats/0001.png", "dogs/0001.png", "cats/0002.png", "dogs/0002.png", "0000.png", "0003.png", "0004.png")
    (tmp_path / "g.csv").write_text("file,group\n" + "".join(f"{name},{name[:3]}\n" for name in names))
    both = JoinedSource([open(pets[0])])
    assert open(both, groups=tmp_path / "g.csv").groups.tolist() == [0, 1, 1, 2, 2, 0, 0]


def test_an_ambiguous_last_part_is_no_match(pets):
    for name in ("cats", "dogs"):
        (pets[0] / name / "same.png").write_bytes((pets[0] / "cats" / "0000.png").read_bytes())
    (pets[0] / "g.csv").write_text("file,group\n" + "".join(f"000{n}.png,x\n" for n in range(5)) + "same.png,y\n")
    with pytest.raises(ImageError, match=r"2 of 7 images have no row .* such as cats/same\.png"):
        open(pets[0], groups="g.csv")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.csv:place", r"there is no file nowhere\.csv in .*pets"),
        ("metadata.csv:plac", r"no column plac, only file_name, place, group\.\nDid you mean place"),
        ("metadata.csv:", "no column "),
    ],
)
def test_files_and_columns_that_are_not_there(grouped, spec, message):
    with pytest.raises(ImageError, match=f"(?i){message}"):
        open(grouped, groups=spec)


def test_control_characters_in_a_group_are_refused(pets):
    (pets[0] / "g.csv").write_text("file,group\n" + "".join(f"000{n}.png,\x1b[31m\n" for n in range(5)))
    with pytest.raises(ImageError, match="control characters"):
        open(pets[0], groups="g.csv")

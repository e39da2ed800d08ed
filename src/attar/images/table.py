"""A folder of images with a CSV file that says which class each belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import final

from attar.errors import ImageError
from attar.images.checks import check_inner_name, named_labels
from attar.images.encoded import EncodedSource
from attar.images.memo import Key, key
from attar.images.rows import FILE_COLUMNS, Row, read_columns, read_rows
from attar.images.titles import find_titles

_LABEL_COLUMNS = ("label", "class", "class_name")
_LISTED = 10


@final
class TableSource(EncodedSource):
    """The images that the CSV file `table` names, by paths relative to its folder, in the order of their names.

    Columns: one of file_name, filename, file, image, path, and one of label, class, class_name; others don't matter.
    Labels are class names, also where they are numbers; classes are sorted as strings. Titles are as in FolderSource.

    Raises ImageError for malformed CSV, files that are missing, lie outside of the folder or occur twice, and fewer
    than two classes.
    """

    def __init__(self, table: str | Path):
        table = Path(table)
        self._folder = table.parent
        rows = sorted(read_rows(table, _LABEL_COLUMNS), key=lambda row: row.file)
        if not rows:
            raise ImageError(f"{table} names no images", "Give a line for each image.")
        _check_files(rows, table)
        classes, labels = named_labels([row.cell for row in rows], str(table))
        super().__init__(classes, find_titles(self._folder, classes), labels, str(self._folder))
        self._names = [row.file for row in rows]

    def name(self, index: int) -> str:
        """The file's name in the table."""
        return self._names[index]

    def _file(self, index: int) -> Path:
        return self._folder / self._names[index]

    def _key(self, index: int) -> Key | None:
        return key(self._file(index))


def _check_files(rows: list[Row], table: Path) -> None:
    inside = table.parent.resolve()
    missing = []
    for row in rows:
        check_inner_name(row.file, f"line {row.line} of {table}")
        target = (table.parent / row.file).resolve()
        if not target.is_relative_to(inside):
            raise ImageError(
                f"line {row.line} of {table}: {row.file!a} is a link that leaves the folder", "Copy the image."
            )
        if not target.is_file():
            missing.append(row.file)
    if missing:
        listed = "".join(f"\n  {name}" for name in missing[:_LISTED])
        more = f"\n  and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise ImageError(
            f"{len(missing)} of {len(rows)} files in {table} are missing:{listed}{more}",
            "Add them, or remove their lines.",
        )


def find_table(folder: Path) -> Path | None:
    """The CSV file in `folder` that labels its images: labels.csv, or a metadata.csv with file_name and labels.

    Beside class folders a labels.csv without both columns (GTSRB's tells what its classes mean) is no such table;
    without such folders it is one that can't be right, and its reader says why. A metadata.csv without labels
    (captions, groups), or beside folders (as in a distilled set, where its labels are numbers), is none either.
    """
    folders = sum(entry.is_dir() for entry in folder.iterdir() if entry.name[0] != ".")
    table, metadata = folder / "labels.csv", folder / "metadata.csv"
    if table.is_file() and (folders < 2 or _labels_files(table)):
        return table
    if metadata.is_file() and not folders:
        columns = read_columns(metadata)
        if "file_name" in columns and not set(columns).isdisjoint(_LABEL_COLUMNS):
            return metadata
    return None


def _labels_files(table: Path) -> bool:
    """Whether `table` has a column of files and one of labels; not where it can't be read."""
    try:
        columns = set(read_columns(table))
    except ImageError:
        return False
    return not columns.isdisjoint(FILE_COLUMNS) and not columns.isdisjoint(_LABEL_COLUMNS)

"""A folder of images with a CSV file that says which class each belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import final

from attar.errors import ImageError
from attar.images.checks import check_inner_name, named_labels
from attar.images.encoded import EncodedSource
from attar.images.memo import Key, key
from attar.images.rows import Row, read_columns, read_rows
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

    A metadata.csv without labels (captions, groups), or beside class folders (as in a distilled set, where its labels
    are numbers), is no such table: then class folders give the labels.
    """
    if (folder / "labels.csv").is_file():
        return folder / "labels.csv"
    metadata = folder / "metadata.csv"
    if metadata.is_file() and not any(entry.is_dir() for entry in folder.iterdir() if entry.name[0] != "."):
        columns = read_columns(metadata)
        if "file_name" in columns and not set(columns).isdisjoint(_LABEL_COLUMNS):
            return metadata
    return None

"""CSV files of labels and groups: strict, with the line number in every complaint."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from attar.errors import ImageError, nearest

FILE_COLUMNS = ("file_name", "filename", "file", "image", "path")
_FORM = "Give UTF-8 text with commas, the names of the columns in the first line, and as many cells in each other line."


class Row(NamedTuple):
    """One row: the line it ends on (the first is 1), the file it is about, and the cell asked for."""

    line: int
    file: str
    cell: str


def read_columns(file: Path) -> list[str]:
    """The names in the first line, without blanks around them; ImageError where the file can't be read or has none."""
    return _records(file, only_columns=True)[0][1]


def find_column(columns: list[str], wanted: Sequence[str], file: Path) -> int:
    """The position of the first of `wanted` that is a column; ImageError, naming the columns, where none is."""
    for name in wanted:
        if name in columns:
            return columns.index(name)
    raise ImageError(
        f"{file} has no column {' or '.join(wanted)}, only {', '.join(columns)}", nearest(wanted[0], columns)
    )


def read_rows(file: Path, wanted: Sequence[str]) -> list[Row]:
    """The file name and the first of the `wanted` columns of each row, in order.

    Raises ImageError, naming the line, for malformed text, cells that are empty, and a file that occurs twice.
    """
    (_, columns), *records = _records(file)
    place, value = find_column(columns, FILE_COLUMNS, file), find_column(columns, wanted, file)
    rows = [Row(line, record[place].strip(), record[value].strip()) for line, record in records]
    seen = dict[str, int]()
    for row in rows:
        for name, cell in ((columns[place], row.file), (columns[value], row.cell)):
            if not cell:
                raise ImageError(f"line {row.line} of {file} has an empty {name}", _FORM)
        if row.file in seen:
            raise ImageError(
                f"line {row.line} of {file} names {row.file!a}, as line {seen[row.file]} does", "Remove one of them."
            )
        seen[row.file] = row.line
    return rows


def _records(file: Path, only_columns: bool = False) -> list[tuple[int, list[str]]]:
    """(line number, cells) of each line that isn't empty, the columns' names first."""
    text = _text(file)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records = list[tuple[int, list[str]]]()
    try:
        for cells in reader:
            if not cells:
                continue
            if not records:
                cells = _columns(cells, file)
            elif len(cells) != len(records[0][1]):
                raise ImageError(
                    f"line {reader.line_num} of {file} has {len(cells)} cells, not {len(records[0][1])}", _FORM
                )
            records.append((reader.line_num, cells))
            if only_columns:
                break
    except csv.Error as error:
        raise ImageError(f"line {reader.line_num} of {file} is no CSV ({error})", _FORM) from error
    if not records:
        raise ImageError(f"{file} is empty", _FORM)
    return records


def _columns(cells: list[str], file: Path) -> list[str]:
    names = [name.strip() for name in cells]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ImageError(f"{file} has two columns {double!a}", "Give each column its own name.")
    return names


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ImageError(f"can't read {file} ({error.strerror})", "Check the path and your permissions.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ImageError(f"line {line} of {file} isn't UTF-8", "Save it as UTF-8.") from error

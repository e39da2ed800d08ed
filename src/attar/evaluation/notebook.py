"""What a notebook shows of an evaluation: a table a protocol, and how distilled images compare with real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attar.html import block, note, table

if TYPE_CHECKING:
    from attar.evaluation.matrix import Matrix
    from attar.evaluation.result import Evaluation
    from attar.evaluation.rows import Row


def evaluation_html(evaluation: Evaluation) -> str:
    """HTML of all tables, the differences with their verdicts, and the remarks."""
    from attar.evaluation.matrix import matrix

    tables = []
    for name in evaluation.tables:
        found = matrix(evaluation, name)
        tables.append(matrix_html(found) if len(found.backbones) > 1 else _table(evaluation, name))
    remarks = [note(remark) for remark in evaluation.remarks]
    return block("Accuracy on test images", *tables, _differences(evaluation), *remarks)


def matrix_html(found: Matrix) -> str:
    """HTML of one protocol on several backbones."""
    rows = [
        (line.label, *(_with_spread(row) for row in line.rows), *map(_number, (line.own, line.others, line.worst)))
        for line in found.lines
    ]
    caption = f"{found.protocol}: accuracy in %, by the network that it is measured on"
    return table(("method", *found.backbones, "own", "others", "worst"), rows, caption=caption)


def _table(evaluation: Evaluation, name: str) -> str:
    rows = [row for row in evaluation.rows if row.table == name]
    learned = any(row.best is not None for row in rows)
    last = "best %" if learned else "gap closed"
    headings = ("method", "set", "ipc", "accuracy %", "±", "95 % interval", last, "bytes")
    caption = f"{name} on {rows[0].evaluated_on}, {rows[0].n_test} test images"
    lines = []
    for row in rows:
        beside = row.best if learned else evaluation.gap(row) if row.distilled_on else None
        method = row.method if row.protocol in (name, row.method) else f"{row.method} ({row.protocol})"
        lines.append(
            (
                method + (f" from {row.teacher}" if row.teacher else ""),
                row.set if row.distilled_on else "",
                str(row.ipc),
                f"{row.accuracy:.1f}",
                "" if row.ci95 is None else f"{row.std:.1f}",
                "" if row.ci95 is None else f"{row.ci95[0]:.1f} to {row.ci95[1]:.1f}",
                _number(beside, 1 if learned else 2),
                "" if row.bytes is None else f"{row.bytes:,}",
            )
        )
    return table(headings, lines, caption=caption, words=2)


def _differences(evaluation: Evaluation) -> str:
    rows = [
        (
            row.set,
            other.method if not other.distilled_on else f"itself under {other.table}",
            row.table,
            row.evaluated_on,
            found.verdict,
            f"{found.mean:+.1f}",
            f"{found.low:+.1f} to {found.high:+.1f}",
        )
        for row, other, found in evaluation.differences()
        if not row.is_check
    ]
    if not rows:
        return ""
    headings = ("set", "against", "protocol", "measured on", "verdict", "points", "95 % interval")
    return table(headings, rows, caption="Differences in points, paired over the test images", words=5)


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _with_spread(row: Row | None) -> str:
    """The accuracy, with its spread over sets or draws."""
    if row is None:
        return "–"
    return f"{row.accuracy:.1f}" + ("" if row.ci95 is None else f" ± {row.std:.1f}")

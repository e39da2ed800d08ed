"""`attar`: one verb a job. Answers `--help` and bad arguments without importing torch."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from attar.cli.audit import audit
from attar.cli.backbones import backbones
from attar.cli.bn_report import bn_report
from attar.cli.demo import demo
from attar.cli.distill import distill
from attar.cli.doctor import doctor
from attar.cli.edits import edits
from attar.cli.evaluate import evaluate
from attar.cli.export import export
from attar.cli.features import features
from attar.cli.import_set import import_set
from attar.cli.inherit import inherit
from attar.cli.predict import predict
from attar.cli.presets import presets
from attar.cli.push import push
from attar.cli.refine import refine
from attar.cli.relabel import relabel
from attar.cli.report import report
from attar.cli.squeeze import squeeze
from attar.cli.verify import verify
from attar.errors import AttarError

_MENDABLE = 2
_INTERRUPTED = 130


class _Group(TyperGroup):
    """The commands; what an interrupted one has to say is printed here, because typer drops it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(_interrupted(*interrupt.args)) from interrupt


app = typer.Typer(
    name="attar",
    cls=_Group,
    help="Condense a labelled image dataset into a few synthetic images per class.",
    epilog="Start with `attar demo`, or: attar distill photos/train --backbone vit_tiny_patch16_224 --out photos.attar",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(demo)
app.command()(distill)
app.command()(evaluate)
app.command()(report)
app.command()(inherit)
app.command()(predict)
app.command()(export)
app.command()(audit)
app.command()(features)
app.command()(squeeze)
app.command()(relabel)
app.command()(refine)
app.command()(edits)
app.command(name="import")(import_set)
app.command()(push)
app.command()(verify)
app.command()(backbones)
app.command(name="bn-report")(bn_report)
app.command()(presets)
app.command()(doctor)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print what a bug report needs.")) -> None:
    if version:
        from attar.cli.version import versions

        print(versions())
        raise typer.Exit


def run() -> None:
    """The console script: exit code 0 done, 2 the user can mend it, 130 interrupted, 1 a bug."""
    try:
        code = app(standalone_mode=False)
    except AttarError as error:
        code = _refuse(error)
    except (KeyboardInterrupt, typer.Abort):
        code = _interrupted()
    except Exception as error:
        code = _fail(error)
    sys.exit(code if isinstance(code, int) else 0)


def _me() -> str:
    """Who speaks: of torchrun's processes all but the first by their number."""
    number = os.environ.get("RANK", "0")
    return "attar" if number == "0" else f"attar (process {number})"


def _refuse(error: AttarError) -> int:
    print(f"{_me()}: {error}", file=sys.stderr)
    return _MENDABLE


def _interrupted(*words: object) -> int:
    print(" ".join([f"{_me()}: interrupted.", *map(str, words)]), file=sys.stderr)
    return _INTERRUPTED


def _fail(error: Exception) -> int:
    show = getattr(error, "show", None)  # click's usage errors know how to print themselves
    if show is not None:
        show()
        return getattr(error, "exit_code", _MENDABLE)
    if isinstance(error, OSError) and error.strerror:  # what the machine refused, not what a library calls an OSError
        what = "go on" if error.filename is None else f"use {error.filename}"
        hint = "Check the path, your permissions and the room on the disk."
        return _refuse(AttarError(f"can't {what}: {error.strerror}", hint))
    return _report_bug(error)


def _report_bug(error: Exception) -> int:
    """Keep the traceback in a file, where one can be written, and ask for a report."""
    from attar.files import cache_folder, write_bytes

    log = cache_folder() / "last-error.log"
    text = "".join(traceback.format_exception(error))
    print(f"{_me()}: a bug, sorry: {type(error).__name__}: {error}", file=sys.stderr)
    try:
        write_bytes(log, text.encode(errors="backslashreplace"))  # names of files need not be Unicode
    except OSError:
        print("Please report it.", file=sys.stderr)
    else:
        print(f"Please report it with {log}.", file=sys.stderr)
    return 1

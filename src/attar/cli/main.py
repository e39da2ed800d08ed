"""`attar`: one verb a job. Answers `--help` and bad arguments without importing torch."""

from __future__ import annotations

import sys
import traceback

import typer

from attar.cli.demo import demo
from attar.cli.distill import distill
from attar.cli.evaluate import evaluate
from attar.errors import AttarError

_INTERRUPTED = 130

app = typer.Typer(
    name="attar",
    help="Condense a labelled image dataset into a few synthetic images per class.",
    epilog="Start with `attar demo`, or: attar distill photos/train --backbone vit_tiny_patch16_224 --out photos.attar",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(demo)
app.command()(distill)
app.command()(evaluate)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"attar {installed('attar')}")
        raise typer.Exit


def run() -> None:
    """The console script: exit code 0 done, 2 the user can mend it, 130 interrupted, 1 a bug."""
    try:
        code = app(standalone_mode=False)
    except AttarError as error:
        print(f"attar: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        show = getattr(error, "show", None)  # click's usage errors know how to print themselves
        if show is not None:
            show()
            sys.exit(getattr(error, "exit_code", 2))
        sys.exit(_report_bug(error))
    if code == _INTERRUPTED:  # typer, too, makes this of a KeyboardInterrupt, or an Abort in older versions
        print("attar: interrupted; the same command again continues from the last checkpoint.", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _report_bug(error: Exception) -> int:
    """Keep the traceback in a file and ask for a report."""
    from attar.files import cache_folder, write_text

    log = cache_folder() / "last-error.log"
    text = "".join(traceback.format_exception(error))
    write_text(log, text)
    print(f"attar: a bug, sorry: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"Please report it with {log}.", file=sys.stderr)
    return 1

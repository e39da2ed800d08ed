"""What attar does that a fault may hit, each from a prepared folder to a result that must come out the same."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch._dynamo  # noqa: F401 (with attar's own two below: commands import them late, here it is for all children)

import attar
import attar.cli.show
import attar.distilled
import attar.evaluation
from attar.cli import main
from attar.errors import AttarError
from attar.features import extract
from attar.synthesis import steps
from attar.synthesis.views import CentreView, ViewPolicy
from faults.children import Outcome, run
from faults.injection import Fault, Layer, Nothing, Tree, read_tree, seen
from small import coloured, manifest, small_backbone

OUT = "x.attar"
STEPS = 4
SHARDS = importlib.import_module("attar.features.extract")  # its function has the same name
_NETWORK = ("--backbone", "py:small:network", "--device", "cpu")
_DISTILL = ("distill", "train.npz", *_NETWORK, "--out", OUT, "--steps", str(STEPS), "--views", "2", "--ipc", "1",
            "--set", "grow_every=2", "--set", "statistics_views=0")  # fmt: skip
_EVALUATE = ("evaluate", OUT, "--test", "test.npz", *_NETWORK, "--protocol", "probe-v1", "--json")


@dataclass(frozen=True)
class Phase:
    """A command that works in the current folder and returns an exit code, and what it makes there.

    `hardy` ones never fail, whatever the disk refuses.
    """

    name: str
    command: Callable[[], int]
    before: Callable[[], object] = lambda: None
    hardy: bool = False

    def prepare(self, folder: Path) -> None:
        """Make `folder` with all that the command starts from."""
        (folder / "cache").mkdir(parents=True)
        for name, seed in (("train", 0), ("test", 1)):
            source = coloured(5, seed=seed)
            images = np.stack([image for _, image in source.read(range(len(source)))])
            np.savez(folder / f"{name}.npz", images=images, labels=source.labels, names=np.array(source.classes))
        with at_work(folder):
            run(self.before)

    def attempt(self, folder: Path, fault: Fault = Nothing(), *, modelled: bool = False) -> Attempt:  # noqa: B008
        """Run the command in `folder`, in a child whose disk has the fault."""

        def work() -> tuple[int, list[str], Tree]:
            layer = Layer(folder, fault, modelled=modelled)
            layer.install()
            code = self.command()
            layer.end()
            layer.restore()
            return code, layer.log, seen(layer.disk)

        with at_work(folder):
            outcome = run(work)
        code, log, disk = outcome.value if isinstance(outcome.value, tuple) else (None, [], {})
        return Attempt(outcome, code, log, disk)


@dataclass(frozen=True)
class Attempt:
    """How a command ended: its exit code (None: killed), the calls it made, and the disk as the layer saw it."""

    outcome: Outcome
    code: int | None
    log: list[str]
    disk: Tree

    @property
    def result(self) -> str:
        """What the command printed as its result."""
        return self.outcome.out


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """In `folder`, with the cache in it."""
    here, cache = Path.cwd(), os.environ.get("ATTAR_CACHE")
    os.chdir(folder)
    os.environ["ATTAR_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        os.chdir(here)
        if cache is None:
            del os.environ["ATTAR_CACHE"]
        else:
            os.environ["ATTAR_CACHE"] = cache


def command_line(*arguments: str) -> int:
    """`attar ARGUMENTS` with a checkpoint, a line in the log and a picture at each step."""
    steps._CHECKPOINT_SECONDS = -1
    steps._LOG_EVERY = 1
    sys.argv = ["attar", *arguments]
    try:
        main.run()
    except SystemExit as left:
        return left.code or 0
    raise AssertionError("the command line always leaves by SystemExit")


def _extract() -> int:
    """Features in four shards, as a digest on stdout."""
    SHARDS._SHARD_IMAGES = 4
    features = extract(coloured(5), small_backbone(), CentreView(ViewPolicy(canvas=8, crop=8)), batch=4)
    print(hashlib.sha256(features.values.numpy().tobytes()).hexdigest())
    return 0


def _write(colour: int) -> int:
    """A set of three images, the whole of it in one colour."""
    images = np.full((3, 3, 7, 7), colour, dtype=np.uint8)
    try:
        attar.distilled.write(Path(OUT), images, np.arange(3), manifest=manifest(), train_hashes=[bytes(32)])
    except (AttarError, OSError) as error:  # as the command line does
        return main._refuse(error) if isinstance(error, AttarError) else main._fail(error)
    return 0


def _warm_up() -> None:
    """The cache that a distillation leaves, and nothing else: extraction has a phase of its own."""
    _distil_alone()
    shutil.rmtree(OUT)


def _distil_alone() -> None:
    """A set without its run, which names the training images: rows for these take long and write as the others do."""
    command_line(*_DISTILL)
    shutil.rmtree(f"{OUT}.run")


PHASES = (
    Phase("extract", _extract, hardy=True),
    Phase("distill", lambda: command_line(*_DISTILL), before=_warm_up),
    Phase(
        "restart", lambda: command_line(*_DISTILL, "--restart", "--seed", "1"), before=lambda: command_line(*_DISTILL)
    ),
    Phase("write", lambda: _write(2)),
    Phase("rewrite", lambda: _write(2), before=lambda: _write(1)),
    Phase("evaluate", lambda: command_line(*_EVALUATE), before=_distil_alone, hardy=True),
)


def artefact(folder: Path) -> Tree | None:
    """The files of the set in `folder`, without the time in attar.json; None where there is no set."""
    path = folder / OUT
    if not path.exists():
        return None
    tree = read_tree(path)
    if "attar.json" in tree:
        record = json.loads(tree["attar.json"])
        for name in ("created", "checksum"):  # the second covers the first
            record.pop(name)
        record["scores"].pop("seconds", None)
        tree["attar.json"] = record
    return tree


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders of attar's below `folder`."""
    found = [*folder.rglob(".*.tmp"), *folder.rglob(".*.old")]
    return sorted(path.relative_to(folder).as_posix() for path in found)

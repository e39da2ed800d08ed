"""Several processes at one job, as torchrun starts them: which one this is, and what they tell each other.

Each owns a share of the images and does the same steps; alone, a process owns them all and nothing here does anything.
The engine is torch.distributed, NCCL between GPUs and gloo between CPUs; launching, rendezvous and restarts are
torchrun's.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
from collections.abc import Iterator

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch import distributed as dist

from attar.errors import ProcessError

_PATIENCE = datetime.timedelta(hours=2)  # others wait so long while the first process writes a large set


def join(device: torch.device) -> None:
    """Meet the other processes of this job, where torchrun started this one as one of several."""
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    if dist.is_initialized() or not launched or os.environ["WORLD_SIZE"] == "1":
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _others_alive():
        store, rank, size = next(dist.rendezvous("env://"))
        dist.init_process_group(backend, store=_fresh(store), rank=rank, world_size=size, timeout=_PATIENCE)
    atexit.register(dist.destroy_process_group)


def _fresh(store: dist.Store) -> dist.Store:
    """The store without the entries of processes that torchrun has restarted: with these, new ones wait for ever.

    Seen with torch 2.15 and --standalone. Agents on several machines may count restarts differently, so there the
    store is left as it is.
    """
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE"):
        return store
    return dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def count() -> int:
    """Number of processes at this job."""
    return dist.get_world_size() if dist.is_initialized() else 1


def count_here() -> int:
    """Number of them on this machine, which share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count())) if count() > 1 else 1


def number() -> int:
    """Which of them this is, from 0 on."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that speaks and writes for all."""
    return number() == 0


def share(things: int, *, process: int | None = None) -> range:
    """The things (of 0..things-1) that a process owns, by default this one: one block, as equal as can be."""
    mine = number() if process is None else process
    return range(things * mine // count(), things * (mine + 1) // count())


def gather(rows: Shaped[Tensor, " mine *rest"], *, things: int | None = None) -> Shaped[Tensor, " all *rest"]:
    """The rows of all processes in order, for every process; all must call this together.

    Where each gives those of its `share` of `things`, saying so spares them telling each other how many they have.
    ProcessError where one has ended.
    """
    if count() == 1:
        return rows
    padded, sizes = _padded(rows, things)
    parts = [torch.empty_like(padded) for _ in sizes]
    with _others_alive():
        dist.all_gather(parts, padded)
    return _joined(parts, sizes)


def gather_at_first(rows: Shaped[Tensor, " mine *rest"]) -> Shaped[Tensor, " some *rest"]:
    """As `gather`, for the first process alone; others get their own rows back."""
    if count() == 1:
        return rows
    padded, sizes = _padded(rows, None)
    parts = [torch.empty_like(padded) for _ in sizes] if is_first() else None
    with _others_alive():
        dist.gather(padded, parts)
    return rows if parts is None else _joined(parts, sizes)


def _padded(rows: Tensor, things: int | None) -> tuple[Tensor, list[int]]:
    """The rows with as many below as the largest part has, and the sizes of all parts."""
    if things is None:
        mine = torch.tensor([len(rows) if process == number() else 0 for process in range(count())])
        sizes = total(mine).tolist()
    else:
        sizes = [len(share(things, process=process)) for process in range(count())]
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    return padded, sizes


def _joined(parts: list[Tensor], sizes: list[int]) -> Tensor:
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def total(values: Shaped[Tensor, " *shape"]) -> Shaped[Tensor, " *shape"]:
    """The sum of what all processes give; all must call this together. ProcessError where one has ended."""
    if count() == 1:
        return values
    summed = values.clone()
    with _others_alive():
        dist.all_reduce(summed)
    return summed


def of_first(values: Shaped[Tensor, " *shape"]) -> Shaped[Tensor, " *shape"]:
    """What the first process has, for all: results of long computations may differ in their last bits elsewhere."""
    if count() == 1:
        return values
    shared = values.clone()
    with _others_alive():
        dist.broadcast(shared, 0)
    return shared


def is_restarted() -> bool:
    """Whether torchrun gave this command again, after it had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def any_says(said: bool) -> bool:
    """Whether any process says so; all must call this together."""
    return bool(total(torch.tensor([float(said)])) > 0)


def wait() -> None:
    """Until all processes are here."""
    any_says(False)


@contextlib.contextmanager
def _others_alive() -> Iterator[None]:
    """torch's failures to reach another process as one sentence."""
    try:
        yield
    except dist.DistError as error:
        raise ProcessError(_ENDED, _HINT) from error
    except RuntimeError as error:  # gloo has no type of its own for a connection that the other side has closed
        if not any(word in str(error) for word in ("onnection", "timed out", "Timed out", "closed")):
            raise
        raise ProcessError(_ENDED, _HINT) from error


_ENDED = "another process of this job has ended, or can't be reached"
_HINT = "its own words say why; the same command again continues from the last checkpoint"

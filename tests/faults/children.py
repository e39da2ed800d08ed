"""Processes to be killed: forks of this one, which has torch in memory already, so that a child costs milliseconds."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import pickle
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

SECONDS = 60.0  # a child that takes longer hangs


@dataclass(frozen=True)
class Outcome:
    """How a child ended: killed, or with what its function returned and what it printed."""

    killed: bool
    value: object = None
    out: str = ""
    err: str = ""


class Child:
    """`function()` in a forked process; `wait` for its Outcome."""

    def __init__(self, function: Callable[[], object]):
        self._read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Newer Pythons warn of forks beside threads; the child starts threads of its own and waits for no other's.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _live(function, write)
        os.close(write)

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = SECONDS) -> Outcome:
        """The Outcome; AssertionError where the child takes more than `seconds` or the function raises."""
        parts, deadline = [], time.monotonic() + seconds
        while select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = os.read(self._read, 2**16)
            if not part:
                break
            parts.append(part)
        else:
            self.kill()
            os.waitpid(self.pid, 0)
            raise AssertionError(f"a child took more than {seconds} s")
        os.close(self._read)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if status == -signal.SIGKILL:
            return Outcome(True)
        assert status == 0 and parts, f"a child ended with status {status}"
        value, out, err, failure = pickle.loads(b"".join(parts))
        assert failure is None, failure
        return Outcome(False, value, out, err)


def _live(function: Callable[[], object], write: int) -> None:
    """All that a child does; never returns."""
    gc.freeze()  # nothing of the parent's is collected, or copied for being looked at
    torch.set_num_threads(1)  # OpenMP's threads don't survive a fork
    value, failure = None, None
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        value = function()
    except BaseException:
        failure = traceback.format_exc()
    with open(write, "wb") as pipe:
        pickle.dump((value, sys.stdout.getvalue(), sys.stderr.getvalue(), failure), pipe)
    os._exit(0)


def run(function: Callable[[], object]) -> Outcome:
    """One child from start to end."""
    return Child(function).wait()

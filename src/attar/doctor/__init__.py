"""What is installed here, whether it works together, how fast this machine is, and what settings suit it.

Nothing heavy is imported at the top: the table must come out where torch, torchvision or Pillow can't be imported.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from attar.doctor import machine, packages
from attar.doctor.check import Check, attempt, imported
from attar.doctor.proposal import Machine, Proposal, propose

__all__ = ["Check", "Proposal", "Report", "examine"]


@dataclass(frozen=True)
class Report:
    """All that was looked at, in the order to show it, and what it suggests; nothing where torch doesn't work."""

    checks: tuple[Check, ...]
    proposal: Proposal | None = None

    @property
    def broken(self) -> tuple[Check, ...]:
        """What keeps attar from working; what is merely missing or slow doesn't."""
        return tuple(check for check in self.checks if check.state == "broken")

    def as_json(self) -> dict[str, object]:
        """Plain values, for a JSON document."""
        return {
            "ok": not self.broken,
            "checks": [asdict(check) for check in self.checks],
            "proposal": None if self.proposal is None else self.proposal.as_json(),
        }


def examine() -> Report:
    """Look at packages, devices, memory, speed and folders; takes a few seconds, and writes only a trial file."""
    checks = [Check("Python", "ok", f"{platform.python_version()}, {platform.platform(terse=True)}")]
    checks += [*packages.required(), *packages.extras()]
    torch, found = imported("torch")
    checks += [] if torch else [found]
    checks += [packages.torchvision(torch is not None), attempt("image formats", packages.formats)]
    checks += [*packages.plug_ins(), *_hardware(torch)] if torch else []
    checks += [attempt("decoding", machine.decoding), *machine.folders()]
    return Report(tuple(checks), _proposal(torch, checks) if torch else None)


def _hardware(torch: Any) -> Iterator[Check]:
    """Devices, memory and arithmetic, asked of torch."""
    yield attempt("processor", machine.processor)
    yield attempt("device", lambda: machine.device(torch))
    yield attempt("memory", machine.memory)
    yield attempt("arithmetic", lambda: machine.arithmetic(torch))


def _proposal(torch: Any, checks: Sequence[Check]) -> Proposal | None:
    """What the figures suggest; None where one of them couldn't be measured."""
    from attar.devices import pick_device

    figures = {check.name: check.figure for check in checks if check.figure}
    if not {"processor", "memory", "arithmetic"} <= figures.keys():
        return None
    cuda = torch.cuda.is_available()
    return propose(
        Machine(
            device=pick_device("auto").type,
            accelerators=torch.cuda.device_count() if cuda else 0,
            bf16=cuda and torch.cuda.get_device_capability() >= (8, 0),  # Ampere; others imitate it, slowly
            free_bytes=int(figures["memory"]),
            gflops=figures["arithmetic"],
            cores=int(figures["processor"]),
            threads=torch.get_num_threads(),
        )
    )

"""What is said where weights of EDITS aren't on this machine."""

from __future__ import annotations

from collections.abc import Callable

from attar.errors import AttarError, BackboneError


def absent(role: str) -> Callable[[str], AttarError]:
    """What to raise where the weights that play `role` aren't on this machine (R1)."""
    return lambda name: BackboneError(
        f'EDITS needs "{name}" ({role}); it is not on this machine', "Pass a path or --allow-download."
    )

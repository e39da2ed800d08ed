"""Protocols: how a number is made, by name. A number without its protocol is never printed or stored.

    probe-v1            converged softmax regression on 20 views an image, features scaled to length 1
    probe-v1/std        the same with standardised features, as a check
    lgm-probe           the probe of LGM and SFM: fresh views, Adam, 1000 epochs, far from converged at few images
    lgm-probe/bank64    the same on 64 cached views an image

A suffix `/imagenet` says that ImageNet's mean and std were used where the backbone has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attar.errors import EvaluationError, nearest


@dataclass(frozen=True)
class Protocol:
    """A probe with all its settings; `id` names it in tables and files."""

    id: str
    probe: Literal["converged", "adam"]
    transform: Literal["l2", "std", "none"] = "none"
    penalty: float = 0.0
    views: int = 20
    restarts: int = 3


# The penalties were fixed once on held-out training images and then frozen: benchmarks/probe_defaults.py.
PROTOCOLS = {
    protocol.id: protocol
    for protocol in (
        Protocol("probe-v1", "converged", "l2", penalty=1e-3),
        Protocol("probe-v1/std", "converged", "std", penalty=1.0),
        Protocol("lgm-probe", "adam", views=0, restarts=5),
        Protocol("lgm-probe/bank64", "adam", views=64, restarts=5),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol called `name`; EvaluationError names the nearest."""
    if name not in PROTOCOLS:
        raise EvaluationError(f"There is no protocol {name!r}.", nearest(name, PROTOCOLS))
    return PROTOCOLS[name]

"""Protocols: how a number is made, by name. A number without its protocol is never printed or stored.

    probe-v1                converged softmax regression on 20 views an image, features scaled to length 1
    probe-v1/std            the same with standardised features, as a check
    probe-v1/centre         the same on the centre crops alone, without random views
    probe-v1/tuned          the same with the penalty that is best on a tenth of the training images
    ridge-v1                ridge regression to one-hot labels on the same rows, penalty by leaving images out
    knn-v1                  the class of the nearest of these views (cosine)
    lgm-probe               the probe of LGM and SFM: fresh views, Adam, 1000 epochs, far from converged at few images
    lgm-probe/bank64        the same on 64 cached views an image
    inherit-ridge-v1        a classifier of all real images on another backbone, carried over by ridge regression
    inherit-authors/bank20  the same by the recipe of SFM's authors, on 20 cached views an image
    kd/bank20, joint/bank20 the authors' two other ways: distillation of its answers, and joint training

The last four use the images to align two backbones, and a classifier that has seen all real images: their numbers
stand in tables of their own. A suffix `/imagenet` says that ImageNet's mean and std were used where the backbone has
its own. docs/protocols.md says what each is for. Those of networks trained from scratch stand in student_protocols.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attar.errors import EvaluationError, nearest
from attar.evaluation.student_protocols import STUDENT_PROTOCOLS
from attar.linear.probe import PENALTY, TRANSFORM

Kind = Literal["converged", "tuned", "ridge", "knn", "adam", "inherit-ridge", "inherit-authors", "kd", "joint"]


@dataclass(frozen=True)
class Protocol:
    """A probe with all its settings; `id` names it in tables and files."""

    id: str
    probe: Kind
    transform: Literal["l2", "std", "none"] = "none"
    penalty: float = 0.0
    views: int = 20
    restarts: int = 3

    @property
    def inherits(self) -> bool:
        """Whether it needs a classifier of all real images on a teacher backbone."""
        return self.probe in ("inherit-ridge", "inherit-authors", "kd", "joint")


# The penalties were fixed once on held-out training images and then frozen: benchmarks/probe_defaults.py.
PROTOCOLS = {
    protocol.id: protocol
    for protocol in (
        Protocol("probe-v1", "converged", TRANSFORM, PENALTY),
        Protocol("probe-v1/std", "converged", "std", penalty=1.0),
        Protocol("probe-v1/centre", "converged", TRANSFORM, PENALTY, views=1, restarts=1),
        Protocol("probe-v1/tuned", "tuned", "l2"),
        Protocol("ridge-v1", "ridge", "l2"),
        Protocol("knn-v1", "knn", "l2"),
        Protocol("lgm-probe", "adam", views=0, restarts=5),
        Protocol("lgm-probe/bank64", "adam", views=64, restarts=5),
        Protocol("inherit-ridge-v1", "inherit-ridge", "l2"),
        Protocol("inherit-authors/bank20", "inherit-authors"),
        Protocol("kd/bank20", "kd"),
        Protocol("joint/bank20", "joint"),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol called `name`; EvaluationError names the nearest."""
    if name not in PROTOCOLS:
        raise EvaluationError(f"there is no protocol {name!r}", nearest(name, [*PROTOCOLS, *STUDENT_PROTOCOLS]))
    return PROTOCOLS[name]

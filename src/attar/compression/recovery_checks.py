"""What makes a recovery impossible or doubtful, told before it runs (scdd.md 13)."""

from __future__ import annotations

from collections.abc import Sequence

from attar.backbones.squeezed import Squeezed
from attar.compression.batch_norm import norm_layers
from attar.compression.blocks import Layout
from attar.compression.matching import MatchedNetwork
from attar.compression.recovery_plan import Plan
from attar.compression.recovery_settings import RecoverySettings
from attar.errors import BackboneError, SettingsError
from attar.images.source import ImageSource
from attar.progress import Progress


def check_classes(source: ImageSource, squeezed: Squeezed) -> None:
    """BackboneError for a network without statistics to match, of other classes, or that doesn't know its own."""
    norm_layers(squeezed.network)
    if set(source.classes) != set(squeezed.classes):
        lacking = sorted(set(squeezed.classes) - set(source.classes))
        unknown = sorted(set(source.classes) - set(squeezed.classes))
        told = f"{squeezed.name} doesn't know {_some(unknown)}" if unknown else f"the images lack {_some(lacking)}"
        raise BackboneError(told, "give the images that the network was squeezed from")
    width = squeezed.network.head.out_features
    if width != len(squeezed.classes):
        raise BackboneError(f"the head gives {width} logits for {len(squeezed.classes)} classes", "squeeze again")
    accuracy, chance = squeezed.record.held_out_accuracy, 100 / len(source.classes)
    if accuracy is not None and accuracy < min(2 * chance, 50 + chance / 2):  # half-way to perfect for few classes
        raise BackboneError(
            f"the head does not know the classes: {accuracy:.1f} % on held-out images, and chance is {chance:.1f} %",
            "squeeze for longer",
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def note_doubts(squeezed: Squeezed, settings: RecoverySettings, progress: Progress) -> None:
    """Say so where the network isn't of the kind that the method is named for, or has dead channels."""
    supervised = squeezed.record.ssl == "none"
    if supervised == (settings.method == "scdd") and squeezed.record.ssl != "imported":
        learned = "labels" if supervised else "its images alone"
        progress.note(
            f"{squeezed.name} learned from {learned}, unlike the networks that {settings.method} is made for."
        )
    dead = [layer.name for layer in norm_layers(squeezed.network) if bool((layer.var == 0).any())]
    if dead:
        progress.note(f"BatchNorm layers with channels that never varied: {', '.join(dead[:5])}.")


def check_trial(
    plan: Plan, layout: Layout, network: MatchedNetwork, settings: RecoverySettings, progress: Progress
) -> None:
    """What the trial step tells: a layer without variance is refused, a weight that drowns the classes is noted."""
    smallest = min(len(layout.classes_of(block)) for block in range(len(layout)))
    lone = [name for name, places in network.places.items() if places * smallest < 2]
    if lone:
        message = f"BatchNorm layer {lone[0]} sees one value a channel of a block of one image, which has no variance"
        raise SettingsError(message, "choose another block: --set block=N")
    entropy, weighted = plan.figures["cross_entropy"], plan.figures["weighted"]
    if weighted > 100 * entropy:
        progress.note(
            f"The mismatch of statistics weighs {weighted / entropy:,.0f} times the cross-entropy at the first step: "
            f"--set bn_weight={settings.bn_weight * 10 * entropy / weighted:.1g} would make it about 10."
        )

"""Settings that fit this machine, from what was measured of it: pure arithmetic, ending in one command to type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass

_MINUTES = 15
_CLASSES = 10
_BOTH_WAYS = 2.2
"""A forward and a backward pass through a frozen network, in forward passes."""
_STEPS = {"fast": 400, "attar": 2000}
_VIEWS = 10
"""What sfm shows in a step of 10 classes: one view an image."""
_STATISTICS_VIEWS = {"fast": 2, "attar": 4}


@dataclass(frozen=True)
class Network:
    """A backbone to propose: work and memory of a view of 224 x 224 pixels.

    `gflop` is one forward pass (torch.utils.flop_counter), `mib` what a run sets aside for it (measure_activations on
    a CPU), and `share` the part of a large matrix product's rate that it reaches on a CPU.
    """

    name: str
    title: str
    gflop: float
    mib: int
    share: float = 1.0


NETWORKS = (
    Network("mobilenetv2_100", "MobileNetV2", 0.60, 110, share=0.2),  # its convolutions wait for memory
    Network("vit_tiny_patch16_224", "ViT-Ti/16", 2.51, 31),
    Network("vit_small_patch16_224", "ViT-S/16", 9.20, 57),
    Network("vit_base_patch16_224", "ViT-B/16", 35.13, 109),
)
"""From the smallest to the largest."""


@dataclass(frozen=True)
class Machine:
    """What the doctor measured: `gflops` is the rate of a large matrix product in fp32."""

    device: str
    accelerators: int
    bf16: bool
    free_bytes: int
    gflops: float
    cores: int
    threads: int


@dataclass(frozen=True)
class Estimate:
    """How long a run takes on one accelerator: `minutes` of steps, and `reading` minutes before for 1,000 images."""

    backbone: str
    title: str
    minutes: float
    reading: float
    fits: bool


@dataclass(frozen=True)
class Proposal:
    """Flags and variables with the reason for each, estimates of the preset, and the command that says it all."""

    flags: Mapping[str, str]
    reasons: Mapping[str, str]
    environment: Mapping[str, str]
    preset: str
    estimates: tuple[Estimate, ...]
    command: str

    def as_json(self) -> dict[str, object]:
        """Plain values, for a JSON document."""
        return asdict(self)


def propose(machine: Machine) -> Proposal:
    """The largest of `NETWORKS` that takes under a quarter of an hour, and flags that suit the machine.

    Where none is so fast, the fastest that fits into the memory; the smallest where none fits.
    """
    preset = "fast" if machine.device == "cpu" else "attar"
    estimates = tuple(estimate(network, preset, machine) for network in NETWORKS)
    chosen = _choose(estimates)
    flags = {
        "--backbone": chosen.backbone,
        "--preset": preset,
        "--device": machine.device,
        "--precision": "bf16" if machine.bf16 else "fp32",
        "--memory": _size(machine.free_bytes / 2),
    }
    reasons = {
        "--backbone": f"about {_spoken(chosen.minutes)} for {_CLASSES} classes",
        "--preset": "a fifth of the steps of attar" if preset == "fast" else "the best that is known",
        "--device": "what is here",
        "--precision": "this GPU computes in it" if machine.bf16 else "bf16 is for GPUs that compute in it",
        "--memory": "half of what is free now",
    }
    environment = {}
    if machine.threads > machine.cores:
        environment["OMP_NUM_THREADS"] = str(machine.cores)
        reasons["OMP_NUM_THREADS"] = f"{machine.cores} cores for {machine.threads} threads"
    return Proposal(flags, reasons, environment, preset, estimates, _command(machine, flags, environment))


def estimate(network: Network, preset: str, machine: Machine) -> Estimate:
    """Steps · views · work of both passes / rate; the real images are passed forward alone, some views of each."""
    rate = machine.gflops * (network.share if machine.device == "cpu" else 1.0)
    seconds = _STEPS[preset] * _VIEWS * network.gflop * _BOTH_WAYS / rate
    reading = 1000 * _STATISTICS_VIEWS[preset] * network.gflop / rate
    fits = network.mib * 2**20 <= machine.free_bytes / 2
    return Estimate(network.name, network.title, seconds / 60, reading / 60, fits)


def _choose(estimates: tuple[Estimate, ...]) -> Estimate:
    fitting = [each for each in estimates if each.fits] or list(estimates[:1])
    quick = [each for each in fitting if each.minutes < _MINUTES]
    return quick[-1] if quick else min(fitting, key=lambda each: each.minutes)


def _command(machine: Machine, flags: Mapping[str, str], environment: Mapping[str, str]) -> str:
    many = machine.device == "cuda" and machine.accelerators > 1
    start = ["torchrun", "--nproc-per-node", str(machine.accelerators), "-m", "attar"] if many else ["attar"]
    words = [*start, "distill", "photos/train", *(word for flag in flags.items() for word in flag)]
    variables = "".join(f"{name}={value} " for name, value in environment.items())
    return variables + shlex.join([*words, "--out", "photos.attar"])


def _size(free: float) -> str:
    return f"{int(free / 2**30)}GB" if free >= 2**30 else f"{max(1, int(free / 2**20))}MB"


def _spoken(minutes: float) -> str:
    return "a minute" if minutes < 1.5 else f"{minutes:.0f} minutes"

"""1000 classes, one image each, at 256 px within a budget of 1.5 GB for activations, on a CPU.

    python benchmarks/thousand.py            # MobileNetV2 with random weights, 3 steps on full-size canvases

A child process distils 2000 random images of 1000 classes by `attar.distill(..., memory=1.5 GB)`; its peak resident
size, less what it held before, stands beside the plan's own figures (activations, canvas and Adam).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import attar
from attar.progress import Progress
from attar.synthesis.memory import measure_activations
from attar.synthesis.plan import even_chunk
from attar.synthesis.real import view_policy
from bars import Bar, arguments, report
from memory import resident

CLASSES, BUDGET = 1000, int(1.5 * 2**30)


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(sys.argv[2], int(sys.argv[3]))))
        return
    parser = arguments(__doc__)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    steps = given.steps or (1 if given.quick else 3)
    command = [sys.executable, __file__, "child", given.backbone, str(steps)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    peak, planned, activations = (found[name] / 2**30 for name in ("peak", "planned", "activations"))
    detail = (
        f"{given.backbone}, {CLASSES} images of 256 px, {steps} steps in {found['seconds']:.0f} s: peak {peak:.2f} GB, "
        f"planned {planned:.2f} GB, of which activations {activations:.2f} GB (chunks of {found['chunk']})"
    )
    report([Bar("P4 1000 classes", abs(peak / planned - 1), 0.25, "off", detail)], given.json)


class Told(Progress):
    """Keeps what the run says before it starts."""

    def plan(self, text: str) -> None:
        print(text, file=sys.stderr)


def child(name: str, steps: int) -> dict[str, float]:
    """Distil; sizes in bytes."""
    backbone = attar.backbone(name, weights="random")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2 * CLASSES, 64, 64, 3), dtype=np.uint8)
    source = attar.open((images, np.arange(2 * CLASSES) % CLASSES))
    settings = attar.choose_settings("fast", steps=steps, canvas="pixels", statistics_views=0)
    policy = view_policy(settings, source, backbone.image_size)
    before, started = resident("VmRSS"), time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        made = attar.distill(
            source, backbone, Path(place) / "x", settings=settings, device="cpu", memory=BUDGET, progress=Told()
        )
        assert len(made) == CLASSES
    seconds = time.monotonic() - started
    model = measure_activations(backbone, policy)
    chunk = even_chunk(CLASSES, model.most_views(BUDGET))
    planned = model.peak(chunk) + 4 * 4 * CLASSES * 3 * policy.canvas**2  # of one level, where the plan counts nine
    return {
        "peak": resident("VmHWM") - before,
        "planned": planned,
        "activations": model.peak(chunk),
        "chunk": chunk,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()

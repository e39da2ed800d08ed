"""What benchmarks/race.py found: a table for each budget, the same as JSON, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attar.evaluation import Difference
from bars import report

NEAR = 0.99
COLUMNS = ("method", "steps", "s a step", "s in all", "forwards", "peak MB", "accuracy", "against sfm V=1",
           "s to 99 % of own", "s to 99 % of best")  # fmt: skip


@dataclass
class Finish:
    """One method at one budget: what it cost and, for each seed, which test images were right along the way."""

    budget: str
    rival: str
    steps: int
    step_seconds: float
    seconds: float
    forwards: float
    peak: int
    curves: list[tuple[list[float], list[np.ndarray]]] = field(default_factory=list)
    against: Difference | None = None

    def add(self, seconds: list[float], correct: list[np.ndarray]) -> None:
        """A seed's run."""
        self.curves.append((seconds, correct))

    def last_correct(self) -> np.ndarray:
        """[seeds, test images] at the end."""
        return np.stack([correct[-1] for _, correct in self.curves]).astype(float)

    @property
    def accuracy(self) -> float:
        """In percent, at the end, mean over seeds; not a number where it wasn't run."""
        return 100 * float(self.last_correct().mean()) if self.curves else float("nan")

    def reaches(self, accuracy: float | None = None) -> float | None:
        """Mean over seeds of the seconds until `accuracy`, by default until 99 % of the seed's own last one.

        None where a seed never gets there.
        """
        times = []
        for seconds, correct in self.curves:
            wanted = NEAR * 100 * correct[-1].mean() if accuracy is None else accuracy
            good = [at for at, right in zip(seconds, correct, strict=True) if 100 * right.mean() >= wanted]
            if not good:
                return None
            times.append(good[0])
        return float(np.mean(times)) if times else None

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and accuracy in percent, means over seeds."""
        seconds = np.mean([seconds for seconds, _ in self.curves], axis=0)
        return seconds, 100 * np.mean([[right.mean() for right in correct] for _, correct in self.curves], axis=0)

    def row(self, best: float) -> dict[str, Any]:
        """All figures."""
        seconds, accuracies = self.curve() if self.curves else (np.array([]), np.array([]))
        against = self.against
        return {
            "budget": self.budget,
            "rival": self.rival,
            "steps": self.steps,
            "step_seconds": self.step_seconds,
            "seconds": self.seconds,
            "computed": not self.curves,
            "forwards": self.forwards,
            "peak_bytes": self.peak,
            "accuracy": self.accuracy if self.curves else None,
            "std": 100 * float(self.last_correct().mean(1).std()) if self.curves else None,
            "against": None if against is None else [against.mean, against.low, against.high, against.verdict],
            "to_own": self.reaches(),
            "to_best": self.reaches(NEAR * best),
            "curve": {"seconds": seconds.tolist(), "accuracy": accuracies.tolist()},
        }


def write_race(finishes: Sequence[Finish], about: dict[str, Any], file: Path | None, plot: Path | None) -> None:
    """Print the tables; write JSON and plot where wanted."""
    groups = {}
    for budget in dict.fromkeys(finish.budget for finish in finishes):
        group = [finish for finish in finishes if finish.budget == budget]
        best = max((finish.accuracy for finish in group if finish.curves), default=0.0)
        groups[budget] = [finish.row(best) for finish in group]
    report([], file, race=about, rows=[row for group in groups.values() for row in group])
    for budget, rows in groups.items():
        print(f"\nEqual {budget}\n\n| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
        for row in rows:
            print("| " + " | ".join(_cells(row)) + " |")
    if plot is not None:
        _draw(finishes, about, plot)


def _cells(row: dict[str, Any]) -> list[str]:
    difference = "–" if row["against"] is None else "{:+.1f} ({:+.1f} to {:+.1f}): {}".format(*row["against"])
    return [
        row["rival"],
        str(row["steps"]),
        f"{row['step_seconds']:.3f}",
        f"{row['seconds']:.1f}" + (" computed" if row["computed"] else ""),
        f"{row['forwards']:,.0f}",
        f"{row['peak_bytes'] / 2**20:.1f}",
        "–" if row["accuracy"] is None else f"{row['accuracy']:.1f} ± {row['std']:.1f}",
        difference,
        "–" if row["to_own"] is None else f"{row['to_own']:.1f}",
        "–" if row["to_best"] is None else f"{row['to_best']:.1f}",
    ]


def _draw(finishes: Sequence[Finish], about: dict[str, Any], file: Path) -> None:
    """Accuracy against time; of each method the longest of its runs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for rival in dict.fromkeys(finish.rival for finish in finishes if finish.curves):
        runs = [finish for finish in finishes if finish.rival == rival and finish.curves]
        longest = max(runs, key=lambda finish: finish.seconds)
        axes.plot(*longest.curve(), marker=".", label=f"{rival}, {longest.steps} steps")
    axes.set(xscale="log", xlabel="seconds, the pass over the real images included", ylabel="accuracy, %")
    axes.set_title(f"{about['backbone']}, {Path(about['train']).parent.name}, {about['protocol']}")
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=120)
    plt.close(figure)

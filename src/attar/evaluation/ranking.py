"""DD-Ranking's scores (arXiv 2505.13300; evaluation.md 8): what images are worth once soft labels and tricks are equal.

All accuracies here are fractions, 0..1, and so are the scores. The release (ddranking 0.2.0) puts percentages into the
exponential: -10 points give a score of -16 %, and +10 points one of 937,000 %. Fractions give what the paper's formula
is made for: 0 at the worst, 1 at the best, and 1/(1+e) = 0.269 for images that change nothing. The release also
counts each round's hard-label accuracy twice and takes the best epoch on the test set; use the last epoch here.
"""

from __future__ import annotations

import math

from attar.errors import EvaluationError


def label_robust_score(*, real_hard: float, synthetic_hard: float, synthetic_any: float, random_any: float) -> float:
    """LRS: half how much better than random real images, half how near to the full data with hard labels.

    `real_hard` is the accuracy of the full data, `synthetic_hard` that of the distilled images, both with hard labels;
    `synthetic_any` and `random_any` are those of the distilled and of as many random real images under the method's own
    evaluation (soft labels, inherited head). EvaluationError where one is not a fraction.

    >>> round(label_robust_score(real_hard=0.9, synthetic_hard=0.5, synthetic_any=0.6, random_any=0.4), 4)
    0.2285
    """
    _check_fractions(
        real_hard=real_hard, synthetic_hard=synthetic_hard, synthetic_any=synthetic_any, random_any=random_any
    )
    return _score((synthetic_any - random_any) / 2 - (real_hard - synthetic_hard) / 2)


def augmentation_robust_score(
    *, synthetic_augmented: float, random_augmented: float, synthetic_plain: float, random_plain: float
) -> float:
    """ARS: how much better than random real images, half with the method's augmentation and half without any.

    Accuracies of the distilled and of as many random real images. EvaluationError where one is not a fraction.
    """
    _check_fractions(
        synthetic_augmented=synthetic_augmented,
        random_augmented=random_augmented,
        synthetic_plain=synthetic_plain,
        random_plain=random_plain,
    )
    return _score((synthetic_augmented - random_augmented) / 2 + (synthetic_plain - random_plain) / 2)


def _score(gain: float) -> float:
    """From a gain in -1..1 to 0..1, growing faster the larger it is."""
    return (math.exp(gain) - math.exp(-1)) / (math.e - math.exp(-1))


def _check_fractions(**accuracies: float) -> None:
    for name, value in accuracies.items():
        if not 0 <= value <= 1:
            raise EvaluationError(
                f"{name} = {value:g} is not a fraction", "Divide percentages by 100: 56.5 % is 0.565."
            )

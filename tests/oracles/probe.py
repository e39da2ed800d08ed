"""A probe's loss on real features, by the plain D x D form of ridge regression; shares nothing with the library."""

import numpy as np


def probe_loss(
    synthetic: np.ndarray,
    labels: np.ndarray,
    real: np.ndarray,
    answers: np.ndarray,
    *,
    classes: int,
    penalty: float,
    temperature: float,
    unit_length: bool = False,
    intercept: bool = False,
) -> float:
    """Mean cross-entropy of (x W + b) / temperature; W and b minimise |Z W + b - Y|² + penalty · |W|²."""
    if unit_length:
        synthetic, real = (rows / np.linalg.norm(rows, axis=1)[:, None] for rows in (synthetic, real))
    if intercept:
        synthetic, real = (np.column_stack([rows, np.ones(len(rows))]) for rows in (synthetic, real))
    penalties = np.full(synthetic.shape[1], penalty)
    if intercept:
        penalties[-1] = 0
    weights = np.linalg.solve(synthetic.T @ synthetic + np.diag(penalties), synthetic.T @ np.eye(classes)[labels])
    logits = real @ weights / temperature
    logits -= logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(real)), answers]))

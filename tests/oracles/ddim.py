"""The Gaussian toy of diver.md 11 in NumPy: where the exact noise predictor of N(m, s²) leads, one number at a time."""

from __future__ import annotations

import numpy as np

TIMESTEPS = 1000
ALPHAS = np.cumprod(1 - np.linspace(1e-4, 0.02, TIMESTEPS))  # DiT's linear betas


def alpha(k: int, steps: int = 50) -> float:
    """ᾱ_k of DiT's schedule in `steps` steps."""
    return 1.0 if k == 0 else float(ALPHAS[TIMESTEPS // steps * (k - 1)])


def sigma(k: int, kind: str, steps: int = 50) -> float:
    now, after = alpha(k, steps), alpha(k - 1, steps)
    if kind == "marginal":
        return np.sqrt(1 - now)
    return np.sqrt((1 - after) / (1 - now)) * np.sqrt(1 - now / after)


def refined(
    *,
    z0: float = 3.0,
    m: float = 1.0,
    s: float = 0.5,
    n: float = 1.0,
    gamma: float = 0.1,
    t_f: int | None = 25,
    window: tuple[int, int] = (40, 25),
    kind: str = "posterior",
    target: str = "clean",
    first: int = 50,
) -> float:
    """m + d_0 by the recursion d_{k-1} = ρ_k d_k + pull; starts from noise alone where `t_f` is None."""
    start = n if t_f is None else np.sqrt(alpha(t_f)) * z0 + np.sqrt(1 - alpha(t_f)) * n
    d = start - np.sqrt(alpha(first)) * m
    for k in range(first, 0, -1):
        a, b = alpha(k), alpha(k - 1)
        v = a * s**2 + 1 - a
        rho = (np.sqrt(a * b) * s**2 + np.sqrt((1 - a) * (1 - b))) / v
        g = gamma * sigma(k, kind) if window[1] < k <= window[0] else 0.0
        pull = {
            "clean": g * (z0 - np.sqrt(a) * m) - g * d,
            "renoised": g * (np.sqrt(a) * (z0 - m) + np.sqrt(1 - a) * n) - g * d,
            "x0hat": -g * np.sqrt(b) * (m + np.sqrt(a) * s**2 * d / v - z0),
        }
        d = rho * d + pull[target]
    return m + d

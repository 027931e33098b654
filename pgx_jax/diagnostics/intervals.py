"""Confidence intervals over seeds."""

from collections.abc import Sequence

import numpy as np


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> dict[str, float | None]:
    """Mean with a Student-t confidence interval.

    Args:
        values: one a seed.
        confidence: probability that the interval covers, 0..1.

    Returns:
        "mean", "low" and "high"; the last two are None for fewer than two values.
    """
    data = np.asarray(values, float)
    mean = float(data.mean())
    if len(data) < 2:
        return {"mean": mean, "low": None, "high": None}
    # Takes longer to import than the rest of the package.
    from scipy import stats

    half = float(stats.t.ppf((1 + confidence) / 2, len(data) - 1) * stats.sem(data))
    return {"mean": mean, "low": mean - half, "high": mean + half}

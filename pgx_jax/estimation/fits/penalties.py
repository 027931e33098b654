"""The subset fits at several ridge penalties, each warm-started at the next larger one."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.estimation import validation
from pgx_jax.estimation.fits.logistic import fit_subsets
from pgx_jax.types import SubsetFits


def fit_subset_path(
    features: Array, advantage: Array, subsets: Array, l2: Sequence[float], **options: Any
) -> list[SubsetFits]:
    """``fit_subsets`` for several penalties, each started where the next larger one ended.

    Args:
        features: float[n, T, d], projected gradients.
        advantage: float[n, T].
        subsets: bool[m, n], membership.
        l2: penalties > 0, in any order.
        options: the rest of what ``fit_subsets`` takes, ``start`` for the largest penalty.

    Returns:
        One ``SubsetFits`` per penalty, in the order given.

    Raises:
        ValueError: no penalty, or as ``fit_subsets``.

    Reference:
        Friedman, Hastie and Tibshirani (2010), "Regularization paths for generalized linear
        models via coordinate descent", section 2.5.
    """
    if not len(l2):
        raise ValueError("l2 holds no penalty; give at least one")
    for value in l2:
        validation.check_positive(l2=value)
    initial = options.pop("start", None)
    fits: dict[int, SubsetFits] = {}
    for index in np.argsort(-np.asarray(l2, float), kind="stable").tolist():
        fits[index] = fit_subsets(
            features, advantage, subsets, l2=float(l2[index]), start=initial, **options
        )
        initial = jnp.asarray(fits[index].coef)
    return [fits[index] for index in range(len(l2))]

"""Small problems that the tests of this folder share; one shape, so that jit compiles once."""

from functools import cache

import numpy as np

from tests.reference import logistic as reference

NUM_TASKS, NUM_STEPS, DIM = 4, 32, 12
KINDS = ("plain", "scaled", "separable", "wide")
L2 = (1e-6, 1e-4, 1e-2, 1.0)


def all_subsets(num_tasks=NUM_TASKS):
    """Every non-empty subset, bool[2^n - 1, n]."""
    return (np.arange(1, 2**num_tasks)[:, None] >> np.arange(num_tasks)) % 2 == 1


@cache
def problem(kind):
    """Returns (features, advantage, mask), float32 and bool, read-only."""
    rng = np.random.default_rng(KINDS.index(kind))
    features = rng.normal(size=(NUM_TASKS, NUM_STEPS, DIM))
    direction = rng.normal(size=DIM)
    noise = 0.0 if kind in ("separable", "wide") else 3.0
    signal = features @ direction + noise * rng.normal(size=(NUM_TASKS, NUM_STEPS))
    advantage = signal / signal.std()
    if kind == "scaled":
        features *= np.logspace(-3, 3, DIM)
    if kind == "wide":
        # Two transitions a task: fewer than features in every subset.
        mask = np.arange(NUM_STEPS)[None, :] == np.array([[1], [5], [8], [31]])
        mask |= np.arange(NUM_STEPS)[None, :] == np.array([[4], [0], [9], [30]])
    else:
        mask = rng.random((NUM_TASKS, NUM_STEPS)) < 0.8
    result = features.astype(np.float32), advantage.astype(np.float32), mask
    for array in result:
        array.flags.writeable = False
    return result


@cache
def optimum(kind, l2, masked=True):
    """Reference minimisers and minima of every subset: float64[m, d], float64[m]."""
    features, advantage, mask = problem(kind)
    fits = [
        reference.minimise(
            *reference.subset_data(features, advantage, member, mask if masked else None), l2
        )
        for member in all_subsets()
    ]
    return np.stack([coef for coef, _ in fits]), np.array([value for _, value in fits])


def objectives(coef, kind, l2, masked=True):
    """The objective of float coef[m, d] for every subset, in float64."""
    features, advantage, mask = problem(kind)
    return np.array(
        [
            reference.objective(
                row,
                *reference.subset_data(features, advantage, member, mask if masked else None),
                l2,
            )
            for row, member in zip(np.asarray(coef), all_subsets(), strict=True)
        ]
    )

"""Weighted logistic regression of one subset in float64 NumPy: the arbiter of `fit_subsets`."""

import numpy as np


def subset_data(features, advantage, member, mask=None):
    """Returns (g[N, d], A[N]) of the transitions of one subset, in float64."""
    valid = np.ones(advantage.shape, bool) if mask is None else np.asarray(mask)
    keep = valid & np.asarray(member)[:, None]
    return np.asarray(features, np.float64)[keep], np.asarray(advantage, np.float64)[keep]


def objective(coef, features, advantage, l2):
    """L(x) = mean |A| log(1 + exp(-sign(A) g.x)) + l2/2 |x|^2."""
    coef = np.asarray(coef, np.float64)
    losses = np.logaddexp(0.0, -np.sign(advantage) * (features @ coef))
    return np.mean(np.abs(advantage) * losses) + l2 / 2 * np.sum(coef**2)


def gradient(coef, features, advantage, l2):
    coef = np.asarray(coef, np.float64)
    label = np.sign(advantage)
    pull = np.abs(advantage) * label * np.exp(-np.logaddexp(0.0, label * (features @ coef)))
    return l2 * coef - features.T @ pull / len(advantage)


def hessian(coef, features, advantage, l2):
    margins = features @ coef
    slope = np.exp(-np.logaddexp(0.0, margins) - np.logaddexp(0.0, -margins))
    weighted = features * (np.abs(advantage) * slope / len(advantage))[:, None]
    return features.T @ weighted + l2 * np.eye(features.shape[1])


def minimise(features, advantage, l2, tol=1e-10):
    """Returns (x, L(x)) by damped Newton, with a duality-like certificate of its own.

    L is l2-strongly convex, so L(x) - min L <= |gradient|^2 / (2 l2): the step only stops there.
    """
    # The affine-invariant method needs scaling only so that the linear solves are accurate.
    scale = np.sqrt(np.mean(features**2, axis=0))
    scale[scale == 0] = 1.0
    coef = np.zeros(features.shape[1])
    value = objective(coef, features, advantage, l2)
    for _ in range(500):
        slope = gradient(coef, features, advantage, l2)
        if slope @ slope / (2 * l2) <= tol * value:
            return coef, value
        curved = hessian(coef, features, advantage, l2) / np.outer(scale, scale)
        direction = -np.linalg.solve(curved, slope / scale) / scale
        length = 1.0
        while True:
            trial = coef + length * direction
            new = objective(trial, features, advantage, l2)
            if new <= value + 1e-4 * length * (slope @ direction):
                break
            length /= 2
            if length < 1e-12:
                # As near as float64 differences of L can tell: half the squared decrement.
                assert -(slope @ direction) / 2 <= tol * value
                return coef, value
        coef, value = trial, new
    raise AssertionError("the reference did not converge")

"""Stage 2 the way of the authors' released code for gradient-based task affinities, loop by loop.

Its code (github.com/VirtuosoResearch/ScalableMTL) is for supervised tasks; this is the same way on
transitions. A gradient at a time by ``torch.autograd.grad``, flattened and multiplied in NumPy by
a Rademacher matrix that is held in float64; one scikit-learn LogisticRegression a subset; scores
task by task; the affinity pair by pair; the relaxation in cvxpy with its own choice of solver, and
entries above 1/n joined in order. Scores are surrogate losses on the scoring half, where the
released code runs the network again for each subset, which takes longer. Fits are weighted, as the
method says.
"""

import argparse
from typing import Any

import numpy as np

from benchmarks.estimation.features import torch_log_prob, torch_policy


def released_policy(args: argparse.Namespace, params: Any) -> tuple[Any, Any]:
    """The MLP of ``torch_policy`` with the parameters of a ``GaussianPolicy``."""
    import torch

    model, log_std = torch_policy(args)
    layers = params["network"]["params"]
    with torch.no_grad():
        log_std.copy_(torch.from_numpy(np.array(params["log_deviation"])))
        for index in range(args.depth):
            layer, linear = layers[f"Dense_{index}"], model[2 * index]
            linear.weight.copy_(torch.from_numpy(np.array(layer["kernel"])).T)
            linear.bias.copy_(torch.from_numpy(np.array(layer["bias"])))
    return model, log_std


def released_matrix(num_params: int, dim: int, dtype: type) -> np.ndarray:
    """Random signs over the root of d, [p, d]; the released code holds them in float64."""
    rng = np.random.RandomState(0)
    matrix = (2 * rng.randint(2, size=(num_params, dim)) - 1).astype(dtype)
    matrix *= 1 / np.sqrt(dim)
    return matrix


def released_features(
    policy: tuple[Any, Any], matrix: np.ndarray, observation: np.ndarray, action: np.ndarray
) -> np.ndarray:
    """One gradient and one product for every transition: [N, d]."""
    import torch

    model, log_std = policy
    weights = [*model.parameters(), log_std]
    states, actions = torch.from_numpy(observation), torch.from_numpy(action)
    features = []
    for index in range(len(states)):
        value = torch_log_prob(model(states[index]), log_std, actions[index])
        gradients = torch.autograd.grad(value, weights)
        flat = torch.cat([leaf.reshape(-1) for leaf in gradients]).numpy()
        features.append((flat.reshape(1, -1) @ matrix).flatten())
    return np.array(features, np.float32)


def released_scores(
    coef: np.ndarray, features: np.ndarray, advantage: np.ndarray, subsets: np.ndarray
) -> np.ndarray:
    """Minus the weighted logistic loss of each subset's fit on each of its tasks, [m, n]."""
    scores = np.full(subsets.shape, np.nan)
    for row, subset in enumerate(subsets):
        for task in np.flatnonzero(subset):
            margin = np.sign(advantage[task]) * (features[task] @ coef[row])
            weight = np.abs(advantage[task])
            scores[row, task] = -(weight * np.logaddexp(0, -margin)).sum() / weight.sum()
    return scores


def released_affinity(scores: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Mean score of a task over the subsets that hold it together with the other, [n, n]."""
    num_tasks = subsets.shape[1]
    affinity = np.zeros((num_tasks, num_tasks))
    for one in range(num_tasks):
        for other in range(num_tasks):
            found = [
                scores[row, one]
                for row in range(len(subsets))
                if subsets[row, one] and subsets[row, other]
            ]
            affinity[one, other] = np.mean(found)
    return affinity


def released_clustering(affinity: np.ndarray, num_groups: int) -> np.ndarray:
    """Labels from the relaxation with fixed trace; nothing makes them exactly k groups."""
    import cvxpy as cp

    cost = affinity.max() - affinity
    num_tasks = len(cost)
    matrix = cp.Variable((num_tasks, num_tasks), symmetric=True)
    constraints = [matrix >> 0, matrix >= 0, cp.trace(matrix) == num_groups]
    constraints += [cp.sum(matrix[:, task]) == 1 for task in range(num_tasks)]
    cp.Problem(cp.Minimize(cp.trace(cost @ matrix)), constraints).solve()
    together = np.asarray(matrix.value) > 1 / num_tasks
    labels = np.full(num_tasks, -1)
    for task in range(num_tasks):
        if labels[task] < 0:
            joined = together[task] & (labels < 0)
            joined[task] = True
            labels[joined] = labels.max() + 1
    return labels

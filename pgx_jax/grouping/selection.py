"""The number of groups, chosen on validation subsets."""

from collections.abc import Callable

import numpy as np

from pgx_jax.effects import additive_effects, standardise_scores
from pgx_jax.grouping.objectives import MEAN_WITHIN, Objective
from pgx_jax.grouping.partitions import check_affinity, membership, normal_form
from pgx_jax.grouping.rounding.multistart import round_to_each

Refit = Callable[[np.ndarray, np.ndarray], np.ndarray]

NUM_FOLDS = 5
NUM_REPEATS = 4
# Many tasks have many scores to judge by, and every fold takes its time.
NUM_REPEATS_LARGE = 1
LARGE_PROBLEM = 60
# Fewer distinct subsets than this leave nothing to learn from once some are left out.
FEWEST_SUBSETS = 4
# Beyond this many groups the search is slow and, at usual numbers of subsets, hopeless.
LARGEST_DEFAULT = 20
# The local search seldom needs more, and it runs in every fold for every k. Of many tasks a
# random start takes more moves than all the others, and seldom wins.
NUM_RANDOM_STARTS = 8
NUM_RANDOM_STARTS_LARGE = 0
# With hardly any noise more groups always predict a little better. Groups that gain less than this
# share of what a group gains on average are not worth a policy. (A share of the whole gain would
# not do: each of fifty equal groups has two percent of it.)
NEGLIGIBLE_GAIN = 0.06
# Below this the predictions do not vary, as when all tasks are in one group.
TINY = 1e-12


def select_num_groups(
    scores,
    subsets,
    *,
    refit: Refit | None = None,
    max_groups: int | None = None,
    num_folds: int = NUM_FOLDS,
    num_repeats: int | None = None,
    seed: int = 0,
    objective: Objective = MEAN_WITHIN,
) -> tuple[int, dict[int, float]]:
    """Chooses the number of groups by cross-validation over subsets.

    Scores are standardised per task over the subsets that hold it: z_i(S). In every fold the
    tasks are clustered into k groups on an affinity made from the training subsets alone (by
    ``refit``, or by ridge regression of z_i(S) on who else is in S), by rounding and local search
    without the relaxation. The affinity by means is U_ij = mean of (z_i(S) + z_j(S))/2 over the
    subsets that hold i and j; its block means M_gh between groups g and h (weighted by how often
    each pair was sampled) predict the scores of the validation subsets,

        z_i(S) ≈ a_i + b Σ_{j ∈ S, j ≠ i} M_{g(i) g(j)},

    with a_i and b fitted by least squares on the training subsets. error(k) is the mean squared
    error over the validation scores, in units of their variance: about 1 where nothing is
    predicted. The smallest k whose mean error is within one standard error (of the difference,
    over folds) of the least is chosen: with no structure that is k = 1. A smaller k is chosen
    where the groups between it and the k of least error gain, on average, less than 6 % of what
    all the groups up to that k gain on average.

    Args:
        scores: float[m, n], f_i(S); read only where ``subsets`` is True. Scales may differ by task.
        subsets: bool[m, n], membership.
        refit: ``refit(scores, subsets)`` -> float[n, n], the affinity from some of the rows; a
            task may be in none of them. None means the ridge regression. Where tasks are in
            fewer than about n subsets each, that groups too few of them right to tell k from
            k-1: pass ``completed_affinity(scores, subsets).refit``.
        max_groups: largest k to try, ≥ 1; never more than n-1 are tried. None means 20.
        num_folds: folds, ≥ 2; at most one a distinct subset. Equal subsets share a fold.
        num_repeats: how often the folds are redrawn, ≥ 1; None means 4, or 1 beyond 60 tasks.
        seed: of the folds and of the clustering's random starts.
        objective: what a partition is worth in the clustering.

    Returns:
        k, and the mean validation error of every k tried.

    Raises:
        ValueError: shapes that do not match, scores that are not finite where they count, fewer
            than four distinct subsets, no subset with two tasks, options out of range, or an
            affinity from ``refit`` that is not finite and [n, n].

    Reference: not in the paper, which takes k as given (or implied by its penalty); the rule of
    one standard error is that of Breiman et al. (1984).
    """
    scores, subsets = check_scores(scores, subsets)
    num_tasks = scores.shape[1]
    check_max_groups(max_groups, num_tasks)
    large = num_tasks > LARGE_PROBLEM
    if num_repeats is None:
        num_repeats = NUM_REPEATS_LARGE if large else NUM_REPEATS
    if num_folds < 2 or num_repeats < 1:
        raise ValueError(
            "num_folds must be at least 2 and num_repeats at least 1; "
            f"got {num_folds} and {num_repeats}."
        )
    num_random = NUM_RANDOM_STARTS_LARGE if large else NUM_RANDOM_STARTS
    largest = LARGEST_DEFAULT if max_groups is None else int(max_groups)
    sizes = range(1, max(min(largest, num_tasks - 1), 1) + 1)
    standardised = standardise_scores(scores, subsets)

    def affinity_from(rows: np.ndarray) -> np.ndarray:
        if refit is None:
            return additive_effects(standardised[rows], subsets[rows].astype(np.float64))
        return _checked_affinity(refit(scores[rows], subsets[rows]), num_tasks)

    distinct = np.unique(subsets, axis=0, return_inverse=True)[1].reshape(-1)
    num_distinct = int(distinct.max()) + 1
    num_folds = min(num_folds, num_distinct)
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(num_repeats):
        folds = rng.permutation(np.arange(num_distinct) % num_folds)[distinct]
        for fold in range(num_folds):
            validation = folds == fold
            if subsets[validation].any():
                affinity = normal_form(affinity_from(~validation)).values
                partitions = round_to_each(
                    affinity, sizes, objective=objective, seed=seed, num_random=num_random
                )
                errors.append(_validation_errors(standardised, subsets, validation, partitions))
    return _smallest_within_one_standard_error(np.array(errors), num_folds, sizes)


def check_scores(scores, subsets) -> tuple[np.ndarray, np.ndarray]:
    """Validates scores and membership.

    Args:
        scores: float[m, n].
        subsets: bool[m, n].

    Returns:
        Both as NumPy arrays, float64 and bool.

    Raises:
        ValueError: shapes that do not match, membership that is not true or false, scores that
            are not finite where they count, fewer than four distinct subsets, or no subset with
            two tasks.
    """
    scores = np.asarray(scores, dtype=np.float64)
    subsets = np.asarray(subsets)
    if scores.ndim != 2 or scores.shape != subsets.shape:
        raise ValueError(
            "scores must be float[m, n] and subsets bool[m, n], one row a subset; "
            f"got shapes {scores.shape} and {subsets.shape}."
        )
    if subsets.dtype != bool:
        if not np.isin(subsets, (0, 1)).all():
            raise ValueError("subsets must hold True and False only: membership, not indices.")
        subsets = subsets.astype(bool)
    bad = np.argwhere(subsets & ~np.isfinite(scores))
    if len(bad):
        examples = ", ".join(f"({row}, {task})" for row, task in bad[:8].tolist())
        raise ValueError(
            f"scores is NaN or infinite in {len(bad)} places where it counts, (subset, task) = "
            f"{examples}. Leave out those subsets."
        )
    distinct = len(np.unique(subsets, axis=0))
    if distinct < FEWEST_SUBSETS or not np.any(subsets.sum(axis=1) >= 2):
        raise ValueError(
            f"The automatic number of groups needs at least {FEWEST_SUBSETS} distinct subsets, "
            f"some of two tasks or more; got {distinct} distinct, the largest of "
            f"{int(subsets.sum(axis=1).max(initial=0))} tasks. Sample more subsets, or give "
            "num_groups or penalty."
        )
    return scores, subsets


def check_max_groups(max_groups, num_tasks: int) -> None:
    """Raises unless ``max_groups`` is None or a whole number of at least 1.

    Args:
        max_groups: the value to check.
        num_tasks: n, for the message.

    Raises:
        ValueError: it is neither.
    """
    if max_groups is None:
        return
    whole = isinstance(max_groups, (int, np.integer)) and not isinstance(max_groups, bool)
    if not whole or max_groups < 1:
        raise ValueError(
            f"max_groups must be a whole number from 1 to {max(num_tasks - 1, 1)}, or None; "
            f"got {max_groups!r}."
        )


def _checked_affinity(affinity, num_tasks: int) -> np.ndarray:
    affinity = check_affinity(affinity)
    if len(affinity) != num_tasks:
        raise ValueError(
            f"refit returned an affinity of {len(affinity)} tasks for scores of {num_tasks}."
        )
    return affinity


def _validation_errors(
    standardised: np.ndarray,
    subsets: np.ndarray,
    validation: np.ndarray,
    partitions: list[np.ndarray],
) -> list[float]:
    """The mean squared error on the validation subsets, bool[m], of each partition int[n]."""
    member = subsets.astype(np.float64)
    training_member, validation_member = member[~validation], member[validation]
    total, count = _pair_sums(standardised[~validation], training_member)
    times_held = np.maximum(training_member.sum(axis=0), 1.0)
    centred = standardised - (standardised * member)[~validation].sum(axis=0) / times_held
    errors = []
    for labels in partitions:
        block = membership(labels)
        block_count = np.maximum(block.T @ count @ block, 1.0)
        predicted = block @ ((block.T @ total @ block) / block_count) @ block.T
        np.fill_diagonal(predicted, 0.0)
        partners = member @ predicted
        partners = partners - np.sum(training_member * partners[~validation], axis=0) / times_held
        regressor = training_member * partners[~validation]
        variation = np.sum(regressor * partners[~validation])
        slope = np.sum(regressor * centred[~validation]) / max(variation, TINY)
        residual = validation_member * (centred[validation] - slope * partners[validation])
        errors.append(float(np.sum(residual**2) / validation_member.sum()))
    return errors


def _pair_sums(standardised: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns Σ_S (z_i(S) + z_j(S))/2 and the counts, off the diagonal, each float[n, n]."""
    total = standardised.T @ member
    total = 0.5 * (total + total.T)
    count = member.T @ member
    np.fill_diagonal(total, 0.0)
    np.fill_diagonal(count, 0.0)
    return total, count


def _smallest_within_one_standard_error(
    errors: np.ndarray, num_folds: int, sizes: range
) -> tuple[int, dict[int, float]]:
    mean = errors.mean(axis=0)
    best = int(mean.argmin())
    excess = errors - errors[:, [best]]
    # Repeats reuse the same subsets, so only the folds of one repeat count as observations.
    standard_error = excess.std(axis=0) / np.sqrt(num_folds)
    further = np.maximum(best - np.arange(len(mean)), 0) / max(best, 1)
    negligible = NEGLIGIBLE_GAIN * further * (mean[0] - mean[best])
    tolerance = np.maximum(standard_error, negligible) + 1e-12 * mean.max()
    chosen = int(np.flatnonzero(mean <= mean[best] + tolerance)[0])
    return sizes[chosen], dict(zip(sizes, mean.tolist(), strict=True))

"""How scores become an affinity: rules by name, each with its way to do so from some of the rows.

The automatic number of groups makes the affinity again in every fold. So that it judges groups by
the rule in force, a rule gives with the affinity the function that makes it again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.effects import ScoreUnits, additive_effects, score_units
from pgx_jax.estimation.affinity.averages import pair_totals, subset_totals, task_affinity
from pgx_jax.estimation.affinity.completion import completed_affinity
from pgx_jax.estimation.designs.usual import MOST_ADDITIVE
from pgx_jax.registry import Registry


class EstimatedAffinity(NamedTuple):
    """An affinity and how to make it again.

    Attributes:
        affinity: float[n, n].
        refit: ``refit(scores, subsets)`` -> float64[n, n] in NumPy, by the same rule, from some
            of the rows float[m, n] and bool[m, n], as ``cluster_tasks`` takes it. A pair that
            shares none of them counts as average.
    """

    affinity: Array
    refit: Callable[[np.ndarray, np.ndarray], np.ndarray]


class AffinityRule(Protocol):
    """A rule: a frozen dataclass, its options the fields."""

    def fit(self, scores: Array, subsets: Array) -> EstimatedAffinity:
        """The affinity of all pairs.

        Args:
            scores: float[m, n], f_i(S), higher is better; read only where the task is in S.
            subsets: bool[m, n].

        Returns:
            ``EstimatedAffinity``; its ``refit`` runs on the host, so this is not for ``jit``.

        Raises:
            ValueError: a shape differs, a score of a member is not finite, too few subsets for
                the rule.
        """
        ...


@dataclass(frozen=True)
class AdditiveEffects:
    """The effect of one task on the other, the rest of the subset accounted for."""

    def fit(self, scores: Array, subsets: Array) -> EstimatedAffinity:
        """``task_affinity(reduce="additive")``."""
        return _fitted("additive", additive_effects, scores, subsets)


@dataclass(frozen=True)
class PairMean:
    """The mean of two tasks' scores over the subsets that hold both."""

    def fit(self, scores: Array, subsets: Array) -> EstimatedAffinity:
        """``task_affinity(reduce="pair")``."""
        return _fitted("pair", pair_means, scores, subsets)


@dataclass(frozen=True)
class SubsetMean:
    """The mean of all scores over the subsets that hold both tasks."""

    def fit(self, scores: Array, subsets: Array) -> EstimatedAffinity:
        """``task_affinity(reduce="subset")``."""
        return _fitted("subset", subset_means, scores, subsets)


@dataclass(frozen=True)
class CompletedEffects:
    """Low-rank effects, which fill in pairs that share few subsets or none.

    Attributes:
        max_rank: as in ``completed_affinity``, and so are the other two.
        num_folds: of the subsets, to judge the penalties.
        seed: of the folds.
    """

    max_rank: int | None = None
    num_folds: int | None = None
    seed: int = 0

    def fit(self, scores: Array, subsets: Array) -> EstimatedAffinity:
        """``completed_affinity``, and its penalty and rank for the folds."""
        completed = completed_affinity(
            scores, subsets, max_rank=self.max_rank, num_folds=self.num_folds, seed=self.seed
        )
        affinity = completed.affinity.astype(jnp.promote_types(scores.dtype, jnp.float32))
        return EstimatedAffinity(jnp.asarray(affinity), completed.refit)


AFFINITY_RULES: Registry[AffinityRule] = Registry("affinity")
AFFINITY_RULES.register("additive", AdditiveEffects())
AFFINITY_RULES.register("completed", CompletedEffects())
AFFINITY_RULES.register("pair", PairMean())
AFFINITY_RULES.register("subset", SubsetMean())


def usual_affinity_rule(num_tasks: int) -> Literal["additive", "completed"]:
    """The rule that suits a number of tasks: beyond 20 a usual design has few subsets a task."""
    return "additive" if num_tasks <= MOST_ADDITIVE else "completed"


def estimate_affinity(scores: Array, subsets: Array, rule: str | AffinityRule) -> EstimatedAffinity:
    """The affinity by a rule.

    Args:
        scores: float[m, n], f_i(S).
        subsets: bool[m, n].
        rule: a name in ``AFFINITY_RULES``, or the rule.

    Returns:
        ``EstimatedAffinity``.

    Raises:
        ValueError: an unknown name, and what the rule raises.
    """
    return AFFINITY_RULES.find(rule).fit(scores, subsets)


def pair_means(standardised: np.ndarray, member: np.ndarray) -> np.ndarray:
    """``PairMean`` of standardised scores float64[m, n]; 0 for pairs that share no subset."""
    return pair_totals(standardised, member) / np.maximum(member.T @ member, 1.0)


def subset_means(standardised: np.ndarray, member: np.ndarray) -> np.ndarray:
    """``SubsetMean`` of standardised scores float64[m, n]; 0 for pairs that share no subset."""
    return subset_totals(standardised, member) / np.maximum(member.T @ member, 1.0)


def _fitted(
    reduce: Literal["additive", "pair", "subset"],
    on_host: Callable[[np.ndarray, np.ndarray], np.ndarray],
    scores: Array,
    subsets: Array,
) -> EstimatedAffinity:
    """The affinity of all rows, and a refit by the same formula in NumPy."""
    affinity = task_affinity(scores, subsets, reduce=reduce)
    units = score_units(np.asarray(scores, np.float64), np.asarray(subsets))
    return EstimatedAffinity(affinity, partial(_refit, on_host, units))


def _refit(
    on_host: Callable[[np.ndarray, np.ndarray], np.ndarray],
    units: ScoreUnits,
    scores: np.ndarray,
    subsets: np.ndarray,
) -> np.ndarray:
    """The affinity from some rows, their scores in the units of all the rows."""
    scores, subsets = np.asarray(scores, np.float64), np.asarray(subsets)
    return on_host(units.standardise(scores, subsets), subsets.astype(np.float64))

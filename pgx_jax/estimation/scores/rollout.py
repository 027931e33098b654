"""The adapted policies judged by their returns in the environments.

Difference from the paper (PolicyGradEx, arXiv 2511.12779):

1. Rollouts use the same random numbers for every subset, so that differences between subsets
   are not drowned by the luck of the initial states.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pgx_jax.estimation.scores.adapted import AdaptedPolicies, Lift
from pgx_jax.estimation.scores.base import SCORES, Rollouts, ScoreInputs, Scores
from pgx_jax.estimation.validation import is_concrete
from pgx_jax.types import SubsetFits


@dataclass(frozen=True)
class RolloutScore:
    """The mean return of θ_S in task i, for the members i of S.

    Attributes:
        rollouts: steps the policies; None only until it is given to ``score_subsets``.
        rho: relative distance of θ_S; None takes P x_S as it is.
    """

    rollouts: Rollouts | None
    rho: float | None = None
    splits_transitions: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("params", "projection", "rollout", "subsets", "key")

    def score(self, inputs: ScoreInputs) -> Scores:
        """f_i(S), float[m, n]; NaN where the task is not in the subset."""
        assert self.rollouts is not None
        params, coef = inputs.policy.params, inputs.fits.coef
        policies = AdaptedPolicies(params, inputs.projection, coef, self.rho)
        return self.rollouts.returns(policies, inputs.subsets, inputs.key)


SCORES.register("rollout", lambda options: RolloutScore(options.rollouts, options.rho))


@dataclass(frozen=True)
class TracedRollouts:
    """Rollouts by a function that JAX traces; environment steps are not counted.

    Attributes:
        function: ``rollout(params, tasks, key)`` -> float[s], as ``score_subsets`` takes it.
        batch_size: subsets that it is vmapped over at a time; None never vmaps it.
    """

    function: Callable[[Any, Array, Array], Any]
    batch_size: int | None = None

    def returns(self, policies: AdaptedPolicies, subsets: Array, key: Array) -> Scores:
        """As ``Rollouts.returns``."""
        returns, members = self.results(policies, subsets, key)
        return Scores(scatter_scores(returns, members, subsets))

    def results(self, policies: AdaptedPolicies, subsets: Array, key: Array) -> tuple[Any, Array]:
        """Whatever the function returns, and for which tasks; see ``rollout_subsets``."""
        return _roll(
            policies,
            subsets,
            key,
            function=self.function,
            subset_size=largest_subset(subsets),
            batch_size=self.batch_size,
        )


def rollout_subsets(
    rollout: Callable[[Any, Array, Array], Any],
    fits: SubsetFits,
    params: Any,
    projection: Lift,
    subsets: Array,
    key: Array,
    *,
    rho: float | None = None,
    batch_size: int | None = None,
) -> tuple[Any, Array]:
    """Whatever ``rollout`` returns for θ_S and the members of S, for every subset.

    Args:
        rollout: ``rollout(params, tasks, key)`` -> pytree; the same function object on a second
            call does not recompile.
        fits: from ``fit_subsets``.
        params: θ*.
        projection: the one that made the features.
        subsets: bool[m, n].
        key: PRNG key, the same for every subset.
        rho: relative parameter distance; None takes P x_S as it is.
        batch_size: subsets that ``rollout`` is vmapped over at a time; None never vmaps it.

    Returns:
        The results, leaves leading with m, and the tasks int[m, s] that they are for, s the
        largest subset size; smaller subsets are filled up with tasks that are not members.
    """
    policies = AdaptedPolicies(params, projection, fits.coef, rho)
    return TracedRollouts(rollout, batch_size).results(policies, subsets, key)


def largest_subset(subsets: Array) -> int:
    """Tasks in the largest subset; all of them where that is not known, under ``jit``."""
    return int(np.asarray(subsets).sum(axis=1).max()) if is_concrete(subsets) else subsets.shape[1]


def subset_members(subsets: Array, subset_size: int) -> Array:
    """The tasks int[m, s] of subsets bool[m, n]; smaller ones are filled up with other tasks."""
    return lax.top_k(jnp.asarray(subsets, jnp.int8), subset_size)[1]


def scatter_scores(returns: Array, members: Array, subsets: Array) -> Array:
    """Returns float[m, s] of the tasks int[m, s] as float[m, n], NaN outside the subset."""
    rows = jnp.arange(subsets.shape[0])[:, None]
    scores = jnp.full(subsets.shape, jnp.nan, returns.dtype).at[rows, members].set(returns)
    return jnp.where(subsets, scores, jnp.nan)


@partial(jax.jit, static_argnames=("function", "subset_size", "batch_size"))
def _roll(
    policies: AdaptedPolicies,
    subsets: Array,
    key: Array,
    *,
    function: Callable,
    subset_size: int,
    batch_size: int | None,
) -> tuple[Any, Array]:
    members = subset_members(subsets, subset_size)

    def one_subset(subset: tuple[Array, Array]) -> Any:
        row, tasks = subset
        return function(policies.one(row), tasks, key)

    rows = jnp.arange(subsets.shape[0])
    return lax.map(one_subset, (rows, members), batch_size=batch_size), members

"""The adapted policies judged on the data of θ*, by importance sampling."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.scores.adapted import AdaptedPolicies
from pgx_jax.estimation.scores.base import SCORES, ScoreInputs, Scores
from pgx_jax.types import Transitions


@dataclass(frozen=True)
class OffPolicyScore:
    """(1/T) Σ_t A_t min(π_θS(a|s) / π_θ*(a|s), max_ratio).

    Attributes:
        rho: relative distance of θ_S; None takes P x_S as it is.
        max_ratio: importance ratios are clipped here.
    """

    rho: float | None = None
    max_ratio: float = 10.0
    splits_transitions: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("params", "projection", "log_prob", "transitions")

    def score(self, inputs: ScoreInputs) -> Scores:
        """f_i(S), float[m, n], one subset at a time."""
        log_prob, params = inputs.policy
        policies = AdaptedPolicies(params, inputs.projection, inputs.fits.coef, self.rho)
        values = _score_off_policy(
            policies,
            inputs.transitions,
            inputs.advantage,
            inputs.mask,
            self.max_ratio,
            log_prob=log_prob,
        )
        return Scores(values)


SCORES.register("off_policy", lambda options: OffPolicyScore(options.rho, options.max_ratio))


@partial(jax.jit, static_argnames=("log_prob",))
def _score_off_policy(
    policies: AdaptedPolicies,
    transitions: Transitions,
    advantage: Array,
    mask: Array | None,
    max_ratio: Array | float,
    *,
    log_prob: Callable,
) -> Array:
    per_transition = jax.vmap(jax.vmap(log_prob, (None, 0, 0)), (None, 0, 0))
    data = (transitions.observation, transitions.action)
    before = per_transition(policies.params, *data)

    def one_subset(row: Array) -> Array:
        after = per_transition(policies.one(row), *data)
        ratio = jnp.minimum(jnp.exp(jnp.minimum(after - before, 50.0)), max_ratio)
        return _task_mean(advantage * ratio, mask)

    return lax.map(one_subset, jnp.arange(len(policies.coef)))


def _task_mean(values: Array, mask: Array | None) -> Array:
    """Mean over the last axis of float[n, T], counting valid transitions only."""
    if mask is None:
        return values.mean(axis=-1)
    valid = mask.astype(bool)
    return jnp.where(valid, values, 0.0).sum(axis=-1) / jnp.maximum(valid.sum(axis=-1), 1)

"""Scores from the products g̃_t·x_S alone: the surrogate loss, and the linearised objective."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.scores.base import SCORES, ScoreInputs, Scores


@dataclass(frozen=True)
class MarginScore:
    """A score of every task from its margins g̃_t·x_S.

    Attributes:
        of_task: ``of_task(margins, weight)`` -> float[m], from margins float[m, T] and weights
            float[T]: advantages over the number of transitions, 0 where masked.
    """

    of_task: Callable[[Array, Array], Array]
    splits_transitions: ClassVar[bool] = True

    def score(self, inputs: ScoreInputs) -> Scores:
        """f_i(S), float[m, n], one task at a time."""
        fits, features, advantage, mask, *_ = inputs
        return Scores(_score_features(fits.coef, features, advantage, mask, of_task=self.of_task))


def surrogate(margins: Array, weight: Array) -> Array:
    """-(1/T) Σ_t w_t log(1 + exp(-y_t g̃_t·x_S)), where y_t and w_t are sign and size of A_t."""
    return -jax.nn.softplus(-jnp.sign(weight)[None] * margins) @ jnp.abs(weight)


def linearised(margins: Array, weight: Array) -> Array:
    """(1/T) Σ_t A_t g̃_t·x_S."""
    return margins @ weight


SCORES.register("surrogate", lambda _: MarginScore(surrogate))
SCORES.register("linearised", lambda _: MarginScore(linearised))


def task_weight(advantage: Array, mask: Array | None) -> Array:
    """Advantages divided by their number in the task, 0 where masked; float[n, T]."""
    count = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    return jnp.where(count, advantage, 0.0) / jnp.maximum(count.sum(axis=1, keepdims=True), 1)


@partial(jax.jit, static_argnames=("of_task",))
def _score_features(
    coef: Array, features: Array, advantage: Array, mask: Array | None, *, of_task: Callable
) -> Array:
    valid = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)

    def one_task(task: tuple[Array, Array, Array]) -> Array:
        task_features, task_valid, weight = task
        clean = jnp.where(task_valid[:, None], task_features, 0.0)
        return of_task(jnp.matmul(coef, clean.T, precision=lax.Precision.HIGHEST), weight)

    return lax.map(one_task, (features, valid, task_weight(advantage, mask))).T

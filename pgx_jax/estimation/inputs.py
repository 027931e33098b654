"""The door of ``group_tasks``: its input parsed and checked once, before any work starts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pgx_jax.estimation import validation
from pgx_jax.estimation.gradients.advantage import standardise
from pgx_jax.types import PolicyFunction, Transitions


def parse_group_inputs(
    log_prob: Callable[[Any, Any, Any], Any],
    params: Any,
    transitions: Any,
    *,
    num_groups: int | None,
    key: Any,
    batch_size: int,
    rollout_batch_size: int | None,
    l2: float,
    rho: float | None,
    splits_transitions: bool,
) -> tuple[PolicyFunction, Transitions]:
    """The policy and its transitions, as the unchecked cores take them.

    Args:
        log_prob: ``log_prob(params, observation, action)`` -> real scalar; traced here once.
        params: pytree of parameters θ*.
        transitions: ``Transitions`` of lists or arrays, with or without a mask.
        num_groups: k, or None.
        key: PRNG key.
        batch_size: transitions at a time.
        rollout_batch_size: subsets at a time, or None.
        l2: ridge penalty.
        rho: relative parameter distance, or None.
        splits_transitions: whether every task needs two valid transitions, to fit and to score.

    Returns:
        The policy, and transitions of arrays with a mask bool[n, T] and advantages standardised
        per task, float32[n, T].

    Raises:
        ValueError: bad shapes, advantages that are not finite or the same for a whole task, k
            outside 1..n, other numbers that are not positive, a task with too few transitions.
        TypeError: ``log_prob`` cannot be traced or returns something else, another kind of key.
    """
    policy, parsed = validation.parse_policy_data(
        log_prob, params, transitions, batch_size, fetch=False
    )
    num_tasks = parsed.advantage.shape[0]
    whole = isinstance(num_groups, int | np.integer)
    if num_groups is not None and not (whole and 1 <= num_groups <= num_tasks):
        raise ValueError(
            f"num_groups is {num_groups}; it must be a whole number from 1 to n = {num_tasks}"
        )
    validation.check_key(key)
    if rollout_batch_size is not None:
        validation.check_batch_size(rollout_batch_size, "rollout_batch_size")
    validation.check_positive(l2=l2, **({} if rho is None else {"rho": rho}))
    advantage = standardise(parsed.advantage, parsed.mask)
    validation.check_values(
        advantage=parsed.advantage,
        mask=parsed.mask,
        standardised=advantage,
        halved=parsed.mask if splits_transitions else None,
    )
    return policy, parsed._replace(advantage=advantage)

"""Methods that train one policy for all tasks."""

from functools import partial

import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.methods.base import Evidence, Method, add_method
from pgx_jax.networks import Network, matched_network
from pgx_jax.rl.policies import make_policy


def _one_group(evidence: Evidence) -> np.ndarray:
    return np.zeros(evidence.num_tasks, np.int64)


def _as_many_parameters(network: Network, family: TaskFamily, num_groups: int) -> Network:
    return matched_network(partial(make_policy, family.environment), network, num_groups)


add_method(Method("single_policy", "One policy for all tasks", _one_group))
add_method(
    Method(
        "parameter_matched_policy",
        "One policy, k times the parameters",
        _one_group,
        network=_as_many_parameters,
        from_meta=False,
    )
)

"""What a compared method is: which tasks share a policy, and what that policy is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.networks import Network
from pgx_jax.pipeline import Estimate
from pgx_jax.registry import Registry
from pgx_jax.types import Transitions


class Evidence(NamedTuple):
    """What a method may choose its groups by.

    Attributes:
        estimate: groups, affinity, scores and the rest.
        features: float[n, T, d], of unit mean square norm.
        transitions: standardised advantages and mask; leaves [n, T, ...].
        seed: of the run.
    """

    estimate: Estimate
    features: Any
    transitions: Transitions
    seed: int

    @property
    def num_tasks(self) -> int:
        """N."""
        return self.features.shape[0]

    @property
    def num_groups(self) -> int:
        """k, as the estimate has it."""
        return self.estimate.grouping.num_groups


def same_network(network: Network, family: TaskFamily, num_groups: int) -> Network:
    """The run's own network."""
    del family, num_groups
    return network


def same_algorithm(algorithm: Any) -> Any:
    """The run's own algorithm."""
    return algorithm


@dataclass(frozen=True)
class Method:
    """A way of sharing policies among the tasks.

    Attributes:
        name: in files and reports.
        title: for a reader.
        labels: ``labels(evidence)`` -> int[n], the policy of each source task.
        network: ``network(network, family, num_groups)`` -> the network of its policies.
        algorithm: ``algorithm(settings)`` -> the settings that its policies are trained with.
        from_meta: start from θ* (whose training then counts) rather than afresh; for the run's
            own network, algorithm and identity only.
        pays_for: stages whose environment steps it pays for besides.
        identity: what its policies are told of their task; None as in the rest of the run.
    """

    name: str
    title: str
    labels: Callable[[Evidence], np.ndarray]
    network: Callable[[Network, TaskFamily, int], Network] = same_network
    algorithm: Callable[[Any], Any] = same_algorithm
    from_meta: bool = True
    pays_for: tuple[str, ...] = ()
    identity: Any = None


METHODS: Registry[Method] = Registry("method")


def add_method(method: Method) -> Method:
    """Registers a method by its name."""
    return METHODS.register(method.name, method)

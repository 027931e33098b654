"""What the rest of the package asks of a reinforcement-learning algorithm."""

from typing import Any, ClassVar, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

from pgx_jax.envs.base import Environment
from pgx_jax.networks import Network, Policy
from pgx_jax.registry import Registry
from pgx_jax.rl.rollout import Trajectory


class TrainingMetrics(NamedTuple):
    """What one update of any algorithm reports.

    Attributes:
        return_sum: float[n], summed returns of the episodes that ended in this update.
        episode_count: int[n], their number.
        info_sum: float[n] by name, summed largest ``info`` values of those episodes.
        diagnostics: float by name, such as losses; the algorithm says which.
    """

    return_sum: Array
    episode_count: Array
    info_sum: dict[str, Array]
    diagnostics: dict[str, Array]


class TrainingState(Protocol):
    """What an update takes and returns: a pytree that holds the agent."""

    @property
    def agent(self) -> Any:
        """All parameters."""
        ...


class Algorithm(Protocol):
    """An algorithm around explicit state: frozen and hashable, so that ``jit`` takes it static.

    An agent is the pytree of all that is learnt; an action is ``policy.sample`` or ``policy.mode``
    of ``policy_params(agent)``.
    """

    @property
    def environment(self) -> Environment:
        """The batched environment."""
        ...

    @property
    def policy(self) -> Policy:
        """The policy's functions."""
        ...

    @property
    def num_envs(self) -> int:
        """Environments that an update steps."""
        ...

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update takes."""
        ...

    def init_agent(self, key: Array) -> Any:
        """Fresh parameters."""
        ...

    def policy_params(self, agent: Any) -> Any:
        """θ, the parameters of ``policy``."""
        ...

    def with_policy_params(self, agent: Any, params: Any) -> Any:
        """The agent with another θ."""
        ...

    def init(self, agent: Any, tasks: Any, task_index: Array, key: Array) -> TrainingState:
        """State to train ``agent`` from.

        Args:
            agent: fresh or trained parameters.
            tasks: pytree of all tasks, leaves lead with n.
            task_index: int[num_envs], each environment's task.
            key: PRNG key.
        """
        ...

    def update(
        self, state: Any, tasks: Any, task_index: Array, progress: Array
    ) -> tuple[Any, TrainingMetrics]:
        """One update.

        Args:
            state: from ``init`` or an earlier update.
            tasks: pytree of all tasks, leaves lead with n.
            task_index: int[num_envs], each environment's task.
            progress: share of the training done so far, 0..1.

        Returns:
            The next state and what happened.

        Raises:
            HostEnvironmentError: an environment on the host failed.
        """
        ...

    def advantages(self, agent: Any, trajectory: Trajectory, task_index: Array) -> Array:
        """Advantages of a trajectory's actions in reward units, float[T, B]; 0 if masked."""
        ...


class AlgorithmSettings(Protocol):
    """Settings of an algorithm: a frozen dataclass of plain values, checked when it is made.

    Attributes:
        name: in ``ALGORITHMS``.
    """

    name: ClassVar[str]

    @property
    def num_envs(self) -> int:
        """Environments, shared evenly among the tasks."""
        ...

    def make(self, environment: Environment, network: Network, num_tasks: int) -> Algorithm:
        """The algorithm.

        Args:
            environment: the batched environment of the tasks.
            network: body of the policy, and of all else that is learnt.
            num_tasks: n, of all tasks, also of those not trained on.
        """
        ...


ALGORITHMS: Registry[AlgorithmSettings] = Registry("algorithm")
"""Algorithms by name, each with its usual settings."""


def episode_metrics(
    trajectory: Trajectory, task_index: Array, num_tasks: int, diagnostics: dict[str, Array]
) -> TrainingMetrics:
    """Metrics of the episodes that ended in a trajectory of [T, B], by task.

    Args:
        trajectory: from ``rollout``.
        task_index: int[B], each environment's task.
        num_tasks: n.
        diagnostics: the algorithm's own.
    """
    by_task = jnp.zeros(num_tasks)
    ended = trajectory.step.done & trajectory.step.valid
    return TrainingMetrics(
        by_task.at[task_index].add(trajectory.episode_return.sum(axis=0)),
        by_task.astype(jnp.int32).at[task_index].add(ended.sum(axis=0)),
        {
            name: by_task.at[task_index].add(value.sum(axis=0))
            for name, value in trajectory.episode_info.items()
        },
        diagnostics,
    )

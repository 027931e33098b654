"""Where policies begin that are not made from another one: afresh, or as clones of experts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.settings import StartSettings
from pgx_jax.experiments.slices import TaskSlice
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.pipeline import Outcome
from pgx_jax.rl.algorithms import Algorithm
from pgx_jax.rl.cloning import clone


class Demonstrations(NamedTuple):
    """What the experts showed.

    Attributes:
        observation: pytree, leaves float[n, episodes, steps, ...].
        action: float[n, episodes, steps, ...].
    """

    observation: Any
    action: Any


class Demonstrating(NamedTuple):
    """What the stage "demonstrations" may read."""

    tasks: TaskSlice
    num_episodes: int
    key: Array


def check_experts(family: TaskFamily, start: StartSettings) -> None:
    """Raise ValueError where a warm start is asked for and nobody can show the tasks."""
    if start.warm_start == "experts" and family.experts is None:
        raise ValueError(f'"{family.name}" has no scripted experts; leave --warm-start out')


def demonstrate(
    runner: StageRunner, family: TaskFamily, given: Demonstrating
) -> dict[str, Demonstrations]:
    """Run or reuse the stage "demonstrations".

    Args:
        runner: runs it.
        family: the tasks; ``family.experts`` demonstrates them.
        given: what the stage may read.

    Returns:
        The demonstrations by the stage's name, as a parent of other stages.
    """
    experts = family.experts
    assert experts is not None

    def record(given: Demonstrating) -> Outcome:
        shown = experts(family, given.key, num_episodes=given.num_episodes)
        rates = np.asarray(shown.success).mean(axis=1)
        success = {name: float(rate) for name, rate in zip(family.train_names, rates, strict=True)}
        steps = int(np.prod(np.shape(shown.action)[:-1]))
        return Outcome(Demonstrations(shown.observation, shown.action), steps, {"success": success})

    like = Demonstrations(observation_like(family), 0)
    return {"demonstrations": runner("demonstrations", given, {}, record, like)}


def observation_like(family: TaskFamily) -> Any:
    """The structure of the family's observations, for the store."""
    shape = family.environment.observation_shape
    return jax.tree.map(lambda _: 0, shape, is_leaf=lambda part: isinstance(part, tuple))


def initial_agent(
    algorithm: Algorithm, clone_steps: int, shown: Demonstrations | None, key: Array
) -> Any:
    """A fresh agent, its policy a clone of what was shown, if anything was.

    Args:
        algorithm: the agent's.
        clone_steps: gradient steps of cloning.
        shown: demonstrations, or None.
        key: PRNG key.

    Returns:
        The agent.
    """
    if shown is None:
        return algorithm.init_agent(key)
    agent_key, clone_key = jax.random.split(key)
    fresh = algorithm.init_agent(agent_key)
    policy, _ = clone(
        algorithm.policy,
        algorithm.policy_params(fresh),
        jax.tree.map(_rows, shown.observation),
        _rows(shown.action),
        clone_key,
        num_steps=clone_steps,
    )
    return algorithm.with_policy_params(fresh, policy)


def _rows(values: Any) -> Array:
    """Tasks, episodes and steps as one axis."""
    return jnp.asarray(values).reshape(-1, *np.shape(values)[3:])

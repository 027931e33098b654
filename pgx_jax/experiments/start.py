"""Where policies that are not made from another one start: afresh, or as clones of experts."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.experiments.config import RunConfig, config_fields, task_fields
from pgx_jax.experiments.progress import Advance
from pgx_jax.experiments.stages import Outcome, StageRunner
from pgx_jax.experiments.training import stage_key
from pgx_jax.rl.algorithms.ppo import PPO
from pgx_jax.rl.algorithms.ppo_types import Agent
from pgx_jax.rl.cloning import clone


class Start(NamedTuple):
    """How a policy starts.

    Attributes:
        agent: ``(ppo, key)`` -> parameters to train from.
        parents: finished stages that this is made from.
    """

    agent: Callable[[PPO, Array], Agent]
    parents: list[str]


def prepare_start(runner: StageRunner, family: TaskFamily, config: RunConfig) -> Start:
    """The start that the settings ask for; records the experts the first time.

    Args:
        runner: runs or reuses the stage "demonstrations".
        family: the tasks; ``family.experts`` demonstrates them.
        config: the settings.

    Returns:
        The start.

    Raises:
        ValueError: a warm start in a family that has no experts.
    """
    if config.warm_start == "none":
        return Start(lambda ppo, key: ppo.init_agent(key), [])
    experts = family.experts
    if experts is None:
        raise ValueError(f'"{family.name}" has no scripted experts; leave --warm-start out')
    if "demonstrations" not in runner.finished:

        def record(_: Advance) -> Outcome:
            shown = experts(
                family, stage_key(config, "demonstrations"), num_episodes=config.demonstrations
            )
            success = np.asarray(shown.success)
            rates = success.mean(axis=1)
            facts = {
                "success": {
                    name: float(rate) for name, rate in zip(family.train_names, rates, strict=True)
                }
            }
            steps = int(np.prod(np.shape(shown.action)[:-1]))
            return Outcome({"observation": shown.observation, "action": shown.action}, steps, facts)

        settings = {**task_fields(config), **config_fields(config, "seed", "demonstrations")}
        runner.run("demonstrations", settings, [], record)
    tree = runner.finished["demonstrations"].tree

    def agent(ppo: PPO, key: Array) -> Agent:
        agent_key, clone_key = jax.random.split(key)
        fresh = ppo.init_agent(agent_key)
        policy, _ = clone(
            ppo.policy,
            fresh.policy,
            _rows(tree["observation"], len(ppo.environment.observation_shape)),
            _rows(tree["action"], 1),
            clone_key,
            num_steps=config.clone_steps,
        )
        return fresh._replace(policy=policy)

    return Start(agent, ["demonstrations"])


def _rows(values: np.ndarray, rank: int) -> Array:
    """Tasks, episodes and steps as one axis; ``rank`` axes are left."""
    return jnp.asarray(values.reshape(-1, *values.shape[values.ndim - rank :]))

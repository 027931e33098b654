"""Probe environments: small decision processes whose values and best policies are known.

One deterministic process of fixed size serves all probes, because its tables are the *task*: every
probe then runs through the same compiled code. The observation is the state's one-hot vector.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import Discrete, TimeStep
from pgx_jax.networks import MLP
from pgx_jax.rl.algorithms import PPOConfig
from pgx_jax.rl.algorithms.ppo_types import Agent

STATES, ACTIONS = 4, 2
ACTION_SPACE = Discrete(ACTIONS)
GOES_ON, TERMINATES, TRUNCATES = 0, 1, 2


class Table(NamedTuple):
    """One probe: reward, state that follows and how the episode ends, each [STATES, ACTIONS].

    ``garbage`` is what dead steps are filled with. Episodes start in state 0.
    """

    reward: Any
    following: Any
    ending: Any
    garbage: Any = 0.0


class State(NamedTuple):
    where: Any
    dead: Any  # the next step only resets


@dataclass(frozen=True)
class Probe:
    """B tables behind the batched protocol.

    Attributes:
        dead_steps: reset as Gymnasium's NEXT_STEP does: an episode's last step returns no
            observation of the next one, and the step after it ignores its action.
    """

    dead_steps: bool = False
    observation_shape: tuple[int, ...] = (STATES,)
    action_space: Discrete = ACTION_SPACE
    max_episode_steps: int = STATES
    info_names: tuple[str, ...] = ()

    def reset(self, keys, tasks):
        where = jnp.zeros(keys.shape[0], jnp.int32)
        return State(where, jnp.zeros(where.shape, bool)), jax.nn.one_hot(where, STATES)

    def step(self, keys, state, action, tasks):
        row = (jnp.arange(action.shape[0]), state.where, action)
        reward, after, ending = tasks.reward[row], tasks.following[row], tasks.ending[row]
        terminated, truncated = ending == TERMINATES, ending == TRUNCATES
        done = terminated | truncated
        final = jax.nn.one_hot(after, STATES)
        if not self.dead_steps:
            where = jnp.where(done, 0, after)
            observation = jax.nn.one_hot(where, STATES)
            valid = jnp.ones(done.shape, bool)
            return State(where, jnp.zeros(done.shape, bool)), TimeStep(
                observation, reward, terminated, truncated, final, valid, {}
            )
        dead, garbage = state.dead, tasks.garbage
        where = jnp.where(done | dead, 0, after)
        fresh_or_next = jax.nn.one_hot(where, STATES)
        # The policy acts on rubbish once per episode: its action there is ignored.
        observation = jnp.where((done & ~dead)[:, None], garbage[:, None], fresh_or_next)
        return State(where, done & ~dead), TimeStep(
            observation,
            jnp.where(dead, garbage, reward),
            jnp.where(dead, garbage != 0, terminated),
            jnp.where(dead, False, truncated),
            jnp.where(dead[:, None], garbage[:, None], final),
            ~dead,
            {},
        )


@dataclass(frozen=True)
class Shown:
    """A probe whose observations show the task: tasks are tables and their identities [B, t]."""

    probe: Probe = Probe()
    num_tasks: int = 2
    action_space: Discrete = ACTION_SPACE
    max_episode_steps: int = STATES
    info_names: tuple[str, ...] = ()

    @property
    def observation_shape(self):
        return {"observation": (STATES,), "task": (self.num_tasks,)}

    def reset(self, keys, tasks):
        tables, identity = tasks
        state, observation = self.probe.reset(keys, tables)
        return state, {"observation": observation, "task": identity}

    def step(self, keys, state, action, tasks):
        tables, identity = tasks
        state, step = self.probe.step(keys, state, action, tables)
        return state, step._replace(
            observation={"observation": step.observation, "task": identity},
            final_observation={"observation": step.final_observation, "task": identity},
        )


def table(reward, following=0, ending=TERMINATES):
    """A probe's tables; scalars and columns are spread over states and actions."""
    shape = (STATES, ACTIONS)
    return Table(
        np.array(np.broadcast_to(reward, shape), np.float32),
        np.array(np.broadcast_to(following, shape), np.int32),
        np.array(np.broadcast_to(ending, shape), np.int32),
        np.float32(0.0),
    )


def constant_reward(reward):
    """One step, then the end."""
    return table(reward)


def pays_action(best=1):
    """One step that pays 1 for the action ``best`` and else 0."""
    return table(np.arange(ACTIONS) == best)


def delayed_reward():
    """0 now; the action decides whether the second step pays 1 (by way of state 1) or 0."""
    return table(
        reward=np.array([[0, 0], [1, 1], [0, 0], [0, 0]]),
        following=np.array([[2, 1], [0, 0], [0, 0], [0, 0]]),
        ending=np.array([[GOES_ON] * ACTIONS] + [[TERMINATES] * ACTIONS] * 3),
    )


def chain(ending, reward=1.0):
    """Three steps of constant reward through states 0, 1, 2; the last one leads to 0 and ends."""
    return table(
        reward=reward,
        following=np.array([[1], [2], [0], [0]]),
        ending=np.array([[GOES_ON], [GOES_ON], [ending], [ending]]),
    )


CHAIN = 3


def cut_short(ending):
    """State 0 pays nothing and leads to 1; state 1 pays 1 and leads to itself, but ends there.

    Where that is truncation, V(1) = 1 / (1 - discount): the state that the last step led to is
    worth more than the one that the next episode starts in.
    """
    return table(
        reward=np.array([[0], [1], [0], [0]]),
        following=np.array([[1], [1], [0], [0]]),
        ending=np.array([[GOES_ON], [ending], [ending], [ending]]),
    )


def stack(*tables):
    """Tables as the tasks of a family, leaves lead with their number."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *tables)


def true_values(tables, policy, discount):
    """V of every state by solving Bellman's equations; truncation does not end the future."""
    reward = (policy * tables.reward).sum(axis=1)
    transition = np.zeros((STATES, STATES))
    for state in range(STATES):
        for action in range(ACTIONS):
            if tables.ending[state, action] != TERMINATES:
                transition[state, tables.following[state, action]] += policy[state, action]
    return np.linalg.solve(np.eye(STATES) - discount * transition, reward)


CONFIG = PPOConfig(
    num_envs=16,
    num_steps=16,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=1e-2,
    discount=0.8,
    gae_lambda=0.9,
    value_decay=0.9,
)


def make_ppo(dead_steps=False, num_tasks=2, config=CONFIG):
    """PPO on the probes; always of one size, so that it is compiled once."""
    return config.make(Probe(dead_steps), MLP((16,)), num_tasks)


def random_params(network, seed=0, scale=0.5):
    """Normal parameters for a policy or critic, made without compiling its initialisation."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32), shapes
    )


def make_agent(ppo, seed=0, scale=0.1):
    """An agent to start from: a policy near chance, statistics of returns untouched."""
    num_tasks = ppo.critic.num_tasks
    return Agent(
        random_params(ppo.policy, seed, scale),
        random_params(ppo.critic, seed + 1, scale),
        jnp.zeros(num_tasks),
        jnp.zeros(num_tasks),
    )

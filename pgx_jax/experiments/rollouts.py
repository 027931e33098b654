"""Adapted policies stepped in the environment, in chunks of bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.estimation.scores.adapted import AdaptedPolicies
from pgx_jax.estimation.scores.base import Scores
from pgx_jax.estimation.scores.rollout import scatter_scores
from pgx_jax.rl.algorithms import Algorithm
from pgx_jax.rl.evaluation import evaluate_many

# Episodes that run side by side: more of them run out of cache on a CPU, and out of memory
# where every episode holds a simulator.
JAX_EPISODES, HOST_EPISODES = 3200, 200

_UNHASHED: Any = {"hashed": False}


@dataclass(frozen=True)
class EpisodeRollouts:
    """Mean returns of whole episodes; the ``Rollouts`` of the program.

    Attributes:
        num_episodes: per subset and member task.
        algorithm: gives environment and policy.
        tasks: pytree of the source tasks.
        on_host: every episode holds a simulator on the host.
        advance: told the share done.
    """

    num_episodes: int
    algorithm: Algorithm = field(metadata=_UNHASHED)
    tasks: Any = field(metadata=_UNHASHED)
    on_host: bool = field(metadata=_UNHASHED)
    advance: Callable[[float, str], None] = field(metadata=_UNHASHED)

    def returns(self, policies: AdaptedPolicies, subsets: Array, key: Array) -> Scores:
        """Mean returns float[m, n] of the adapted policies, and the steps that they took."""
        num_subsets = subsets.shape[0]
        held = np.asarray(subsets)
        size = int(held.sum(axis=1).max())
        members = np.argsort(~held, axis=1, kind="stable")[:, :size]
        limit = HOST_EPISODES if self.on_host else JAX_EPISODES
        chunks = -(-num_subsets * size * self.num_episodes // limit)
        per_chunk = -(-num_subsets // min(chunks, num_subsets))
        returns = np.zeros(members.shape, np.float32)
        steps = 0
        for first in range(0, num_subsets, per_chunk):
            # The last chunk is filled up with the first subsets: one shape, one program.
            rows = np.arange(first, first + per_chunk) % num_subsets
            result = evaluate_many(
                self.algorithm.environment,
                self.algorithm.policy,
                policies.rows(jnp.asarray(rows)),
                self.tasks,
                jnp.asarray(members[rows]),
                key,
                num_episodes=self.num_episodes,
                horizon=self.algorithm.environment.max_episode_steps,
                greedy=False,
            )
            returns[rows] = np.asarray(result.returns).mean(axis=-1)
            steps += int(result.num_steps)
            done = min(first + per_chunk, num_subsets)
            self.advance(done / num_subsets, f"{done}/{num_subsets} subsets")
        scores = scatter_scores(jnp.asarray(returns), jnp.asarray(members), subsets)
        return Scores(scores, steps)

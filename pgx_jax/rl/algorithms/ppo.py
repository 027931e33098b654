"""Multi-task proximal policy optimisation; one whole update is one ``jit``.

Differences from the paper (Schulman et al. 2017, "Proximal policy optimization algorithms"):

1. Advantages are standardised per task, not over the batch, so that no task's reward scale
   outweighs another's.
2. The critic sees the task, the policy does not; it predicts values in units of a running mean
   and deviation of each task's returns (van Hasselt et al. 2016, without the rescaling of the
   last layer).
3. Truncated episodes bootstrap from their true last observation.
4. Separate Adam optimisers with a linearly falling learning rate; the value loss is not clipped.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from pgx_jax.envs.base import Environment
from pgx_jax.networks.policies import Critic, Policy
from pgx_jax.rl.algorithms.ppo_types import Agent, PPOConfig, PPOMetrics, PPOState
from pgx_jax.rl.gae import generalised_advantages
from pgx_jax.rl.loops import raise_faults, runs_in_python
from pgx_jax.rl.rollout import Trajectory, rollout, start_rollout, tasks_of


class _Batch(NamedTuple):
    observation: Array
    action: Array
    log_prob: Array
    task: Array
    advantage: Array
    target: Array
    weight: Array


@dataclass(frozen=True)
class PPO:
    """PPO as ``init``/``update`` around explicit state; hashable, so that ``jit`` takes it static.

    Attributes:
        environment: the batched environment.
        policy: the policy's functions.
        critic: the critic's functions.
        config: settings.
    """

    environment: Environment
    policy: Policy
    critic: Critic
    config: PPOConfig

    def init_agent(self, key: Array) -> Agent:
        """Fresh parameters."""
        policy_key, critic_key = jax.random.split(key)
        num_tasks = self.critic.num_tasks
        return Agent(
            self.policy.init(policy_key),
            self.critic.init(critic_key),
            jnp.zeros(num_tasks),
            jnp.zeros(num_tasks),
        )

    def init(self, agent: Agent, tasks: Any, task_index: Array, key: Array) -> PPOState:
        """State to train ``agent`` from.

        Args:
            agent: fresh or trained parameters.
            tasks: pytree of all tasks, leaves lead with n.
            task_index: int[num_envs], each environment's task.
            key: PRNG key.

        Returns:
            The state, environments reset, optimisers fresh.
        """
        key, reset_key = jax.random.split(key)
        optimiser = _optimiser(self.config)
        start = start_rollout(self.environment, tasks_of(tasks, task_index), reset_key)
        raise_faults(self.environment, start)
        return PPOState(
            agent, (optimiser.init(agent.policy), optimiser.init(agent.critic)), start, key
        )

    def update(
        self, state: PPOState, tasks: Any, task_index: Array, progress: Array
    ) -> tuple[PPOState, PPOMetrics]:
        """One update: rollout, advantages, epochs of minibatches.

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
        run = self._update if runs_in_python(self.environment) else self._compiled_update
        result = run(state, tasks, task_index, progress)
        raise_faults(self.environment, result)
        return result

    @partial(jax.jit, static_argnames="self")
    def _compiled_update(
        self, state: PPOState, tasks: Any, task_index: Array, progress: Array
    ) -> tuple[PPOState, PPOMetrics]:
        return self._update(state, tasks, task_index, progress)

    def _update(
        self, state: PPOState, tasks: Any, task_index: Array, progress: Array
    ) -> tuple[PPOState, PPOMetrics]:
        key, rollout_key, shuffle_key = jax.random.split(state.key, 3)
        rollout_state, trajectory = rollout(
            self.environment,
            self.policy,
            state.agent.policy,
            state.rollout,
            tasks_of(tasks, task_index),
            rollout_key,
            self.config.num_steps,
        )
        agent, optimiser, metrics = self.learn(
            state.agent, state.optimiser, trajectory, task_index, shuffle_key, progress
        )
        return PPOState(agent, optimiser, rollout_state, key), metrics

    @partial(jax.jit, static_argnames="self")
    def learn(
        self,
        agent: Agent,
        optimiser: Any,
        trajectory: Trajectory,
        task_index: Array,
        key: Array,
        progress: Array,
    ) -> tuple[Agent, Any, PPOMetrics]:
        """Advantages and epochs of minibatches on a trajectory of [T, num_envs].

        Args:
            agent: parameters that made the trajectory.
            optimiser: optax states.
            trajectory: from ``rollout``.
            task_index: int[num_envs], each environment's task.
            key: PRNG key of the minibatches.
            progress: share of the training done so far, 0..1.

        Returns:
            Agent, optimiser and metrics.
        """
        agent, batch = self._make_batch(agent, trajectory, task_index)
        rate = self.config.learning_rate * (1.0 - 0.9 * progress)
        agent, optimiser, losses = self._improve(agent, optimiser, batch, rate, key)
        ended = trajectory.step.done & trajectory.step.valid
        by_task = jnp.zeros(self.critic.num_tasks)
        metrics = PPOMetrics(
            by_task.at[task_index].add(trajectory.episode_return.sum(axis=0)),
            by_task.astype(jnp.int32).at[task_index].add(ended.sum(axis=0)),
            {
                name: by_task.at[task_index].add(value.sum(axis=0))
                for name, value in trajectory.episode_info.items()
            },
            *losses,
        )
        return agent, optimiser, metrics

    def advantages(
        self, agent: Agent, trajectory: Trajectory, task_index: Array
    ) -> tuple[Array, Array]:
        """Advantages and values of a trajectory in reward units, float[T, B] each; 0 if masked."""
        mean, deviation = agent.return_mean[task_index], agent.return_deviation[task_index]
        deviation = jnp.where(deviation > 0, deviation, 1.0)

        def value_of(observation: Array) -> Array:
            task = jnp.broadcast_to(task_index, observation.shape[: observation.ndim - len(shape)])
            return mean + deviation * self.critic.value(agent.critic, observation, task)

        shape = self.environment.observation_shape
        value = value_of(trajectory.observation)
        final, truncated = trajectory.step.final_observation, trajectory.step.truncated
        following = jnp.concatenate([value[1:], value_of(final[-1])[None]])
        # Most rollouts truncate no episode, and what follows a step is then the next one's value.
        following = lax.cond(
            truncated.any(),
            lambda: jnp.where(truncated, value_of(final), following),
            lambda: following,
        )
        advantage = generalised_advantages(
            trajectory.step.reward,
            value,
            following,
            trajectory.step.terminated,
            trajectory.step.done,
            discount=self.config.discount,
            gae_lambda=self.config.gae_lambda,
        )
        valid = trajectory.step.valid
        return _zero_unless(valid, advantage), _zero_unless(valid, value)

    def _make_batch(
        self, agent: Agent, trajectory: Trajectory, task_index: Array
    ) -> tuple[Agent, _Batch]:
        advantage, value = self.advantages(agent, trajectory, task_index)
        task = jnp.broadcast_to(task_index, advantage.shape)
        valid = trajectory.step.valid
        weight = valid.astype(jnp.float32)
        target = advantage + value
        mean, deviation, seen = _task_moments(target, weight, task_index, self.critic.num_tasks)
        known = agent.return_deviation > 0
        decay = jnp.where(seen & known, self.config.value_decay, 0.0)
        decay = jnp.where(seen, decay, 1.0)
        agent = agent._replace(
            return_mean=decay * agent.return_mean + (1 - decay) * mean,
            return_deviation=decay * agent.return_deviation
            + (1 - decay) * jnp.maximum(deviation, 1e-3),
        )
        scale = jnp.where(agent.return_deviation > 0, agent.return_deviation, 1.0)
        target = (target - agent.return_mean[task]) / scale[task]
        mean, deviation, _ = _task_moments(advantage, weight, task_index, self.critic.num_tasks)
        advantage = (advantage - mean[task]) / jnp.maximum(deviation[task], 1e-6)
        batch = _Batch(
            _zero_unless(valid, trajectory.observation),
            trajectory.action,
            _zero_unless(valid, trajectory.log_prob),
            task,
            advantage,
            target,
            weight,
        )
        return agent, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)

    def _improve(
        self, agent: Agent, optimiser: Any, batch: _Batch, rate: Array, key: Array
    ) -> tuple[Agent, Any, tuple[Array, ...]]:
        config = self.config
        size = batch.weight.shape[0] // config.num_minibatches

        def epoch(carry: tuple, epoch_key: Array) -> tuple[tuple, tuple]:
            # One sort of random bits; jax.random.permutation takes two, against ties that would
            # only leave two samples in their order.
            order = jnp.argsort(jax.random.bits(epoch_key, batch.weight.shape))
            order = order[: size * config.num_minibatches].reshape(config.num_minibatches, size)
            return lax.scan(minibatch, carry, jax.tree.map(lambda leaf: leaf[order], batch))

        def minibatch(carry: tuple, part: _Batch) -> tuple[tuple, tuple]:
            agent, (policy_state, critic_state) = carry
            (_, extras), policy_grad = jax.value_and_grad(self._policy_loss, has_aux=True)(
                agent.policy, part
            )
            value_loss, critic_grad = jax.value_and_grad(self._value_loss)(agent.critic, part)
            update = partial(_apply, _optimiser(config), rate)
            policy, policy_state = update(policy_grad, policy_state, agent.policy)
            critic, critic_state = update(critic_grad, critic_state, agent.critic)
            policy_loss, entropy, clipped = extras
            agent = agent._replace(policy=policy, critic=critic)
            return (agent, (policy_state, critic_state)), (
                policy_loss,
                value_loss,
                entropy,
                clipped,
            )

        keys = jax.random.split(key, config.num_epochs)
        (agent, optimiser), losses = lax.scan(epoch, (agent, optimiser), keys)
        return agent, optimiser, tuple(loss.mean() for loss in losses)

    def _policy_loss(self, params: Any, batch: _Batch) -> tuple[Array, tuple]:
        total = jnp.maximum(batch.weight.sum(), 1.0)
        log_prob, entropies = self.policy.log_prob_and_entropy(
            params, batch.observation, batch.action
        )
        ratio = jnp.exp(log_prob - batch.log_prob)
        limited = jnp.clip(ratio, 1 - self.config.clip, 1 + self.config.clip)
        gain = jnp.minimum(ratio * batch.advantage, limited * batch.advantage)
        loss = -(batch.weight * gain).sum() / total
        entropy = (batch.weight * entropies).sum() / total
        clipped = (batch.weight * (ratio != limited)).sum() / total
        return loss - self.config.entropy_coefficient * entropy, (loss, entropy, clipped)

    def _value_loss(self, params: Any, batch: _Batch) -> Array:
        error = self.critic.value(params, batch.observation, batch.task) - batch.target
        return 0.5 * (batch.weight * error**2).sum() / jnp.maximum(batch.weight.sum(), 1.0)


def share_environments(tasks: Array, num_envs: int) -> Array:
    """Each environment's task, int[num_envs], the tasks int[s] in turn; needs num_envs ≥ s."""
    if num_envs < len(tasks):
        raise ValueError(
            f"num_envs is {num_envs} for {len(tasks)} tasks; take at least one environment a task"
        )
    return jnp.asarray(tasks)[jnp.arange(num_envs) % len(tasks)]


def _zero_unless(valid: Array, leaf: Array) -> Array:
    """Masked entries as 0: a weight of 0 alone would let NaN and infinity through."""
    return jnp.where(valid.reshape(valid.shape + (1,) * (leaf.ndim - valid.ndim)), leaf, 0)


def _optimiser(config: PPOConfig) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5)
    )


def _apply(
    optimiser: optax.GradientTransformation, rate: Array, grad: Any, state: Any, params: Any
) -> tuple[Any, Any]:
    update, state = optimiser.update(grad, state, params)
    return jax.tree.map(lambda leaf, step: leaf - rate * step, params, update), state


def _task_moments(
    values: Array, weight: Array, task_index: Array, num_tasks: int
) -> tuple[Array, Array, Array]:
    """Mean and deviation of float[T, B] per task, and which tasks were seen; [n] each."""

    def per_task(summed: Array) -> Array:
        return jnp.zeros(num_tasks).at[task_index].add(summed)

    count = per_task(weight.sum(axis=0))
    safe = jnp.maximum(count, 1.0)
    mean = per_task((weight * values).sum(axis=0)) / safe
    centred = values - mean[task_index]
    variance = per_task((weight * centred**2).sum(axis=0)) / safe
    return mean, jnp.sqrt(variance), count > 0

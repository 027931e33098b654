"""Multi-task proximal policy optimisation; one whole update is one ``jit``.

Differences from the paper (Schulman et al. 2017, "Proximal policy optimization algorithms"):

1. Advantages are standardised per task, not over the batch, so that no task's reward scale
   outweighs another's.
2. The critic sees which task it is, the policy only where observations show it; the critic
   predicts values in units of a running mean and deviation of each task's returns (van Hasselt et
   al. 2016, without the rescaling of the last layer).
3. Truncated episodes bootstrap from their true last observation.
4. Separate Adam optimisers with a linearly falling learning rate; the value loss is not clipped.
5. The gradients of the tasks may be combined in another way than by their mean; policy and critic
   are then both trained so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from pgx_jax.envs.base import Environment
from pgx_jax.networks import Critic, Network, Policy
from pgx_jax.rl.algorithms.base import ALGORITHMS, TrainingMetrics, episode_metrics
from pgx_jax.rl.algorithms.ppo_losses import (
    policy_loss,
    task_moments,
    value_loss,
    zero_unless,
)
from pgx_jax.rl.algorithms.ppo_types import Agent, Batch, PPOState
from pgx_jax.rl.gae import generalised_advantages
from pgx_jax.rl.gradients.base import COMBINERS
from pgx_jax.rl.gradients.optimiser import (
    Losses,
    gradient,
    make_optimiser,
    set_learning_rate,
)
from pgx_jax.rl.loops import raise_faults, runs_in_python
from pgx_jax.rl.policies import make_policy
from pgx_jax.rl.rollout import Trajectory, reset_rollout, rollout, tasks_of


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO, with the symbols of Schulman et al. (2017).

    Attributes:
        num_envs: environments, shared evenly among the tasks.
        num_steps: steps of each environment per update (T).
        num_epochs: passes over the data per update (K).
        num_minibatches: gradient steps per pass.
        learning_rate: Adam's at first; falls linearly to a tenth of it.
        discount: γ.
        gae_lambda: λ.
        clip: ε, range of the probability ratio.
        entropy_coefficient: c₂, weight of the entropy bonus.
        max_grad_norm: gradients are clipped to this global norm.
        value_decay: decay per update of the running statistics of returns.
        gradients: how the tasks' gradients are combined, a name in ``COMBINERS``. All but "mean"
            need a backward pass for each task.
    """

    name: ClassVar[str] = "ppo"

    num_envs: int = 160
    num_steps: int = 64
    num_epochs: int = 4
    num_minibatches: int = 8
    learning_rate: float = 1e-3
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_coefficient: float = 0.003
    max_grad_norm: float = 0.5
    value_decay: float = 0.9
    gradients: str = field(default="mean", metadata={"registry": COMBINERS})

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is outside its range."""
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.num_minibatches > self.steps_per_update:
            raise ValueError(
                f"num_minibatches is {self.num_minibatches}; an update has only "
                f"{self.steps_per_update} samples (num_envs * num_steps)"
            )
        for name in ("discount", "gae_lambda", "value_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        COMBINERS.find(self.gradients)

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update takes."""
        return self.num_envs * self.num_steps

    def make(self, environment: Environment, network: Network, num_tasks: int) -> "PPO":
        """PPO with a policy and a critic over one kind of network.

        Args:
            environment: the batched environment.
            network: body of both.
            num_tasks: n, tasks that the critic tells apart.
        """
        critic = Critic(environment.observation_shape, num_tasks, network)
        return PPO(environment, make_policy(environment, network), critic, self)


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

    @property
    def num_envs(self) -> int:
        """Environments that an update steps."""
        return self.config.num_envs

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update takes."""
        return self.config.steps_per_update

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

    def policy_params(self, agent: Agent) -> Any:
        """θ, the parameters of the policy."""
        return agent.policy

    def with_policy_params(self, agent: Agent, params: Any) -> Agent:
        """The agent with another θ."""
        return agent._replace(policy=params)

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
        optimiser = self._optimiser()
        envs = reset_rollout(self.environment, tasks_of(tasks, task_index), reset_key)
        raise_faults(self.environment, envs)
        return PPOState(
            agent, (optimiser.init(agent.policy), optimiser.init(agent.critic)), envs, key
        )

    def update(
        self, state: PPOState, tasks: Any, task_index: Array, progress: Array
    ) -> tuple[PPOState, TrainingMetrics]:
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
    ) -> tuple[PPOState, TrainingMetrics]:
        return self._update(state, tasks, task_index, progress)

    def _update(
        self, state: PPOState, tasks: Any, task_index: Array, progress: Array
    ) -> tuple[PPOState, TrainingMetrics]:
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
    ) -> tuple[Agent, Any, TrainingMetrics]:
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
        optimiser = tuple(set_learning_rate(state, rate) for state in optimiser)
        agent, optimiser, diagnostics = self._improve(agent, optimiser, batch, key)
        metrics = episode_metrics(trajectory, task_index, self.critic.num_tasks, diagnostics)
        return agent, optimiser, metrics

    def advantages(self, agent: Agent, trajectory: Trajectory, task_index: Array) -> Array:
        """Advantages of a trajectory's actions in reward units, float[T, B]; 0 if masked."""
        return self._advantages_and_values(agent, trajectory, task_index)[0]

    def _advantages_and_values(
        self, agent: Agent, trajectory: Trajectory, task_index: Array
    ) -> tuple[Array, Array]:
        mean, deviation = agent.return_mean[task_index], agent.return_deviation[task_index]
        deviation = jnp.where(deviation > 0, deviation, 1.0)

        def value_of(observation: Any) -> Array:
            return mean + deviation * self.critic.value(agent.critic, observation, task_index)

        value = value_of(trajectory.observation)
        final, truncated = trajectory.step.final_observation, trajectory.step.truncated
        last = value_of(jax.tree.map(lambda leaf: leaf[-1], final))
        following = jnp.concatenate([value[1:], last[None]])
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
        return zero_unless(valid, advantage), zero_unless(valid, value)

    def _make_batch(
        self, agent: Agent, trajectory: Trajectory, task_index: Array
    ) -> tuple[Agent, Batch]:
        advantage, value = self._advantages_and_values(agent, trajectory, task_index)
        task = jnp.broadcast_to(task_index, advantage.shape)
        valid = trajectory.step.valid
        weight = valid.astype(jnp.float32)
        target = advantage + value
        mean, deviation, seen = task_moments(target, weight, task_index, self.critic.num_tasks)
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
        mean, deviation, _ = task_moments(advantage, weight, task_index, self.critic.num_tasks)
        advantage = (advantage - mean[task]) / jnp.maximum(deviation[task], 1e-6)
        batch = Batch(
            zero_unless(valid, trajectory.observation),
            trajectory.action,
            zero_unless(valid, trajectory.log_prob),
            task,
            advantage,
            target,
            weight,
        )
        return agent, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)

    def _improve(
        self, agent: Agent, optimiser: Any, batch: Batch, key: Array
    ) -> tuple[Agent, Any, dict[str, Array]]:
        config = self.config
        size = batch.weight.shape[0] // config.num_minibatches
        policy_step = self._step_on(
            partial(
                policy_loss,
                policy=self.policy,
                clip=config.clip,
                entropy_coefficient=config.entropy_coefficient,
            )
        )
        critic_step = self._step_on(partial(value_loss, critic=self.critic))

        def epoch(carry: tuple, epoch_key: Array) -> tuple[tuple, dict[str, Array]]:
            # One sort of random bits; jax.random.permutation takes two, against ties that would
            # only leave two samples in their order.
            order = jnp.argsort(jax.random.bits(epoch_key, batch.weight.shape))
            order = order[: size * config.num_minibatches].reshape(config.num_minibatches, size)
            return lax.scan(minibatch, carry, jax.tree.map(lambda leaf: leaf[order], batch))

        def minibatch(carry: tuple, part: Batch) -> tuple[tuple, dict[str, Array]]:
            agent, (policy_state, critic_state) = carry
            policy, policy_state, report = policy_step(agent.policy, policy_state, part)
            critic, critic_state, value_report = critic_step(agent.critic, critic_state, part)
            agent = agent._replace(policy=policy, critic=critic)
            return (agent, (policy_state, critic_state)), report | value_report

        keys = jax.random.split(key, config.num_epochs)
        (agent, optimiser), reports = lax.scan(epoch, (agent, optimiser), keys)
        return agent, optimiser, {name: values.mean() for name, values in reports.items()}

    def _step_on(self, loss: Callable[[Any, Batch], Losses]) -> Callable:
        """``(params, state, batch)`` -> params, optimiser state and report after a step."""
        gradients, num_tasks = self.config.gradients, self.critic.num_tasks
        optimiser = self._optimiser()

        def step(params: Any, state: Any, batch: Batch) -> tuple[Any, Any, dict[str, Array]]:
            grad, report = gradient(gradients, loss, params, batch, num_tasks)
            update, state = optimiser.update(grad, state, params)
            return optax.apply_updates(params, update), state, report

        return step

    def _optimiser(self) -> optax.GradientTransformation:
        config = self.config
        return make_optimiser(config.gradients, config.learning_rate, config.max_grad_norm)


ALGORITHMS.register("ppo", PPOConfig())

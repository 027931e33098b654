"""What PPO is set by, and what an update takes and returns."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from jax import Array

from pgx_jax.rl.rollout import RolloutState


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO, with the symbols of Schulman et al. (2017).

    Attributes:
        num_envs: environments, shared evenly among the tasks.
        num_steps: steps of each environment per update (T).
        num_epochs: passes over the data per update (K).
        num_minibatches: gradient steps per pass.
        learning_rate: Adam's at the start; falls linearly to a tenth of it.
        discount: γ.
        gae_lambda: λ.
        clip: ε, range of the probability ratio.
        entropy_coefficient: c₂, weight of the entropy bonus.
        max_grad_norm: gradients are clipped to this global norm.
        value_decay: decay per update of the running statistics of returns.
    """

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

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update takes."""
        return self.num_envs * self.num_steps


class Agent(NamedTuple):
    """Parameters of a policy and its critic.

    Attributes:
        policy: θ.
        critic: parameters of V.
        return_mean: float[n], running mean of each task's returns.
        return_deviation: float[n], running standard deviation; 0 until the task is seen.
    """

    policy: Any
    critic: Any
    return_mean: Array
    return_deviation: Array


class PPOState(NamedTuple):
    """What an update takes and returns.

    Attributes:
        agent: parameters.
        optimiser: optax states of policy and critic.
        rollout: where the environments stand.
        key: PRNG key.
    """

    agent: Agent
    optimiser: Any
    rollout: RolloutState
    key: Array


class PPOMetrics(NamedTuple):
    """What one update reports.

    Attributes:
        return_sum: float[n], summed returns of the episodes that ended in this update.
        episode_count: int[n], their number.
        info_sum: float[n] by name, summed largest ``info`` values of those episodes.
        policy_loss: mean clipped surrogate loss.
        value_loss: mean squared error of normalised values.
        entropy: mean entropy, nats.
        ratio_clipped: share of samples whose ratio was clipped.
    """

    return_sum: Array
    episode_count: Array
    info_sum: dict[str, Array]
    policy_loss: Array
    value_loss: Array
    entropy: Array
    ratio_clipped: Array

"""The records that PPO's updates take, pass on and return."""

from typing import Any, NamedTuple

from jax import Array

from pgx_jax.rl.rollout import RolloutState


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


class Batch(NamedTuple):
    """Samples, leaves [N, ...].

    Attributes:
        observation: what the policy saw, array or tree.
        action: what it did.
        log_prob: log-probability of that at the time.
        task: int, the environment's task.
        advantage: standardised per task.
        target: what the critic should have said, in units of its task.
        weight: 1, or 0 where the sample is masked.
    """

    observation: Any
    action: Array
    log_prob: Array
    task: Array
    advantage: Array
    target: Array
    weight: Array

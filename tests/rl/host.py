"""PPO on the environments of the host that tests share."""

import jax.numpy as jnp

from pgx_jax.networks import MLP, Critic
from pgx_jax.rl.algorithms import PPO, PPOConfig
from pgx_jax.rl.policies import make_policy
from pgx_jax.rl.training import share_environments
from tests.envs.host.environments import host_environment, host_tasks

NUM_TASKS, NUM_ENVS, NUM_STEPS = 3, 6, 13
CONFIG = PPOConfig(
    num_envs=NUM_ENVS, num_steps=NUM_STEPS, num_epochs=2, num_minibatches=3, discount=0.9
)
TASKS = host_tasks(NUM_TASKS)
SHARED = share_environments(jnp.arange(NUM_TASKS), NUM_ENVS)
NOW = jnp.zeros(())


def make_ppo(table, **options):
    environment = host_environment(table, **options)
    shape = environment.observation_shape
    policy = make_policy(environment, MLP((16, 16)))
    return PPO(environment, policy, Critic(shape, NUM_TASKS, MLP((16,))), CONFIG)

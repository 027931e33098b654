"""The policy over a network that suits an environment."""

from pgx_jax.envs.base import Box, Environment
from pgx_jax.networks import CategoricalPolicy, GaussianPolicy, Network, Policy


def make_policy(environment: Environment, network: Network) -> Policy:
    """A policy for the environment's actions: Gaussian where they are numbers, else categorical."""
    space = environment.action_space
    if isinstance(space, Box):
        return GaussianPolicy(environment.observation_shape, space.size, network)
    return CategoricalPolicy(environment.observation_shape, space.num_actions, network)

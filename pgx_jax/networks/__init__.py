"""Networks as configurations, the policies over them, and critics."""

from pgx_jax.networks.base import NETWORKS, Network, count_parameters
from pgx_jax.networks.critic import Critic
from pgx_jax.networks.heads import CategoricalPolicy, GaussianPolicy, Policy
from pgx_jax.networks.matching import matched_network
from pgx_jax.networks.mlp import MLP

__all__ = [
    "MLP",
    "NETWORKS",
    "CategoricalPolicy",
    "Critic",
    "GaussianPolicy",
    "Network",
    "Policy",
    "count_parameters",
    "matched_network",
]

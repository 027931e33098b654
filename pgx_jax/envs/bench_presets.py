"""Presets of the bench: small families in JAX by which groupings are compared.

One PPO for all of them, 200,000 environment steps from the start of meta-training to the end of
group training. Apart from the families' modules, which import JAX.
"""

from typing import Any

from pgx_jax.envs.presets import SMOKE, Presets

_PPO: dict[str, Any] = {
    "num_envs": 80,
    "num_steps": 64,
    "num_epochs": 4,
    "num_minibatches": 8,
    "learning_rate": 1e-3,
    "discount": 0.99,
    "gae_lambda": 0.95,
    "entropy_coefficient": 0.003,
}

BENCH: Presets = {
    "smoke": {
        **SMOKE,
        "ppo": {**_PPO, "num_envs": 40, "num_steps": 32},
        "hidden_sizes": (16, 16),
        "meta_steps": 10_000,
        "group_steps": 10_000,
    },
    "default": {
        "ppo": _PPO,
        "hidden_sizes": (64, 64),
        "meta_steps": 100_000,
        "num_steps": 1024,
        "score_episodes": 4,
        "group_steps": 100_000,
    },
}

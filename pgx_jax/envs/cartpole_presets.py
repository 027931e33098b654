"""Presets of the CartPole families; apart from these, which import JAX."""

from pgx_jax.envs.presets import Presets

PLANTED: Presets = {
    "smoke": {
        "ppo": {"num_envs": 40, "num_steps": 32},
        "hidden_sizes": (16, 16, 16),
        "num_test_tasks": 6,
        "meta_steps": 30_000,
        "num_steps": 256,
        "dim": 32,
        "num_subsets": 40,
        "score_episodes": 2,
        "max_groups": 4,
        "group_steps": 30_000,
        "eval_episodes": 4,
        "test_episodes": 2,
        "selection_episodes": 1,
    },
    "default": {},
}

# Conflict is mild here and PPO solves the family in 0.4M steps: a meta-policy that is still
# improving tells the tasks apart, one at the maximal return does not.
NATURAL: Presets = {
    "smoke": PLANTED["smoke"],
    "default": {"meta_steps": 120_000, "score_episodes": 4, "group_steps": 300_000},
}

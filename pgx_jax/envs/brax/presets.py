"""Presets of the brax families."""

from pgx_jax.envs.presets import SMOKE, Presets

HALFCHEETAH: Presets = {
    "smoke": {
        **SMOKE,
        "ppo": {"num_envs": 20, "num_steps": 32, "num_minibatches": 4},
        "num_tasks": 4,
        "num_test_tasks": 2,
        "subset_size": 2,
        "num_subsets": 6,
        "max_groups": 2,
        "meta_steps": 2_000,
        "group_steps": 2_000,
    },
    "default": {
        "ppo": {
            "num_envs": 60,
            "num_steps": 128,
            "num_epochs": 8,
            "num_minibatches": 32,
            "learning_rate": 1e-3,
            "discount": 0.97,
            "entropy_coefficient": 0.0,
        },
        "meta_steps": 600_000,
        "num_steps": 2048,
        "num_subsets": 100,
        "score_episodes": 2,
        "group_steps": 600_000,
        "eval_episodes": 8,
        "test_episodes": 2,
        "selection_episodes": 1,
    },
}

# Ant has eight joints where half-cheetah has six, and is paid for not falling first.
ANT: Presets = {
    "smoke": HALFCHEETAH["smoke"],
    "default": {**HALFCHEETAH["default"], "meta_steps": 1_200_000, "group_steps": 1_000_000},
}

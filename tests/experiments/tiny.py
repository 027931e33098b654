"""The smallest configuration that uses everything."""

from typing import Any

from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.settings import RunConfig

TINY: dict[str, Any] = {
    "preset": "smoke",
    "num_tasks": 4,
    "num_test_tasks": 2,
    "num_groups": 2,
    "num_steps": 64,
    "dim": 8,
    "num_subsets": 6,
    "meta_steps": 2_000,
    "group_steps": 2_000,
    "score_episodes": 1,
    "eval_episodes": 1,
    "test_episodes": 1,
    "score": "surrogate",
}


def tiny_config(environment: str = "cartpole-planted", **settings: Any) -> RunConfig:
    """A run of seconds; ``settings`` replace its own."""
    return make_config(environment, **{**TINY, **settings})

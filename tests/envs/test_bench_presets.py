"""The bench's presets: one PPO, 200,000 steps, and settings that a run has."""

import pytest

from pgx_jax.envs.bench_presets import BENCH
from pgx_jax.experiments.config import make_config

NAMES = (
    "cartpole-sign",
    "cartpole-goal",
    "cartpole-identical",
    "navigation",
    "direction",
    "direction-narrow",
    "pendulum",
    "pendulum-sign",
    "xland-rules",
)


@pytest.mark.parametrize("name", NAMES)
def test_default_is_the_benchs(name):
    config = make_config(name)
    training, ppo = config.training, config.training.algorithm
    assert training.meta_steps + config.comparison.group_steps == 200_000
    assert training.hidden_sizes == (64, 64)
    assert (ppo.num_envs, ppo.num_steps, ppo.num_epochs, ppo.num_minibatches) == (80, 64, 4, 8)
    assert (ppo.learning_rate, ppo.discount, ppo.gae_lambda) == (1e-3, 0.99, 0.95)
    assert ppo.entropy_coefficient == 0.003
    assert make_config(name, "paper").sampling.num_steps == 2048
    assert make_config(name, "smoke").training.meta_steps < 20_000


def test_presets_are_plain():
    assert set(BENCH) == {"smoke", "default"}
    for settings in BENCH.values():
        assert type(settings["ppo"]) is dict

"""Warm starts: experts are recorded once, and cloned into whatever network asks."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pgx_jax.experiments.start import prepare_start

from pgx_jax.envs.families import make_family
from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder
from pgx_jax.experiments.training import make_ppo
from pgx_jax.networks import MLP, GaussianPolicy
from pgx_jax.rl.algorithms.ppo import PPO

EPISODES, STEPS = 3, 50
WEIGHTS = np.array([[0.5, -0.3, 0.2, 0.1]], np.float32)


@pytest.fixture(scope="module")
def family():
    """CartPole whose experts push by a linear rule; two tasks."""
    calls = []

    def experts(family, key, *, num_episodes):
        calls.append(num_episodes)
        shape = (family.num_tasks, num_episodes, STEPS)
        observation = np.asarray(jax.random.normal(key, (*shape, 4)))
        return SimpleNamespace(
            observation=observation,
            action=(observation @ WEIGHTS.T).astype(np.float32),
            success=np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]], np.float32),
        )

    made = make_family("cartpole", num_tasks=2, num_test_tasks=1)
    return made._replace(experts=experts), calls


def settings(**overrides):
    return make_config(
        "cartpole", "smoke", num_tasks=2, subset_size=2, num_groups=1, warm_start="experts",
        demonstrations=EPISODES, clone_steps=300, **overrides,
    )  # fmt: skip


def test_clones_act_as_shown(family, tmp_path):
    made, calls = family
    check_output_folder(tmp_path)
    runner = StageRunner(tmp_path, Progress(quiet=True))
    config = settings()
    start = prepare_start(runner, made, config)
    assert start.parents == ["demonstrations"]
    stage = runner.finished["demonstrations"]
    assert stage.facts["success"] == pytest.approx(
        {made.train_names[0]: 2 / 3, made.train_names[1]: 1.0}
    )
    assert stage.env_steps == 2 * EPISODES * STEPS

    ppo = make_ppo(made, config, (16,))
    policy = GaussianPolicy((4,), 1, MLP((16,)))
    agent = start.agent(PPO(ppo.environment, policy, ppo.critic, ppo.config), jax.random.key(1))
    probe = jax.random.normal(jax.random.key(2), (200, 4))
    error = policy.mode(agent.policy, probe) - probe @ WEIGHTS.T
    assert float(jnp.abs(error).mean()) < 0.1

    prepare_start(runner, made, config)
    again = StageRunner(tmp_path, Progress(quiet=True))
    prepare_start(again, made, config)
    assert again.finished["demonstrations"].reused
    assert calls == [EPISODES]


def test_without_experts_it_is_an_error(tmp_path):
    made = make_family("cartpole", num_tasks=2, num_test_tasks=1)
    with pytest.raises(ValueError, match="has no scripted experts"):
        prepare_start(StageRunner(tmp_path, Progress(quiet=True)), made, settings())


def test_a_cold_start_needs_nothing(tmp_path):
    made = make_family("cartpole", num_tasks=2, num_test_tasks=1)
    config = make_config("cartpole", "smoke", num_tasks=2, subset_size=2, num_groups=1)
    runner = StageRunner(tmp_path, Progress(quiet=True))
    start = prepare_start(runner, made, config)
    assert start.parents == []
    assert runner.finished == {}
    ppo = make_ppo(made, config, (8,))
    fresh = ppo.init_agent(jax.random.key(0))
    found = start.agent(ppo, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, found, fresh)

"""Warm starts: experts are recorded once, and cloned into whatever network asks."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.families import make_family
from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.estimate import estimate_groups
from pgx_jax.experiments.initial import Demonstrating, check_experts, demonstrate, initial_agent
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.slices import learner_slice, task_slice
from pgx_jax.experiments.stages import StageRunner
from pgx_jax.experiments.store import check_output_folder
from pgx_jax.experiments.training import algorithm_of
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


def warm(**overrides):
    return make_config(
        "cartpole",
        "smoke",
        num_tasks=2,
        num_groups=1,
        warm_start="experts",
        demonstrations=EPISODES,
        clone_steps=300,
        **overrides,
    )


def given_by(config):
    return Demonstrating(task_slice(config), EPISODES, jax.random.key(config.seed))


@pytest.mark.slow
def test_clones_act_as_shown(family, tmp_path):
    made, calls = family
    check_output_folder(tmp_path)
    runner = StageRunner(tmp_path, Progress(quiet=True))
    config = warm()
    shown = demonstrate(runner, made, given_by(config))
    assert list(shown) == ["demonstrations"]
    stage = runner.finished["demonstrations"]
    assert stage.facts["success"] == pytest.approx(
        {made.train_names[0]: 2 / 3, made.train_names[1]: 1.0}
    )
    assert stage.env_steps == 2 * EPISODES * STEPS

    ppo = algorithm_of(learner_slice(config), made)
    policy = GaussianPolicy((4,), 1, MLP((16,)))
    ppo = PPO(ppo.environment, policy, ppo.critic, ppo.config)
    agent = initial_agent(ppo, 300, shown["demonstrations"], jax.random.key(1))
    probe = jax.random.normal(jax.random.key(2), (200, 4))
    error = policy.mode(agent.policy, probe) - probe @ WEIGHTS.T
    assert float(jnp.abs(error).mean()) < 0.1

    demonstrate(runner, made, given_by(config))
    again = StageRunner(tmp_path, Progress(quiet=True))
    found = demonstrate(again, made, given_by(config))
    assert again.finished["demonstrations"].reused
    assert calls == [EPISODES]
    jax.tree.map(np.testing.assert_array_equal, found, shown)


def test_without_experts_it_is_an_error(tmp_path):
    made = make_family("cartpole", num_tasks=2, num_test_tasks=1)
    with pytest.raises(ValueError, match="has no scripted experts"):
        check_experts(made, warm().training.start)
    runner = StageRunner(tmp_path, Progress(quiet=True))
    with pytest.raises(ValueError, match="has no scripted experts"):
        estimate_groups(runner, made, warm())
    assert runner.finished == {}


def test_a_cold_start_needs_nothing():
    made = make_family("cartpole", num_tasks=2, num_test_tasks=1)
    config = make_config("cartpole", "smoke", num_tasks=2, num_groups=1)
    check_experts(made, config.training.start)
    learner = learner_slice(config)
    assert learner.start is None
    ppo = algorithm_of(learner, made)
    fresh = ppo.init_agent(jax.random.key(0))
    found = initial_agent(ppo, 0, None, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, found, fresh)

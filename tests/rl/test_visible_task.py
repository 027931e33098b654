"""Observations as trees with the entry "task", through everything in ``pgx_jax.rl``."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.networks import MLP
from pgx_jax.rl import evaluation, transitions
from pgx_jax.rl.cloning import clone
from pgx_jax.rl.evaluation import evaluate
from pgx_jax.rl.training import train
from pgx_jax.rl.transitions import collect_transitions
from tests.rl.probes import (
    CONFIG,
    STATES,
    TRUNCATES,
    Probe,
    Shown,
    cut_short,
    pays_action,
    random_params,
    stack,
)

IDENTITY = jnp.eye(2)
OPPOSITE = stack(pays_action(0), pays_action(1)), IDENTITY


def make(dead_steps=False):
    return CONFIG.make(Shown(Probe(dead_steps)), MLP((16,)), 2)


@pytest.fixture(scope="module")
def trained():
    ppo = make()
    agent = ppo.init_agent(jax.random.key(0))
    return ppo, train(ppo, agent, OPPOSITE, [0, 1], 40, jax.random.key(1))


def observe(num_tasks=2):
    """State 0 under each task."""
    first = jnp.broadcast_to(jnp.eye(STATES)[0], (num_tasks, STATES))
    return {"observation": first, "task": IDENTITY}


@pytest.mark.slow
def test_one_policy_solves_opposite_tasks_that_it_can_tell_apart(trained):
    ppo, result = trained
    assert result.metrics["return"][-10:].mean(axis=0).min() > 0.95
    np.testing.assert_array_equal(ppo.policy.mode(result.agent.policy, observe()), [0, 1])
    found = evaluate(
        ppo.environment,
        ppo.policy,
        result.agent.policy,
        OPPOSITE,
        jnp.array([1, 0]),
        jax.random.key(2),
        num_episodes=3,
        horizon=5,
    )
    np.testing.assert_array_equal(found.returns, np.ones((2, 3)))


def test_transitions_keep_the_tree(trained):
    ppo, result = trained

    def collect(key):
        return collect_transitions(
            ppo, result.agent, OPPOSITE, key, num_tasks=2, num_steps=10, envs_per_task=4
        )

    collected = collect(jax.random.key(3))
    assert collected.observation["observation"].shape == (2, 10, STATES)
    expected = np.broadcast_to(np.eye(2)[:, None], (2, 10, 2))
    np.testing.assert_array_equal(collected.observation["task"], expected)
    assert (np.asarray(collected.action) == [[0], [1]]).mean() > 0.9
    compiled = transitions._compiled_collect._cache_size()
    collect(jax.random.key(4))
    assert transitions._compiled_collect._cache_size() == compiled


def test_a_second_evaluation_does_not_compile(trained):
    ppo, result = trained

    def run(seed, greedy):
        return evaluate(
            ppo.environment,
            ppo.policy,
            result.agent.policy,
            OPPOSITE,
            jnp.arange(2),
            jax.random.key(seed),
            num_episodes=4,
            horizon=6,
            greedy=greedy,
        )

    run(0, greedy=False)
    compiled = evaluation._compiled_evaluate._cache_size()
    run(1, greedy=False)
    assert evaluation._compiled_evaluate._cache_size() == compiled


def test_bootstraps_from_the_tree_that_the_episode_ended_in():
    """Truncated after the second step: V of the tree it stood in, not of the next episode's."""
    ppo = make()
    agent = ppo.init_agent(jax.random.key(0))
    agent = agent._replace(critic=random_params(ppo.critic, scale=1.0))
    tasks = stack(cut_short(TRUNCATES), cut_short(TRUNCATES)), IDENTITY
    num_steps = 2
    settings = dataclasses.replace(CONFIG, gae_lambda=0.0)
    collected = collect_transitions(
        dataclasses.replace(ppo, config=settings),
        agent,
        tasks,
        jax.random.key(1),
        num_tasks=2,
        num_steps=num_steps,
        envs_per_task=1,
    )
    for task in range(2):

        def value(state, task=task):
            tree = {"observation": jnp.eye(STATES)[state], "task": IDENTITY[task]}
            return float(ppo.critic.value(agent.critic, tree, jnp.asarray(task)))

        expected = [
            CONFIG.discount * value(1) - value(0),
            1 + CONFIG.discount * value(1) - value(1),
        ]
        np.testing.assert_allclose(collected.advantage[task], expected, atol=1e-5)


@pytest.mark.slow  # a second update to compile
def test_rubbish_in_dead_steps_changes_nothing():
    ppo = make(dead_steps=True)
    agents = []
    for filling in (0.0, np.nan):
        tables = OPPOSITE[0]._replace(garbage=jnp.full(2, filling))
        agent = ppo.init_agent(jax.random.key(0))
        agents.append(train(ppo, agent, (tables, IDENTITY), [0, 1], 2, jax.random.key(1)).agent)
    for clean, dirty in zip(*map(jax.tree.leaves, agents), strict=True):
        assert np.isfinite(dirty).all()
        np.testing.assert_array_equal(clean, dirty)


def test_clones_act_as_shown_in_each_task():
    policy = make().policy
    rows = jnp.arange(40) % 2
    shown = jax.tree.map(lambda leaf: leaf[rows], observe())
    params, losses = clone(
        policy,
        policy.init(jax.random.key(0)),
        shown,
        1 - rows,
        jax.random.key(1),
        num_steps=200,
        batch_size=16,
        learning_rate=1e-2,
        smoothing=0.0,
    )
    np.testing.assert_array_equal(policy.mode(params, observe()), [1, 0])
    assert losses[-1] < 0.1 < losses[0]

"""CartPole with a random sign, and copies of CartPole."""

import jax
import numpy as np
import pytest

from pgx_jax.envs.cartpole import cartpole
from pgx_jax.envs.cartpole_variants import cartpole_identical, cartpole_sign, sample_sign_tasks

SIGN, COPIES = cartpole_sign(), cartpole_identical()


@pytest.mark.parametrize("seed", [0, 1])
def test_tasks_are_those_of_cartpole_but_for_the_sign(seed):
    ours, theirs = cartpole_sign(seed=seed), cartpole(seed=seed)
    for part in ("train_tasks", "test_tasks"):
        signed, plain = getattr(ours, part), getattr(theirs, part)
        for one, other in zip(jax.tree.leaves(signed), jax.tree.leaves(plain), strict=True):
            np.testing.assert_array_equal(np.abs(one), other)
    assert ours.environment == theirs.environment


def test_groups_are_the_signs():
    for seed in range(5):
        family = cartpole_sign(seed=seed)
        negative = np.asarray(family.train_tasks.force_mag) < 0
        np.testing.assert_array_equal(family.groups, np.where(negative, 0, 1))


def test_one_sign_alone_is_one_group():
    for seed in range(20):
        family = cartpole_sign(num_tasks=2, num_test_tasks=1, seed=seed)
        negative = np.asarray(family.train_tasks.force_mag) < 0
        if negative.all() or not negative.any():
            np.testing.assert_array_equal(family.groups, [0, 0])
            return
    pytest.fail("two tasks never had one sign")


def test_half_of_the_tasks_are_inverted():
    tasks = sample_sign_tasks(jax.random.key(0), 2000)
    assert (np.asarray(tasks.force_mag) < 0).mean() == pytest.approx(0.5, abs=0.05)


def test_published_sign_family():
    assert SIGN.description == (
        "gymnax CartPole-v1: gravity U[5, 20] m/s², masscart log-U[0.3, 5] kg, masspole "
        "log-U[0.03, 1] kg, length log-U[0.15, 3] m, force_mag log-U[2, 40] N; sign of the force "
        "random"
    )
    assert SIGN.num_tasks == 10
    assert SIGN.train_names[0] == "1: g=17.6 l=2.70 F=-31.5"
    np.testing.assert_array_equal(SIGN.groups, [0, 0, 0, 1, 0, 1, 1, 0, 0, 1])
    names = ("gravity", "masscart", "masspole", "length", "force_mag")
    for tasks, expected in (
        (SIGN.train_tasks, [17.63471, 0.39603, 0.07544, 2.70474, -31.48084]),
        (SIGN.test_tasks, [5.10941, 3.01459, 0.33929, 0.17417, -4.50514]),
    ):
        first = [float(getattr(tasks, name)[0]) for name in names]
        np.testing.assert_allclose(first, expected, rtol=1e-4)
    assert SIGN.test_tasks.gravity.shape == (50,)


def test_copies_are_cartpole():
    standard = jax.tree.leaves(COPIES.environment.default_task)
    for tasks, count in ((COPIES.train_tasks, 10), (COPIES.test_tasks, 50)):
        for leaf, expected in zip(jax.tree.leaves(tasks), standard, strict=True):
            np.testing.assert_allclose(leaf, np.full(count, expected), rtol=1e-6)
            assert len(np.unique(np.asarray(leaf))) == 1


def test_published_copies():
    assert COPIES.description == "copies of gymnax CartPole-v1, all the same"
    assert COPIES.train_names[:2] == ("copy 1", "copy 2")
    np.testing.assert_array_equal(COPIES.groups, np.zeros(10))

import numpy as np
import pytest

from pgx_jax.grouping import gradient_similarity, gradient_similarity_grouping, random_grouping


@pytest.mark.parametrize(("num_tasks", "num_groups"), [(1, 1), (10, 3), (10, 10), (7, 2), (50, 8)])
def test_random_grouping_is_even_and_complete(num_tasks, num_groups):
    for seed in range(20):
        labels = random_grouping(seed, num_tasks, num_groups)
        sizes = np.bincount(labels, minlength=num_groups)
        assert len(labels) == num_tasks
        assert len(sizes) == num_groups
        assert sizes.min() >= 1
        assert sizes.max() - sizes.min() <= 1
        assert labels[0] == 0


def test_random_grouping_is_seeded_and_random():
    np.testing.assert_array_equal(random_grouping(3, 10, 3), random_grouping(3, 10, 3))
    rng = np.random.default_rng(0)
    draws = np.stack([random_grouping(rng, 6, 2) for _ in range(3000)])
    # Every pair is together equally often: 2 of the 5 others share a task's group.
    together = (draws[:, :, None] == draws[:, None, :]).mean(axis=0)
    np.testing.assert_allclose(together[~np.eye(6, dtype=bool)], 0.4, atol=0.04)


@pytest.mark.parametrize("num_groups", [0, 6])
def test_random_grouping_rejects(num_groups):
    with pytest.raises(ValueError, match="from 1 to the number of tasks, 5"):
        random_grouping(0, 5, num_groups)


def planted(seed=0):
    rng = np.random.default_rng(seed)
    group = np.array([0, 1, 0, 2, 1, 2, 0])
    direction = np.linalg.qr(rng.normal(size=(20, 3)))[0].T
    advantage = rng.normal(size=(7, 300))
    features = rng.normal(size=(7, 300, 20)) + advantage[:, :, None] * direction[group][:, None]
    return group, features, advantage


def test_gradient_similarity_is_the_cosine_of_mean_gradients():
    _, features, advantage = planted()
    similarity = gradient_similarity(features, advantage=advantage)
    for i in range(7):
        for j in range(7):
            one = np.mean([a * f for a, f in zip(advantage[i], features[i], strict=True)], axis=0)
            two = np.mean([a * f for a, f in zip(advantage[j], features[j], strict=True)], axis=0)
            expected = one @ two / np.sqrt((one @ one) * (two @ two))
            assert similarity[i, j] == pytest.approx(expected)


def test_masked_steps_do_not_count_even_when_not_finite():
    _, features, advantage = planted()
    mask = np.random.default_rng(1).random(advantage.shape) < 0.7
    expected = gradient_similarity(features * mask[:, :, None], advantage=advantage)
    spoiled = np.where(mask[:, :, None], features, np.nan)
    found = gradient_similarity(spoiled, advantage=np.where(mask, advantage, np.inf), mask=mask)
    np.testing.assert_allclose(found, expected)


def test_gradient_similarity_grouping_finds_planted_groups():
    group, features, advantage = planted()
    grouping = gradient_similarity_grouping(features, 3, advantage=advantage)
    np.testing.assert_array_equal(grouping.labels, group)
    assert grouping.status == "optimal (CLARABEL)"


def test_gradient_similarity_rejects():
    _, features, advantage = planted()
    with pytest.raises(ValueError, match=r"float\[n, T, d\]"):
        gradient_similarity(features[0], advantage=advantage)
    with pytest.raises(ValueError, match="same n and T"):
        gradient_similarity(features, advantage=advantage[:, :5])
    with pytest.raises(ValueError, match="mask must be"):
        gradient_similarity(features, advantage=advantage, mask=np.ones(5, bool))
    advantage[2] = 0.0
    advantage[4, 0] = np.nan
    with pytest.raises(ValueError, match=r"tasks \[2, 4\] is zero or not finite"):
        gradient_similarity(features, advantage=advantage)

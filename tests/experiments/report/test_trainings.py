import numpy as np
import pytest

from pgx_jax.experiments.report import trainings


def test_training_adds_groups_up():
    rows = [
        {"group": 0, "env_steps": 10, "returns": {"a": 1.0}},
        {"group": 0, "env_steps": 20, "returns": {"a": 3.0, "b": 5.0}},
        {"group": 1, "env_steps": 100, "returns": {"c": 7.0}},
        {"group": 1, "env_steps": 200, "returns": {}},
    ]
    training = trainings.read_training(rows, offset=1000)
    assert training is not None
    np.testing.assert_allclose(training.env_steps, [1110, 1220])
    assert set(training.returns) == {"a", "b", "c"}
    np.testing.assert_array_equal(training.returns["b"], [np.nan, 5.0])
    # c keeps what it had.
    np.testing.assert_array_equal(training.returns["c"], [7.0, 7.0])
    curve = trainings.mean_curve(training, ["a", "b", "c"])
    assert curve is not None
    # b is first known at the end.
    np.testing.assert_allclose(curve.env_steps, [1220])
    np.testing.assert_allclose(curve.returns, [5])
    assert trainings.read_training([]) is None
    assert trainings.mean_curve(training, []) is None


def test_groups_of_different_length_are_side_by_side():
    rows = [{"group": 0, "env_steps": step, "returns": {"a": float(step)}} for step in (1, 2, 3, 4)]
    rows += [{"group": 1, "env_steps": step, "returns": {"b": float(step)}} for step in (50, 100)]
    training = trainings.read_training(rows)
    assert training is not None
    np.testing.assert_allclose(training.env_steps, [26, 52, 78, 104])
    np.testing.assert_array_equal(training.returns["b"], [np.nan, 50, 50, 100])


def test_learning_curve_carries_forward_and_smooths():
    rows = [
        {"group": 0, "env_steps": step, "returns": {"a": 2.0 * step} if step % 3 else {}}
        for step in range(1, 101)
    ]
    training = trainings.read_training(rows)
    assert training is not None
    known = np.array([step - (step % 3 == 0) for step in range(1, 101)])
    np.testing.assert_array_equal(training.returns["a"], 2.0 * known)
    curve = trainings.mean_curve(training, ["a"])
    assert curve is not None
    np.testing.assert_allclose(curve.env_steps, np.arange(1, 101))
    # Windows reach two points to either side, and end with the training.
    expected = [2.0 * known[max(0, i - 2) : i + 3].mean() for i in range(100)]
    np.testing.assert_allclose(curve.returns, expected)


@pytest.mark.parametrize(("updates", "smooth"), [(29, False), (30, True)])
def test_short_trainings_are_not_smoothed(updates, smooth):
    returns = np.random.default_rng(0).normal(size=updates)
    rows = [
        {"group": 0, "env_steps": step + 1, "returns": {"a": value}}
        for step, value in enumerate(returns.tolist())
    ]
    training = trainings.read_training(rows)
    assert training is not None
    curve = trainings.mean_curve(training, ["a"])
    assert curve is not None
    assert np.allclose(curve.returns, returns) != smooth

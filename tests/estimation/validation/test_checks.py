"""Bad input is named before any work starts, by every function that takes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import (
    fit_subsets,
    gaussian_projection,
    gradient_features,
    score_subsets,
    standardise_advantage,
)
from pgx_jax.types import SubsetFits, Transitions
from tests.estimation.policies import policy

N, T, D = 3, 7, 6
LOG_PROB, PARAMS, DATA = policy("plain")
DATA = DATA._replace(mask=None)
ADVANTAGE = np.asarray(DATA.advantage)
FEATURES = np.ones((N, T, D), np.float32)
SUBSETS = np.array([[1, 1, 0], [0, 1, 1]], bool)
PROJECTION = gaussian_projection(jax.random.key(0), PARAMS, D)


def features_of(advantage=ADVANTAGE, mask=None):
    data = DATA._replace(advantage=advantage, mask=mask)
    return gradient_features(LOG_PROB, PARAMS, data, PROJECTION)


def fits_of(advantage=ADVANTAGE, mask=None):
    return fit_subsets(FEATURES, advantage, SUBSETS, mask=mask)


def scores_of(advantage=ADVANTAGE, mask=None):
    fits = SubsetFits(np.ones((2, D), np.float32), None, None, None, None)
    return score_subsets(fits, FEATURES, advantage, mask=mask)


CONSUMERS = {
    "features": features_of,
    "fits": fits_of,
    "scores": scores_of,
    "standardise": standardise_advantage,
}
each_consumer = pytest.mark.parametrize("call", CONSUMERS.values(), ids=CONSUMERS.keys())


def changed(array, *places, value):
    array = np.array(array)
    for place in places:
        array[place] = value
    return array


@each_consumer
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_advantage_not_finite(call, value):
    advantage = changed(ADVANTAGE, (0, 3), (2, 1), value=value)
    with pytest.raises(ValueError, match=r"advantages of tasks \[0, 2\] hold NaN or infinity"):
        call(advantage)
    mask = np.ones((N, T), bool)
    mask[0, 3] = False
    with pytest.raises(ValueError, match=r"advantages of tasks \[2\] hold NaN or infinity"):
        call(advantage, mask)


@each_consumer
def test_task_without_valid_transition(call):
    mask = changed(np.ones((N, T), bool), 1, value=False)
    with pytest.raises(ValueError, match=r"tasks \[1\] have no valid transition; collect some"):
        call(ADVANTAGE, mask)


@each_consumer
def test_advantages_all_zero(call):
    with pytest.raises(ValueError, match=r"advantages of tasks \[2\] are all zero, so no gradient"):
        call(changed(ADVANTAGE, 2, value=0))
    # Zero where valid is enough.
    mask = np.arange(T)[None, :] < np.array([[T], [T], [4]])
    with pytest.raises(ValueError, match=r"advantages of tasks \[2\] are all zero"):
        call(changed(ADVANTAGE, (2, slice(0, 4)), value=0), mask)


@each_consumer
def test_mask_of_another_shape(call):
    with pytest.raises(ValueError, match=r"mask has shape \(3, 6\); expected the shape of advant"):
        call(ADVANTAGE, np.ones((N, T - 1), bool))


@pytest.mark.parametrize("call", [features_of, standardise_advantage])
def test_advantage_of_another_rank(call):
    with pytest.raises(ValueError, match=r"advantage has shape \(7,\); expected \[n, T\]"):
        call(ADVANTAGE[0])


@pytest.mark.parametrize("call", [fits_of, scores_of])
def test_advantage_beside_features(call):
    with pytest.raises(ValueError, match=r"advantage has shape \(3, 6\); its leading axes must be"):
        call(ADVANTAGE[:, :6])


def test_leading_axes_of_transitions():
    for name, wrong in (("observation", DATA.observation[:, :6]), ("action", DATA.action[:2])):
        with pytest.raises(
            ValueError, match=rf"transitions\.{name} has shape .*\[3, 7\], those of"
        ):
            gradient_features(LOG_PROB, PARAMS, DATA._replace(**{name: wrong}), PROJECTION)
    nested = DATA._replace(observation={"x": DATA.observation, "goal": jnp.zeros(7)})
    with pytest.raises(ValueError, match=r"transitions\.observation has shape \(7,\)"):
        gradient_features(LOG_PROB, PARAMS, nested, PROJECTION)


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (lambda value: jnp.stack([value, value]), r"shape \(2,\)"),
        (lambda value: (value, value), "tuple"),
        (lambda value: {"log_prob": value}, "dict"),
        (lambda value: value[None], r"shape \(1,\)"),
        (lambda value: value.astype(jnp.int32), r"shape \(\)"),
        (lambda value: None, "NoneType"),
    ],
    ids=["vector", "tuple", "dict", "one-element", "integer", "None"],
)
def test_log_prob_that_is_no_scalar(result, found):
    def log_prob(params, observation, action):
        return result(LOG_PROB(params, observation, action))

    with pytest.raises(TypeError, match=f"returned {found} for one transition; it must return one"):
        gradient_features(log_prob, PARAMS, DATA, PROJECTION)


def outside(name, params, *arguments):
    """What JAX cannot trace, four ways."""
    value = params["weight"].sum() if "weight" in params else jax.tree.leaves(params)[0].sum()
    if name == "numpy":
        return np.asarray(value)
    if name == "float":
        return float(value)
    if name == "branch":
        return value if value > 0 else -value
    return [1.0, 2.0][value.astype(int)]


@pytest.mark.parametrize("name", ["numpy", "float", "branch", "index"])
def test_log_prob_and_rollout_that_jax_cannot_trace(name):
    def log_prob(params, observation, action):
        return outside(name, params)

    def rollout(params, tasks, key):
        return jnp.full(tasks.shape, outside(name, params))

    message = r"cannot be traced by JAX: it needs the value of an argument at test_checks\.py:\d+"
    with pytest.raises(TypeError, match=rf"log_prob\(params, observation, action\) {message}"):
        gradient_features(log_prob, PARAMS, DATA, PROJECTION)
    with pytest.raises(TypeError, match=rf"rollout\(params, tasks, key\) {message}.*io_callback"):
        rollout_scores(rollout)


def rollout_scores(rollout):
    fits = SubsetFits(np.ones((2, D), np.float32), None, None, None, None)
    return score_subsets(
        fits,
        FEATURES,
        ADVANTAGE,
        kind="rollout",
        subsets=SUBSETS,
        params=PARAMS,
        projection=PROJECTION,
        rollout=rollout,
        key=jax.random.key(0),
    )


@pytest.mark.parametrize(
    ("rollout", "error", "message"),
    [
        (lambda params, tasks, key: jnp.zeros(()), ValueError, r"returned shape \(\) for 2 tasks"),
        (lambda params, tasks, key: [1.0, 2.0], TypeError, "returned a list; it must return an ar"),
        (lambda params, tasks: tasks, TypeError, r"rollout takes \(params, tasks\); it is called"),
    ],
)
def test_rollout_that_returns_or_takes_something_else(rollout, error, message):
    with pytest.raises(error, match=message):
        rollout_scores(rollout)


def test_a_rollout_with_a_fault_of_its_own_keeps_its_error():
    def rollout(params, tasks, key):
        raise RuntimeError("no simulator")

    with pytest.raises(RuntimeError, match="no simulator") as caught:
        rollout_scores(rollout)
    assert "rollout(params, tasks, key)" in caught.value.__notes__[-1]


def test_observations_that_do_not_fit_the_policy():
    wrong = DATA._replace(observation=DATA.observation[..., :-1])
    form = rf"observation float32\[{wrong.observation.shape[-1]}\] and action "
    with pytest.raises(ValueError, match=rf"fails for one transition, {form}.*those of this pol"):
        gradient_features(LOG_PROB, PARAMS, wrong, PROJECTION)
    with pytest.raises(TypeError, match=r"log_prob takes \(params, observation\); it is called as"):
        gradient_features(lambda params, observation: 0.0, PARAMS, DATA, PROJECTION)


def test_lists_in_transitions_are_turned_into_arrays():
    expected = gradient_features(LOG_PROB, PARAMS, DATA, PROJECTION)
    plain = Transitions(*(np.asarray(part).tolist() for part in DATA[:3]), np.ones((N, T)).tolist())
    of_arrays = Transitions(*([*map(np.asarray, part)] for part in DATA[:3]))
    for data in (plain, of_arrays, Transitions(*map(list, DATA[:3]))):
        np.testing.assert_array_equal(
            gradient_features(LOG_PROB, PARAMS, data, PROJECTION), expected
        )


def test_a_list_of_whole_arrays_stays_a_tree():
    def log_prob(params, observation, action):
        return LOG_PROB(params, observation[0] + observation[1]["goal"], action)

    goal = jnp.zeros_like(DATA.observation)
    data = DATA._replace(observation=[DATA.observation, {"goal": goal}])
    np.testing.assert_array_equal(
        gradient_features(log_prob, PARAMS, data, PROJECTION), features_of()
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"observation": [[[1.0]] * 7, [[1.0]] * 6, [[1.0]] * 7]}, ValueError, "different lengths"),
        ({"advantage": [[1.0] * 7, [1.0] * 6, [1.0] * 7]}, ValueError, r"advantage holds lists of"),
        ({"observation": [[1.0] * 6] * 3}, ValueError, r"observation has shape \(3, 6\)"),
        ({"observation": np.full((3, 7), "a")}, TypeError, "observation has dtype <U1"),
        ({"action": np.full((3, 7), None)}, TypeError, "action has dtype object"),
        ({"advantage": None}, TypeError, "advantage is None; it must be an array"),
    ],
)
def test_transitions_that_make_no_arrays(change, error, message):
    with pytest.raises(error, match=message):
        gradient_features(LOG_PROB, PARAMS, DATA._replace(**change), PROJECTION)


def test_transitions_of_another_type():
    with pytest.raises(TypeError, match=r"transitions is a tuple; pass pgx_jax\.Transitions"):
        gradient_features(LOG_PROB, PARAMS, tuple(DATA), PROJECTION)
    with pytest.raises(TypeError, match="advantage is a list; pass an array"):
        standardise_advantage(ADVANTAGE.tolist())


def test_features():
    with pytest.raises(ValueError, match=r"features has shape \(3, 7\); expected \[n, T, d\]"):
        fit_subsets(FEATURES[..., 0], ADVANTAGE, SUBSETS)
    broken = changed(FEATURES, (1, 2, 3), value=np.nan)
    with pytest.raises(ValueError, match=r"features of tasks \[1\] hold NaN or infinity"):
        fit_subsets(broken, ADVANTAGE, SUBSETS)


def test_subsets():
    with pytest.raises(
        ValueError, match=r"subsets has shape \(2, 2\); expected \[num_subsets, 3\]"
    ):
        fit_subsets(FEATURES, ADVANTAGE, SUBSETS[:, :2])
    with pytest.raises(ValueError, match=r"subsets has shape \(3,\); expected \[num_subsets, 3\]"):
        fit_subsets(FEATURES, ADVANTAGE, SUBSETS[0])
    with pytest.raises(TypeError, match=r"subsets has dtype float32; expected bool \(membership\)"):
        fit_subsets(FEATURES, ADVANTAGE, SUBSETS.astype(np.float32))
    with pytest.raises(ValueError, match=r"subsets \[0, 1\] hold no task; drop these rows"):
        fit_subsets(FEATURES, ADVANTAGE, np.zeros((2, 3), bool))
    with pytest.raises(
        ValueError, match=r"subsets \[0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\] hold no task"
    ):
        fit_subsets(FEATURES, ADVANTAGE, np.zeros((9, 3), bool))


@pytest.mark.parametrize("name", ["l2", "tol", "max_steps"])
@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_options_that_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be positive and finite"):
        fit_subsets(FEATURES, ADVANTAGE, SUBSETS, **{name: value})


def test_other_options():
    with pytest.raises(ValueError, match="history is -1; it must be 0 or more"):
        fit_subsets(FEATURES, ADVANTAGE, SUBSETS, history=-1)
    with pytest.raises(ValueError, match=r'unknown solver "sgd".*Known: fixed_hessian, lbfgs'):
        fit_subsets(FEATURES, ADVANTAGE, SUBSETS, solver="sgd")


def test_solver_without_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jaxopt", None)
    with pytest.raises(ImportError, match='solver="lbfgs" needs jaxopt: pip install'):
        fit_subsets(FEATURES, ADVANTAGE, SUBSETS, l2=0.77, max_steps=17, solver="lbfgs")

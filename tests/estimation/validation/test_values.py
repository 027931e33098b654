"""Value checks: one reduction, one small copy from the device, and nothing large."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import (
    fit_subsets,
    gaussian_projection,
    gradient_features,
    gradient_gram,
    standardise_advantage,
    validation,
)
from pgx_jax.estimation.validation import values
from pgx_jax.types import Transitions
from tests.estimation.data import all_subsets
from tests.estimation.policies import NUM_TASKS, policy

LOG_PROB, PARAMS, DATA = policy("plain")
HOST_DATA = jax.tree.map(np.asarray, DATA)
SUBSETS = jnp.asarray(all_subsets(NUM_TASKS))
PROJECTION = gaussian_projection(jax.random.key(0), PARAMS, 6)
FEATURES = jnp.ones((*DATA.advantage.shape, 6))


@pytest.fixture
def copies(monkeypatch):
    """Sizes of what is fetched, and of everything of JAX's that NumPy is made of."""
    fetched, converted = [], []
    fetch, asarray = values.fetch, np.asarray

    def counted_fetch(array):
        fetched.append(array.size)
        return fetch(array)

    def counted_asarray(array, *arguments, **options):
        if isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer):
            converted.append(array.size)
        return asarray(array, *arguments, **options)

    monkeypatch.setattr(values, "fetch", counted_fetch)
    monkeypatch.setattr(np, "asarray", counted_asarray)
    return fetched, converted


CALLS = {
    "features": lambda data: gradient_features(LOG_PROB, PARAMS, data, PROJECTION),
    "gram": lambda data: gradient_gram(LOG_PROB, PARAMS, data),
    "standardise": lambda data: standardise_advantage(data.advantage, data.mask),
    "fits": lambda data: validation.check_fit_data(FEATURES, data.advantage, data.mask, SUBSETS),
    "scores": lambda data: validation.check_features(FEATURES, data.advantage, data.mask),
    "transitions": validation.parse_transitions,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_fetches_one_small_array(copies, name):
    CALLS[name](DATA)
    fetched, converted = copies
    assert len(fetched) == 1
    assert converted == fetched
    assert fetched[0] <= NUM_TASKS + len(SUBSETS)


@pytest.mark.parametrize("name", ["standardise", "transitions"])
def test_arrays_on_the_host_are_checked_there(copies, name):
    CALLS[name](HOST_DATA)
    assert copies == ([], [])


def test_fits_copy_their_subsets_and_no_features(copies):
    fit_subsets(FEATURES, DATA.advantage, SUBSETS, mask=DATA.mask)
    fetched, converted = copies
    assert len(fetched) == 1
    assert FEATURES.size not in converted
    assert max(converted) <= SUBSETS.size


def test_log_prob_is_traced_once_to_check_it(monkeypatch):
    traced = []

    def log_prob(params, observation, action):
        traced.append(observation.shape)
        return LOG_PROB(params, observation, action)

    gradient_features(log_prob, PARAMS, DATA, PROJECTION)
    assert len(traced) == 2  # to check it, and to find its products
    gradient_features(log_prob, PARAMS, DATA, PROJECTION)
    assert len(traced) <= 3


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["host", "device"])
def test_flags_of_every_task_and_subset(convert):
    advantage = np.ones((4, 5), np.float32)
    mask = np.ones((4, 5), bool)
    features = np.ones((4, 5, 2), np.float32)
    subsets = np.ones((3, 4), bool)
    for change, message in (
        (lambda: mask[1].fill(False), r"tasks \[1\] have no valid transition"),
        (lambda: advantage[2].__setitem__(0, np.inf), r"advantages of tasks \[2\] hold NaN"),
        (lambda: advantage[3].fill(0), r"advantages of tasks \[3\] are all zero"),
        (lambda: features[0, 1].__setitem__(0, -np.inf), r"features of tasks \[0\] hold NaN"),
        (lambda: subsets[2].fill(False), r"subsets \[2\] hold no task"),
    ):
        arrays = advantage, mask, features, subsets
        saved = [array.copy() for array in arrays]
        change()
        kinds = dict(zip(("advantage", "mask", "features", "subsets"), arrays, strict=True))
        given = {name: convert(array) for name, array in kinds.items()}
        with pytest.raises(ValueError, match=message):
            validation.check_values(**given)
        for array, old in zip(arrays, saved, strict=True):
            array[...] = old
    validation.check_values(advantage=advantage, mask=mask, features=features, subsets=subsets)


def test_results_and_half_precision():
    features = jnp.ones((4, 5, 2), jnp.bfloat16).at[1, 0, 0].set(jnp.nan)
    mask = np.ones((4, 5), bool)
    with pytest.raises(ValueError, match=r"features of tasks \[1\] hold NaN"):
        validation.check_values(features=features, mask=mask)
    mask[1, 0] = False
    validation.check_values(features=features, mask=mask)
    with pytest.raises(ValueError, match=r"infinite for tasks \[1\]"):
        validation.check_values(gradients=features)
    with pytest.raises(ValueError, match="zero at every transition"):
        validation.check_values(gradients=jnp.zeros((4, 5, 2)))
    validation.check_values(gradients=jnp.zeros((4, 5, 2)).at[0, 0, 0].set(1))


def test_under_jit_only_what_is_known_is_checked():
    @jax.jit
    def run(features):
        with pytest.raises(ValueError, match=r"subsets \[0\] hold no task"):
            validation.check_values(features=features, subsets=np.zeros((1, 3), bool))
        validation.check_values(advantage=features[..., 0], features=features)
        return features

    run(jnp.full((3, 2, 2), jnp.nan))


def test_what_a_traced_function_closes_over_is_checked():
    @jax.jit
    def run(scale):
        with pytest.raises(ValueError, match=r"advantages of tasks \[0, 1, 2\] hold NaN"):
            validation.check_values(advantage=broken, mask=DATA.mask)
        return scale

    broken = jnp.full_like(DATA.advantage, jnp.nan)
    run(1.0)


def test_transitions_are_parsed_to_arrays_with_a_mask():
    plain = Transitions(
        np.asarray(DATA.observation).tolist(),
        DATA.action,
        DATA.advantage,
        np.asarray(DATA.mask, int),
    )
    parsed = validation.parse_transitions(plain)
    assert isinstance(parsed.observation, jax.Array)
    assert parsed.mask.dtype == bool
    np.testing.assert_array_equal(parsed.mask, DATA.mask)
    everything = validation.parse_transitions(DATA._replace(mask=None)).mask
    assert everything.dtype == bool
    assert everything.all()

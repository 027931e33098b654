"""The door of the pipeline: everything that is wrong is named there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import standardise_advantage
from pgx_jax.estimation.inputs import parse_group_inputs
from pgx_jax.estimation.validation import values
from tests.estimation.policies import NUM_TASKS, policy

LOG_PROB, PARAMS, DATA = policy("plain")
OPTIONS = {
    "num_groups": 2,
    "key": jax.random.key(0),
    "batch_size": 8,
    "rollout_batch_size": None,
    "l2": 1e-2,
    "rho": 0.1,
    "splits_transitions": True,
}


def parse(data=DATA, **options):
    return parse_group_inputs(LOG_PROB, PARAMS, data, **(OPTIONS | options))


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["host", "device"])
def test_one_record_with_standardised_advantages(monkeypatch, convert):
    fetched = []
    fetch = values.fetch
    monkeypatch.setattr(values, "fetch", lambda array: fetched.append(array.size) or fetch(array))
    given, parsed = parse(jax.tree.map(convert, DATA))
    assert given == (LOG_PROB, PARAMS)
    assert parsed.advantage.dtype == jnp.float32
    assert fetched == [NUM_TASKS]
    np.testing.assert_allclose(
        parsed.advantage, standardise_advantage(DATA.advantage, DATA.mask), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_groups": 4}, ValueError, r"num_groups is 4; it must be a whole number from 1 to n"),
        ({"num_groups": 1.5}, ValueError, "num_groups is 1.5; it must be a whole number"),
        ({"key": 3}, TypeError, "key is 3; pass a PRNG key"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; it must be a whole number from 1"),
        ({"rollout_batch_size": 0}, ValueError, "rollout_batch_size is 0"),
        ({"l2": 0.0}, ValueError, r"l2 is 0\.0; it must be positive"),
        ({"rho": -1.0}, ValueError, r"rho is -1\.0; it must be positive"),
    ],
)
def test_options(options, error, message):
    with pytest.raises(error, match=message):
        parse(**options)


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["host", "device"])
def test_values(convert):
    advantage, mask = np.array(DATA.advantage), np.array(DATA.mask)

    def data(**changes):
        return DATA._replace(**{name: convert(array) for name, array in changes.items()})

    constant = np.where(np.arange(NUM_TASKS)[:, None] == 1, 3.0, advantage)
    with pytest.raises(ValueError, match=r"tasks \[1\] are the same for every transition"):
        parse(data(advantage=constant, mask=mask))
    broken = np.where(np.arange(NUM_TASKS)[:, None] == 2, np.nan, advantage)
    with pytest.raises(ValueError, match=r"advantages of tasks \[2\] hold NaN"):
        parse(data(advantage=broken, mask=mask))
    few = mask.copy()
    few[0, 1:], few[0, 0] = False, True
    with pytest.raises(ValueError, match="a task has fewer than two valid transitions, so they"):
        parse(data(advantage=advantage, mask=few))
    with pytest.raises(ValueError, match=r"tasks \[0\] are the same for every transition"):
        parse(data(advantage=advantage, mask=few), splits_transitions=False)

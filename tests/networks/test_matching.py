"""One network as large as several."""

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.networks import (
    MLP,
    CategoricalPolicy,
    GaussianPolicy,
    count_parameters,
    matched_network,
)


def categorical(network):
    return CategoricalPolicy((4,), 2, network)


def gaussian(network):
    return GaussianPolicy({"observation": (39,), "task": (10,)}, 4, network)


def count(make, network):
    return count_parameters(jax.eval_shape(make(network).init, jax.random.key(0)))


def mlp_parameters(num_inputs, sizes):
    """Weights and biases of a perceptron."""
    return sum((one + 1) * other for one, other in zip([num_inputs, *sizes], sizes, strict=False))


def all_widths(hidden_sizes, num_policies, num_inputs, num_outputs, extra):
    """The nearest of all widths in proportion, by trying each."""

    def parameters(sizes):
        return mlp_parameters(num_inputs, (*sizes, num_outputs)) + extra

    wanted = num_policies * parameters(hidden_sizes)
    first = hidden_sizes[0]
    scaled = [
        tuple(max(1, round(size * width / first)) for size in hidden_sizes)
        for width in range(first, first * num_policies + 1)
    ]
    return min(scaled, key=lambda sizes: abs(parameters(sizes) - wanted))


@pytest.mark.parametrize("num_policies", [1, 2, 3, 6])
@pytest.mark.parametrize("sizes", [(64, 64, 64), (16, 16, 16), (16, 32, 64), (7, 3), (5,)])
def test_equals_a_search_over_all_widths(sizes, num_policies):
    found = matched_network(categorical, MLP(sizes), num_policies)
    assert found.hidden_sizes == all_widths(sizes, num_policies, 4, 2, extra=0)


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 5))
def test_equals_it_for_any_sizes_and_heads(sizes, num_policies):
    found = matched_network(gaussian, MLP(tuple(sizes)), num_policies)
    assert found.hidden_sizes == all_widths(tuple(sizes), num_policies, 49, 4, extra=4)


@pytest.mark.parametrize("make", [categorical, gaussian])
def test_the_count_is_near(make):
    one = MLP((64, 64, 64))
    assert count(make, matched_network(make, one, 4)) == pytest.approx(
        4 * count(make, one), rel=0.01
    )

"""What rows of results come to, on made-up rows."""

import pytest

from pgx_jax.diagnostics import mean_interval
from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.studies import STUDIES


@pytest.mark.parametrize("name", ["recovery", "comparison", "learning"])
def test_every_case_is_a_configuration(name):
    study = STUDIES[name]
    assert study.name == name
    for settings in study.cases.values():
        make_config(**settings)


def test_recovery_counts_the_exact_ones():
    rows = {
        "automatic": [{"adjusted_rand_index": one} for one in (1.0, 0.5, 1.0)],
        "given": [{"adjusted_rand_index": 1.0}],
    }
    assert STUDIES["recovery"].summarise(rows) == {
        "automatic": {"exact": 2, "of": 3},
        "given": {"exact": 1, "of": 1},
    }


def scored(**means):
    """A row with these means by method, the held-out ones twice as high."""
    return {
        "scores": {
            name: {"source": {"mean": mean}, "test": {"mean": 2 * mean}}
            for name, mean in means.items()
        }
    }


def test_comparison_pairs_the_methods_by_seed():
    rows = [
        scored(policygradex=10.0, single_policy=8.0),
        scored(policygradex=30.0, single_policy=27.0),
    ]
    found = STUDIES["comparison"].summarise({"cartpole": rows})["cartpole"]
    assert set(found) == {"source", "test"}
    assert found["source"]["policygradex"] == {"score": mean_interval([10.0, 30.0])}
    assert found["source"]["single_policy"] == {
        "score": mean_interval([8.0, 27.0]),
        "policygradex_minus_this": mean_interval([2.0, 3.0]),
    }
    assert found["test"]["single_policy"]["policygradex_minus_this"] == mean_interval([4.0, 6.0])


def test_comparison_goes_without_our_method():
    found = STUDIES["comparison"].summarise({"cartpole": [scored(single_policy=8.0)]})["cartpole"]
    assert found["source"] == {"single_policy": {"score": mean_interval([8.0])}}

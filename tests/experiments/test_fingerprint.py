"""Equal fingerprints exactly where a stage would give equal results."""

import dataclasses
import sys
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.experiments.fingerprint import _source_of, digest, fingerprint
from pgx_jax.experiments.slices import learner_slice
from pgx_jax.networks import MLP
from pgx_jax.pipeline import estimate, run_now, standardised_transitions
from pgx_jax.rl.algorithms import PPOConfig
from pgx_jax.settings import (
    AffinitySettings,
    EstimationSettings,
    GroupingSettings,
    ProjectionSettings,
    ScoreSettings,
)
from pgx_jax.types import PolicyFunction, Transitions
from tests.experiments.tiny import tiny_config


@dataclasses.dataclass(frozen=True)
class Choice:
    size: int
    engine: Any = dataclasses.field(default=None, metadata={"hashed": False})

    def doubled(self):
        return 2 * self.size


class Record(NamedTuple):
    size: int


class OtherRecord(NamedTuple):
    size: int


def test_keys_and_arrays_count_by_value():
    assert digest(jax.random.key(1)) == digest(jax.random.key(1))
    assert digest(jax.random.key(1)) != digest(jax.random.key(2))
    assert digest(jax.random.key(1)) != digest(jax.random.key(1, impl="rbg"))
    assert digest(np.arange(3)) != digest(np.arange(3.0))
    assert digest(np.arange(4)) != digest(np.arange(4).reshape(2, 2))
    assert digest(jnp.arange(3.0)) == digest(np.arange(3, dtype=np.float32))
    assert digest(np.arange(6)[::2]) == digest(np.array([0, 2, 4]))


def test_settings_count_whatever_their_order_or_container():
    assert digest({"a": 1, "b": [2]}) == digest({"b": (2,), "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest(np.float64(0.5)) == digest(0.5)
    assert digest(None) != digest("None")


def test_choices_count_by_type_and_fields():
    assert digest(Choice(1)) == digest(Choice(1))
    assert digest(Choice(1)) != digest(Choice(2))
    assert digest(MLP((8,))) != digest(MLP((9,)))
    assert digest(Record(1)) != digest(OtherRecord(1))
    # Those from outside the package with the source of their module.
    assert fingerprint(Choice(1))[1] != ""
    assert fingerprint(MLP((8,)))[1] == ""


def test_fields_made_from_other_settings_are_left_out():
    assert fingerprint(Choice(1, object()))[-1] == {"size": 1}


def test_functions_count_with_what_they_are_bound_to():
    def adder(amount):
        return lambda value: value + amount

    assert digest(adder(1)) == digest(adder(1))
    assert digest(adder(1)) != digest(adder(2))
    assert digest(jax.jit(adder(1))) == digest(adder(1))
    assert digest(partial(max, 1)) != digest(partial(max, 2))
    assert digest(Choice(1).doubled) != digest(Choice(2).doubled)
    assert len({digest(lambda value, k=k: value + k) for k in (1, 2)}) == 2


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(TypeError, match="nothing certain can be said of a object"):
        fingerprint(object())
    with pytest.raises(TypeError, match="array of objects"):
        fingerprint(np.array([object()]))


def test_a_path_counts_by_its_file(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    two.write_text("a")
    assert digest(one) == digest(two)
    two.write_text("b")
    assert digest(one) != digest(two)


OUTSIDE = """
from dataclasses import dataclass

import optax

from pgx_jax.estimation.affinity.rules import AdditiveEffects
from pgx_jax.estimation.projections.base import PROJECTIONS
from pgx_jax.estimation.scores.base import Scores
from pgx_jax.networks import MLP
from pgx_jax.rl.gradients import MEAN


def projection(key, params, dim):
    return PROJECTIONS["gaussian"](key, params, dim)


@dataclass(frozen=True)
class Loss:
    splits_transitions = False

    def score(self, inputs):
        return Scores(-inputs.fits.loss[:, None] * inputs.subsets)


def score(options):
    return Loss()


class Rule(AdditiveEffects):
    pass


class Network(MLP):
    pass


rule, network = Rule(), Network((4,))
combiner = optax.chain(MEAN, optax.stateless(lambda updates, _: updates))
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Writes the module "outside", for the next import, and returns the hashes that it is in."""
    monkeypatch.syspath_prepend(tmp_path)
    settings = EstimationSettings(
        projection=ProjectionSettings("outside:projection", 4),
        score=ScoreSettings("outside:score"),
        affinity=AffinitySettings("outside:rule"),
        grouping=GroupingSettings(2),
    )

    def hashes(source):
        (tmp_path / "outside.py").write_text(source)
        sys.modules.pop("outside", None)
        # A process reads a module's source once.
        _source_of.cache_clear()
        import_module("outside")
        found = {}

        def stage(name, settings, parents, function, like=None):
            found[name] = digest(settings)
            return run_now(name, settings, parents, function, like)

        policy, transitions = small_problem()
        estimate(policy, transitions, settings, jax.random.key(0), stage=stage)
        ppo = PPOConfig(gradients="outside:combiner")
        found["algorithm"] = digest(learner_slice(tiny_config(algorithm=ppo)))
        found["network"] = digest(learner_slice(tiny_config(network="outside:network")))
        return found

    # Python would take the compiled module for that of a source of the same second and size.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield hashes
    sys.modules.pop("outside", None)
    _source_of.cache_clear()


def small_problem():
    observation = jax.random.normal(jax.random.key(0), (4, 16, 3))
    advantage = jax.random.normal(jax.random.key(1), (4, 16))
    transitions = Transitions(
        observation, jnp.zeros((4, 16), int), advantage, jnp.ones((4, 16), bool)
    )

    def log_prob(params, observation, action):
        return jax.nn.log_softmax(observation @ params)[action]

    return PolicyFunction(log_prob, jnp.ones((3, 2))), standardised_transitions(transitions)


@pytest.mark.slow
def test_a_changed_source_of_an_outside_choice_changes_the_hash(outside):
    first, same, changed = outside(OUTSIDE), outside(OUTSIDE), outside(OUTSIDE + "# changed\n")
    assert first == same
    for name in ("features", "scores", "affinity", "algorithm", "network"):
        assert first[name] != changed[name], name
    for name in ("subsets", "fits", "grouping"):
        assert first[name] == changed[name], name

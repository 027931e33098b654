"""Scores from outside, and rollouts that are stepped on the host."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import score_subsets
from pgx_jax.estimation.scores.base import (
    SCORES,
    ScoreInputs,
    ScoreOptions,
    Scores,
    make_score,
)
from pgx_jax.estimation.scores.margins import MarginScore, linearised
from pgx_jax.estimation.scores.off_policy import OffPolicyScore
from pgx_jax.estimation.scores.rollout import (
    RolloutScore,
    TracedRollouts,
    scatter_scores,
    subset_members,
)
from pgx_jax.types import PolicyFunction
from tests.estimation.scores.test_scoring import (
    ADVANTAGE,
    DATA,
    FEATURES,
    FITS,
    KEY,
    LOG_PROB,
    MASK,
    MIXED,
    PARAMS,
    PROJECTION,
    RHO,
    parameter_sum,
    roll,
)


@dataclass(frozen=True)
class Distance:
    """Minus the length of x_S, for members; what is needed besides is the subsets."""

    scale: float
    splits_transitions: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("subsets",)

    def score(self, inputs):
        length = jnp.linalg.norm(inputs.fits.coef, axis=1, keepdims=True)
        return Scores(jnp.where(inputs.subsets, -self.scale * length, jnp.nan))


def of_options(options):
    return Distance(options.max_ratio)


@pytest.fixture
def distance_is_registered():
    SCORES.register("distance", of_options)
    yield
    del SCORES._entries["distance"]


@pytest.mark.usefixtures("distance_is_registered")
def test_a_score_from_outside():
    expected = -np.linalg.norm(FITS.coef, axis=1, keepdims=True)
    for kind in ("distance", f"{__name__}:of_options", Distance(3.0)):
        values = score_subsets(FITS, FEATURES, ADVANTAGE, kind=kind, subsets=MIXED, max_ratio=3.0)
        np.testing.assert_allclose(values, np.where(MIXED, 3 * expected, np.nan), rtol=1e-6)
    with pytest.raises(ValueError, match='kind="distance" needs subsets; pass them'):
        score_subsets(FITS, FEATURES, ADVANTAGE, kind="distance")
    with pytest.raises(ValueError, match="subsets has shape"):
        score_subsets(FITS, FEATURES, ADVANTAGE, kind="distance", subsets=MIXED[:, :2])


def test_a_score_that_calls_a_log_prob_it_was_not_given_says_so():
    @dataclass(frozen=True)
    class Calls:
        splits_transitions: ClassVar[bool] = True

        def score(self, inputs):
            return Scores(inputs.policy.log_prob(inputs.policy.params, None, None))

    with pytest.raises(ValueError, match="this score needs log_prob; pass it"):
        score_subsets(FITS, FEATURES, ADVANTAGE, kind=Calls(), params=PARAMS)


def test_names_stand_for_scores_with_their_options():
    rollouts = TracedRollouts(parameter_sum, 2)
    options = ScoreOptions(0.02, 5.0, rollouts)
    assert make_score("linearised", options) == MarginScore(linearised)
    assert make_score("off_policy", options) == OffPolicyScore(0.02, 5.0)
    assert make_score("rollout", options) == RolloutScore(rollouts, 0.02)
    score = Distance(1.0)
    assert make_score(score, options) is score
    splits = {name: make_score(name, options).splits_transitions for name in SCORES}
    assert splits == {"surrogate": True, "linearised": True, "off_policy": True, "rollout": False}
    assert len({hash(make_score(name, options)) for name in SCORES}) == 4


@pytest.mark.parametrize("kind", list(SCORES))
def test_the_object_scores_as_its_name_does(kind):
    given = {"mask": MASK, "subsets": MIXED, "projection": PROJECTION, "transitions": DATA}
    inputs = ScoreInputs(
        FITS, FEATURES, ADVANTAGE, policy=PolicyFunction(LOG_PROB, PARAMS), key=KEY, **given
    )
    score = make_score(kind, ScoreOptions(RHO, 1.5, TracedRollouts(parameter_sum)))
    shared = {"params": PARAMS, "log_prob": LOG_PROB, "key": KEY, **given}
    named = score_subsets(
        FITS, FEATURES, ADVANTAGE, kind=kind, rho=RHO, max_ratio=1.5, rollout=parameter_sum,
        **shared,
    )  # fmt: skip
    np.testing.assert_array_equal(score.score(inputs).values, named)
    as_object = score_subsets(FITS, FEATURES, ADVANTAGE, kind=score, **shared)
    np.testing.assert_array_equal(as_object, named)


@dataclass(frozen=True)
class Stepped:
    """Rollouts of a few subsets at a time on the host, as a program steps episodes in chunks."""

    chunk: int

    def returns(self, policies, subsets, key):
        size = int(np.asarray(subsets).sum(axis=1).max())
        members = np.asarray(subset_members(subsets, size))
        returns = np.zeros(members.shape, np.float32)
        for first in range(0, len(members), self.chunk):
            # The last chunk is filled up with the first subsets: one shape, one program.
            rows = np.arange(first, first + self.chunk) % len(members)
            params = policies.rows(rows)
            step = jax.vmap(parameter_sum, (0, 0, None))
            returns[rows] = step(params, jnp.asarray(members[rows]), key)
        return Scores(scatter_scores(jnp.asarray(returns), members, subsets), 10 * members.size)


def test_rollouts_may_be_stepped_in_chunks_and_count_their_steps():
    inputs = ScoreInputs(
        FITS, FEATURES, ADVANTAGE, subsets=MIXED, policy=PolicyFunction(LOG_PROB, PARAMS),
        projection=PROJECTION, key=KEY,
    )  # fmt: skip
    scores = RolloutScore(Stepped(2), RHO).score(inputs)
    assert scores.env_steps == 10 * MIXED.size
    np.testing.assert_allclose(scores.values, roll(parameter_sum, MIXED, rho=RHO), atol=1e-5)

"""Other tests see the package's own choices alone."""

import pytest

from pgx_jax.envs.families import FAMILIES
from pgx_jax.estimation.affinity.rules import AFFINITY_RULES
from pgx_jax.estimation.scores.base import SCORES
from pgx_jax.experiments.diagnostics import DIAGNOSTICS
from pgx_jax.experiments.methods import METHODS
from pgx_jax.networks import NETWORKS
from pgx_jax.rl.algorithms import ALGORITHMS

REGISTRIES = (FAMILIES, AFFINITY_RULES, SCORES, DIAGNOSTICS, METHODS, NETWORKS, ALGORITHMS)


@pytest.fixture(scope="module", autouse=True)
def as_before():
    """Takes out what a module registered once its tests have run."""
    entries = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, before in zip(REGISTRIES, entries, strict=True):
        for name in set(registry) - set(before):
            registry._entries.pop(name)

"""Methods that train one policy per group."""

import numpy as np

from pgx_jax.experiments.methods.base import Evidence, Method, add_method
from pgx_jax.grouping import gradient_similarity_grouping, random_grouping


def _estimated(evidence: Evidence) -> np.ndarray:
    return np.asarray(evidence.estimate.grouping.labels)


def _random(evidence: Evidence) -> np.ndarray:
    return random_grouping(evidence.seed, evidence.num_tasks, evidence.num_groups)


def _by_gradients(evidence: Evidence) -> np.ndarray:
    return gradient_similarity_grouping(
        np.asarray(evidence.features),
        evidence.num_groups,
        advantage=np.asarray(evidence.transitions.advantage),
        mask=np.asarray(evidence.transitions.mask),
        seed=evidence.seed,
    ).labels


add_method(
    Method("policygradex", "PolicyGradEx groups", _estimated, pays_for=("transitions", "scores"))
)
add_method(Method("random_grouping", "Random groups", _random))
add_method(
    Method(
        "gradient_similarity_grouping",
        "Gradient-similarity groups",
        _by_gradients,
        pays_for=("transitions",),
    )
)

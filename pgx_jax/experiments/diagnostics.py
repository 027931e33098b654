"""Diagnostics of a run, by name: measured after the comparison, shown in the report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.estimation import subset_coverage
from pgx_jax.experiments.methods import Evidence
from pgx_jax.registry import Registry


class RunEvidence(NamedTuple):
    """What a diagnostic may look at.

    Attributes:
        evidence: the estimate and what it was made from.
        family: the tasks.
        report: what the report holds so far.
    """

    evidence: Evidence
    family: TaskFamily
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Diagnostic:
    """A measurement of a run.

    Attributes:
        name: its key in ``report["diagnostics"]``.
        title: of its section in the report.
        measure: ``measure(run)`` -> numbers or texts by label.
    """

    name: str
    title: str
    measure: Callable[[RunEvidence], Mapping[str, float | str]]


DIAGNOSTICS: Registry[Diagnostic] = Registry("diagnostic")


def _coverage(run: RunEvidence) -> dict[str, float]:
    found = subset_coverage(run.evidence.estimate.subsets)
    subsets = np.asarray(run.evidence.estimate.subsets)
    return {
        "subsets": len(subsets),
        "fewest subsets that hold a pair": found.least,
        "most subsets that hold a pair": found.most,
        "fewest subsets that hold a task": int(subsets.sum(axis=0).min()),
    }


DIAGNOSTICS.register(
    "subset_coverage", Diagnostic("subset_coverage", "How often pairs met", _coverage)
)

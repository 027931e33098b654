"""Settings of the estimation, one small frozen record a stage.

A stage is given its own record and no other, and what it is given is what its hash is made of. This
file needs neither JAX nor NumPy: the command line reads it before anything heavy is loaded. A field
that names a choice takes the registered name, "MODULE:NAME", or the object itself.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ProjectionSettings:
    """What projects the gradients."""

    projection: str | Any = "gaussian"
    """gaussian, tensor_sketch (many times faster for linear layers) or rademacher."""
    dim: int = 400
    """Projection dimension d."""


@dataclass(frozen=True)
class DesignSettings:
    """Which task subsets are fitted; what is not given suits the number of tasks."""

    num_subsets: int | None = None
    """Task subsets m that are fitted; 2 n² up to 20 tasks, from a design beyond."""
    subset_size: int | None = None
    """Tasks in a subset; 4 up to 20 tasks, about the square root of n beyond."""


@dataclass(frozen=True)
class FitSettings:
    """How subsets are fitted."""

    l2: float = 1e-2
    """Ridge penalty of the fits, for features of unit mean square norm."""


@dataclass(frozen=True)
class ScoreSettings:
    """How adapted policies are judged."""

    score: str | Any = "rollout"
    """Policy evaluation: rollout, surrogate, linearised or off_policy."""
    rho: float | None = 0.1
    """Relative parameter distance of the adapted policies, for rollout and off_policy."""


@dataclass(frozen=True)
class AffinitySettings:
    """How scores become an affinity."""

    affinity: str | Any = None
    """How scores become an affinity: additive (up to 20 tasks where not given), completed (by low
    rank; beyond), pair or subset."""


@dataclass(frozen=True)
class GroupingSettings:
    """How many groups."""

    num_groups: int | None = None
    """Number of groups k; chosen on validation subsets where not given."""
    max_groups: int | None = None
    """Largest k that the automatic choice considers."""
    objective: str | Any = "mean"
    """What a grouping is worth: the mean within groups, as in the paper, or the sum."""


@dataclass(frozen=True)
class EstimationSettings:
    """From transitions to groups.

    Attributes:
        projection: what projects the gradients.
        design: which subsets are fitted.
        fit: how they are fitted.
        score: how adapted policies are judged.
        affinity: how scores become an affinity.
        grouping: how many groups.
    """

    projection: ProjectionSettings = field(default_factory=ProjectionSettings)
    design: DesignSettings = field(default_factory=DesignSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    affinity: AffinitySettings = field(default_factory=AffinitySettings)
    grouping: GroupingSettings = field(default_factory=GroupingSettings)

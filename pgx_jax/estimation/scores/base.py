"""What a score is: how well the policy adapted to a subset S serves task i, f_i(S).

A new score is one frozen dataclass and one ``SCORES.register(name, factory)``.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

from jax import Array

from pgx_jax.estimation.scores.adapted import AdaptedPolicies
from pgx_jax.registry import Registry
from pgx_jax.types import SubsetFits


class ScoreInputs(NamedTuple):
    """What a score may read. All but the first three may be None where it does not need them.

    Attributes:
        fits: ``SubsetFits`` of the m subsets, on these features.
        features: float[n, T, d].
        advantage: float[n, T], standardised per task.
        mask: bool[n, T], the transitions to score on; None means all.
        subsets: bool[m, n].
        policy: ``PolicyFunction``, with θ* for parameters.
        projection: the one that made the features.
        transitions: ``Transitions`` with leaves [n, T, ...].
        key: PRNG key.
    """

    fits: SubsetFits
    features: Array
    advantage: Array
    mask: Array | None = None
    subsets: Any = None
    policy: Any = None
    projection: Any = None
    transitions: Any = None
    key: Any = None


class Scores(NamedTuple):
    """Scores and what they cost.

    Attributes:
        values: float[m, n], f_i(S), higher is better; NaN where not defined.
        env_steps: environment steps taken for them, as far as they were counted.
    """

    values: Array
    env_steps: int = 0


class Score(Protocol):
    """A score: a frozen dataclass, its options the fields.

    Its class may list in ``needs`` the arguments of ``score_subsets`` that it cannot do without;
    these are then checked before any work.

    Attributes:
        splits_transitions: whether the fits have to be made on one half of the transitions and
            the scores on the other.
    """

    splits_transitions: ClassVar[bool]

    def score(self, inputs: ScoreInputs) -> Scores:
        """f_i(S) of every subset and task."""
        ...


class Rollouts(Protocol):
    """How policies are stepped in the environments of the tasks."""

    def returns(self, policies: AdaptedPolicies, subsets: Array, key: Array) -> Scores:
        """Mean returns of every θ_S in the members of S.

        Args:
            policies: of the m subsets.
            subsets: bool[m, n].
            key: PRNG key, the same for every subset, so that differences between subsets are not
                drowned by the luck of the initial states.

        Returns:
            ``Scores``; NaN where the task is not in the subset.
        """
        ...


class ScoreOptions(NamedTuple):
    """What a score can be set by where it is chosen by name.

    Attributes:
        rho: distance |θ_S - θ*| / |θ*|, > 0; None takes P x_S as it is.
        max_ratio: importance ratios are clipped here.
        rollouts: steps the policies.
    """

    rho: float | None = None
    max_ratio: float = 10.0
    rollouts: Rollouts | None = None


SCORES: Registry[Callable[[ScoreOptions], Score]] = Registry("score")


def make_score(kind: str | Score, options: ScoreOptions) -> Score:
    """The score that a name stands for; a score itself is returned as it is.

    Args:
        kind: a name in ``SCORES``, "MODULE:NAME" for the factory in a module, or the score.
        options: what a named score is set by.

    Returns:
        The score.

    Raises:
        ValueError: an unknown name.
    """
    if not isinstance(kind, str):
        return kind
    if kind not in SCORES and ":" not in kind:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(SCORES)}")
    return SCORES.find(kind)(options)

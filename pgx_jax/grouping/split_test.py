"""When to split one policy into groups: a test on fresh batches, one at a time.

Every batch of training gives a transfer matrix K (``pgx_jax.estimation.transfer``): K_ij > 0 says
that a step for task j helps task i, to first order. Within a budget, groups that each take their
share of the steps gain Σ_g |Σ_{i ∈ g} g_i|² = tr D + S(P), where one policy gains tr D + S(1); S
sums K over ordered pairs i ≠ j within groups, and D is the diagonal, both without noise. For a
partition P that was chosen on earlier batches, and a fresh batch b,

    y_b = (tr D_b + S_b(P)) - r (tr D_b + S_b(1))

has a mean above 0 exactly where P's groups gain more than r times what one policy gains, whatever
P was chosen by: no batch values a partition that it had a part in choosing. The last of these are
tested by their mean over its standard error, z.

Differences from the published method (PolicyGradEx, arXiv 2511.12779): it has no such test; its
groups are made once, from a number of groups that is given.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pgx_jax.grouping.best_partitions import best_partitions


@dataclass(frozen=True)
class SplitTest:
    """Settings of the test, and the test itself.

    Attributes:
        ratio: r ≥ 1, how many times as much as one policy groups have to gain, to first order.
        threshold: z above which to split.
        fit_batches: batches that partitions are chosen on, the last ones.
        test_batches: fresh batches that are tested, the last ones; so many are waited for.
        max_groups: largest k.
    """

    ratio: float = 3.0
    threshold: float = 4.0
    fit_batches: int = 6
    test_batches: int = 8
    max_groups: int = 6

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is outside its range."""
        if not self.ratio >= 1:
            raise ValueError(f"ratio is {self.ratio}; it must be at least 1")
        for name, least in (("fit_batches", 2), ("test_batches", 3), ("max_groups", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    def init(self, num_tasks: int) -> "SplitState":
        """The state before the first batch."""
        if num_tasks < 2:
            raise ValueError(f"num_tasks is {num_tasks}; fewer than two cannot be split")
        return SplitState(num_tasks, (), (), ())

    def update(self, state: "SplitState", transfer: np.ndarray) -> "SplitState":
        """The state after one more batch.

        Args:
            state: from ``init`` or an earlier update.
            transfer: float[n, n], K of the batch, its diagonal without noise (D).

        Returns:
            The next state.

        Raises:
            ValueError: not [n, n], or a number that is not finite.
        """
        transfer = np.asarray(transfer, np.float64)
        if transfer.shape != (state.num_tasks,) * 2:
            count = state.num_tasks
            raise ValueError(f"transfer has shape {transfer.shape}; expected [{count}, {count}]")
        if not np.isfinite(transfer).all():
            raise ValueError(
                "the transfer matrix holds NaN or infinity; check the gradients that it is made of"
            )
        gains = state.gains
        if len(state.transfers) >= 2:
            # Chosen on earlier batches alone, valued on this one.
            chosen = self._partitions(state.transfers)
            gains = (*gains, tuple(_gain(transfer, labels) for labels in chosen.values()))
        singles = (*state.singles, _gain(transfer, np.zeros(len(transfer), np.int64)))
        return SplitState(
            state.num_tasks,
            (*state.transfers, transfer)[-self.fit_batches :],
            gains[-self.test_batches :],
            singles[-self.test_batches :],
        )

    def evidence(self, state: "SplitState") -> "SplitEvidence":
        """What the batches so far say.

        Args:
            state: from ``update``.

        Returns:
            ``SplitEvidence``; z is -inf before there are ``test_batches`` fresh ones.
        """
        if len(state.gains) < self.test_batches:
            one = np.zeros(state.num_tasks, np.int64)
            return SplitEvidence(False, one, 1, -np.inf, 1.0, len(state.gains))
        gains = np.array(state.gains)
        singles = np.array(state.singles[-len(gains) :])
        excess = gains - self.ratio * singles[:, None]
        error = excess.std(axis=0, ddof=1) / np.sqrt(len(excess))
        scores = excess.mean(axis=0) / np.maximum(error, 1e-12)
        best = int(scores.argmax())
        labels = list(self._partitions(state.transfers).values())[best]
        single = float(singles.mean())
        factor = float(gains[:, best].mean()) / single if single > 0 else np.inf
        z = float(scores[best])
        return SplitEvidence(
            z > self.threshold, labels, int(labels.max()) + 1, z, factor, len(excess)
        )

    def _partitions(self, transfers: tuple[np.ndarray, ...]) -> dict[int, np.ndarray]:
        """Partitions into 2, 3, ... groups, best for the mean of some batches."""
        found = best_partitions(np.mean(transfers, axis=0), self.max_groups)
        return {count: labels for count, labels in found.items() if count > 1}


class SplitState(NamedTuple):
    """What the test remembers; plain tuples and arrays, so that it can be stored.

    Attributes:
        num_tasks: n.
        transfers: the last transfer matrices, to choose partitions on.
        gains: the last fresh batches' gains, by number of groups from 2 on.
        singles: the same for one policy.
    """

    num_tasks: int
    transfers: tuple[np.ndarray, ...]
    gains: tuple[tuple[float, ...], ...]
    singles: tuple[float, ...]


class SplitEvidence(NamedTuple):
    """Whether to split, and how.

    Attributes:
        split: whether z is above the threshold.
        labels: int[n], the groups to split into if so; k of the largest z.
        num_groups: their number.
        z: mean excess gain over its standard error.
        factor: the groups' gain over that of one policy, both to first order; infinite where one
            policy gains nothing.
        num_batches: fresh batches that say so.
    """

    split: bool
    labels: np.ndarray
    num_groups: int
    z: float
    factor: float
    num_batches: int


def _gain(transfer: np.ndarray, labels: np.ndarray) -> float:
    """Σ_g |Σ_{i ∈ g} g_i|² in the units of the transfer matrix."""
    return float(transfer[labels[:, None] == labels].sum())

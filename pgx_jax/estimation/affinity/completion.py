"""Affinity where pairs are sampled rarely or never: low-rank effects fitted to all scores at once.

    f_i(S) ≈ a_i + Σ_{j ∈ S, j ≠ i} B_ij,   B symmetric,   minimising

    ½ Σ_{S, i ∈ S} (z_i(S) - a_i - Σ_j B_ij)² + λ |B|_*

over the intercepts a and B, where z are the scores standardised per task and |B|_* is the sum of
the absolute eigenvalues. A pair that shares no subset is filled in from how its tasks go with
others. Accelerated proximal gradient; λ, and so the rank, is chosen on validation subsets.

Differences from the paper (PolicyGradEx, arXiv 2511.12779):

1. The paper averages scores over the subsets that hold a pair, so every pair needs several. This
   takes whole subsets as equations, and needs about as many scores as B has degrees of freedom.
2. B_ii is free, because a low rank asks for it; it moves no prediction. It is returned as 0.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jax import Array

from pgx_jax.effects import standardise_scores
from pgx_jax.estimation import validation

# Penalties tried, as shares of the least one that leaves nothing of B.
SHARES = (0.85, 0.65, 0.5, 0.38, 0.29, 0.22, 0.16, 0.12)
# Beyond so many tasks one fold judges the penalties, and eigenvectors are iterated, not computed.
LARGE_PROBLEM = 200
LARGEST_RANK = 64
NUM_FOLDS = 5
MAX_STEPS = 30
# Steps end where B changes by a smaller share.
TOLERANCE = 2e-3


class CompletedAffinity(NamedTuple):
    """A low-rank affinity and how it was chosen.

    Attributes:
        affinity: float64[n, n], B, symmetric, diagonal 0.
        rank: eigenvalues of B (its own diagonal included) that are not zero.
        share: the penalty, as a share of the least one that leaves nothing.
        errors: by share, the mean squared error on validation subsets, in units of the variance.
        max_rank: largest rank that was allowed.
    """

    affinity: np.ndarray
    rank: int
    share: float
    errors: dict[float, float]
    max_rank: int

    def refit(self, scores: Array | np.ndarray, subsets: Array | np.ndarray) -> np.ndarray:
        """The affinity from other scores, such as a part of them, with the same penalty and rank.

        Args:
            scores: float[m, n].
            subsets: bool[m, n]; the affinity of a task that is in none of them is 0.

        Returns:
            float64[n, n], symmetric, diagonal 0.

        Raises:
            ValueError: a shape differs, or a score of a member is not finite.
        """
        problem = _standardised(*_check(scores, subsets))
        shares = SHARES[: SHARES.index(self.share) + 1]
        *_, effects = _regularisation_path(problem, shares, self.max_rank)
        return _symmetric(effects)


class _Problem(NamedTuple):
    """Standardised scores [m, n] (0 outside), and membership [m, n] as numbers."""

    scores: np.ndarray
    member: np.ndarray

    def centre(self, values: np.ndarray) -> np.ndarray:
        """Less the mean of each column over the subsets that hold the task; 0 elsewhere."""
        count = np.maximum(self.member.sum(axis=0), 1.0)
        return self.member * (values - (self.member * values).sum(axis=0) / count)

    def gradient(self, effects: np.ndarray) -> np.ndarray:
        """Of the squared errors, in the symmetric B."""
        residual = self.centre(self.member @ effects) - self.scores
        gradient = self.member.T @ residual
        np.fill_diagonal(gradient, 0.0)
        return 0.5 * (gradient + gradient.T)


def completed_affinity(
    scores: Array | np.ndarray,
    subsets: Array | np.ndarray,
    *,
    max_rank: int | None = None,
    num_folds: int | None = None,
    seed: int = 0,
) -> CompletedAffinity:
    """Affinity of all pairs by low-rank effects, for designs with few subsets.

    Args:
        scores: float[m, n], f_i(S), higher is better; read only where the task is in the subset.
        subsets: bool[m, n]. Two tasks need not share a subset, but each must be in one.
        max_rank: largest rank of B, ≥ 1; None means n up to 200 tasks and 64 beyond, where it
            saves most of the time.
        num_folds: folds of subsets that judge the penalties, ≥ 2, at most m; None means 5, of
            which beyond 200 tasks only the first is for validation.
        seed: of the folds.

    Returns:
        ``CompletedAffinity``, on the host; not for ``jit``.

    Raises:
        ValueError: a shape differs, a score of a member is not finite, a task is in no subset,
            fewer than four subsets, or options out of range.

    Reference:
        Mazumder, Hastie and Tibshirani (2010), "Spectral regularization algorithms for learning
        large incomplete matrices"; Beck and Teboulle (2009) for the acceleration.
    """
    scores, subsets = _check(scores, subsets)
    _check_enough(subsets)
    num_subsets, num_tasks = subsets.shape
    if max_rank is not None and max_rank < 1:
        raise ValueError(f"max_rank is {max_rank}; it must be at least 1")
    if num_folds is not None and not 2 <= num_folds <= num_subsets:
        raise ValueError(f"num_folds is {num_folds}; it must be from 2 to m = {num_subsets}")
    large = num_tasks > LARGE_PROBLEM
    rank = min(num_tasks, max_rank or (LARGEST_RANK if large else num_tasks))
    folds = min(num_folds or NUM_FOLDS, num_subsets)
    judges = range(1 if large and num_folds is None else folds)

    whole = _standardised(scores, subsets)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(num_subsets) % folds)
    squares = np.full(len(SHARES), np.inf)
    for number in judges:
        added = _validation_squares(whole, fold == number, rank, patient=len(judges) > 1)
        squares = added + np.where(np.isfinite(squares), squares, 0.0)
    errors = squares / subsets[np.isin(fold, judges)].sum()
    chosen = int(errors.argmin())
    *_, effects = _regularisation_path(whole, SHARES[: chosen + 1], rank)
    eigenvalues = np.abs(np.linalg.eigvalsh(effects))
    tiny = 1e-9 if effects.dtype == np.float64 else 1e-5
    num_used = int(np.sum(eigenvalues > tiny * max(float(eigenvalues.max()), 1e-300)))
    tried = {
        share: float(error)
        for share, error in zip(SHARES, errors, strict=True)
        if np.isfinite(error)
    }
    return CompletedAffinity(_symmetric(effects), num_used, SHARES[chosen], tried, rank)


def _symmetric(effects: np.ndarray) -> np.ndarray:
    affinity = 0.5 * (effects + effects.T).astype(np.float64)
    np.fill_diagonal(affinity, 0.0)
    return affinity


def _validation_squares(
    whole: _Problem, judge: np.ndarray, rank: int, *, patient: bool
) -> np.ndarray:
    """Squared errors on validation subsets bool[m] for each penalty; inf for those not tried."""
    problem = _Problem(whole.scores[~judge], whole.member[~judge])
    problem = problem._replace(scores=problem.centre(problem.scores))
    held = np.maximum(problem.member.sum(axis=0), 1.0)
    intercept = whole.scores[~judge].sum(axis=0) / held
    judged = whole.member[judge]
    squares = np.full(len(SHARES), np.inf)
    for row, effects in enumerate(_regularisation_path(problem, SHARES, rank)):
        mean = (problem.member * (problem.member @ effects)).sum(axis=0) / held
        predicted = intercept + judged @ effects - mean
        squares[row] = np.sum((judged * (whole.scores[judge] - predicted)) ** 2)
        # One fold can stop where errors rise; with several, they may rise in one of them only.
        if not patient and row >= squares.argmin() + 2:
            break
    return squares


def _regularisation_path(
    problem: _Problem, shares: tuple[float, ...], rank: int
) -> Iterator[np.ndarray]:
    """B for each penalty, from the largest, each from where the last one ended."""
    num_tasks = problem.member.shape[1]
    effects = np.zeros((num_tasks, num_tasks), problem.member.dtype)
    basis = _Eigenvectors(num_tasks, rank)
    largest = float(np.abs(basis.leading(problem.gradient(effects))[0]).max())
    step = 1.0 / _lipschitz(problem)
    for share in shares:
        effects = _minimise(problem, effects, share * largest, step, basis)
        yield effects


def _minimise(
    problem: _Problem, effects: np.ndarray, penalty: float, step: float, basis: "_Eigenvectors"
) -> np.ndarray:
    """Accelerated proximal gradient, restarted where it overshoots."""
    ahead, momentum = effects, 1.0
    for _ in range(MAX_STEPS):
        moved = ahead - step * problem.gradient(ahead)
        values, vectors = basis.leading(moved)
        shrunk = np.sign(values) * np.maximum(np.abs(values) - step * penalty, 0.0)
        following = (vectors * shrunk) @ vectors.T
        change = following - effects
        if np.sum((ahead - following) * change) > 0:
            momentum = 1.0
        faster = 0.5 * (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5)
        ahead = following + (momentum - 1.0) / faster * change
        effects, momentum = following, faster
        if np.linalg.norm(change) <= TOLERANCE * np.linalg.norm(effects):
            break
    return effects


class _Eigenvectors:
    """Leading eigenpairs, by magnitude, of one slowly changing symmetric matrix after another."""

    def __init__(self, num_tasks: int, rank: int) -> None:
        self.rank = rank
        # A few more columns than are wanted make the wanted ones converge faster.
        width = min(num_tasks, rank + 8)
        self.basis = np.random.default_rng(0).normal(size=(num_tasks, width))
        self.fresh = True

    def leading(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues [r] and eigenvectors [n, r]."""
        if 2 * self.rank >= len(matrix):
            values, vectors = np.linalg.eigh(matrix)
        else:
            self.basis = self.basis.astype(matrix.dtype)
            for _ in range(8 if self.fresh else 2):
                self.basis = np.linalg.qr(matrix @ self.basis)[0]
            self.fresh = False
            values, inner = np.linalg.eigh(self.basis.T @ matrix @ self.basis)
            vectors = self.basis @ inner
            self.basis = vectors
        order = np.argsort(-np.abs(values))[: self.rank]
        return values[order], vectors[:, order]


def _lipschitz(problem: _Problem) -> float:
    """Largest curvature of the squared errors, by power iteration, with a margin."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(problem.member.shape[1],) * 2).astype(problem.member.dtype)
    effects = effects + effects.T
    plain = problem._replace(scores=np.zeros_like(problem.scores))
    size = 1.0
    for _ in range(12):
        effects = plain.gradient(effects / np.linalg.norm(effects))
        size = float(np.linalg.norm(effects))
        if size == 0.0:
            return 1.0
    return 1.2 * size


def _standardised(scores: np.ndarray, subsets: np.ndarray) -> _Problem:
    # The products of large matrices take most of the time, and float32 halves it.
    number = np.float32 if subsets.shape[1] > LARGE_PROBLEM else np.float64
    return _Problem(standardise_scores(scores, subsets).astype(number), subsets.astype(number))


def _check(
    scores: Array | np.ndarray, subsets: Array | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    scores, subsets = np.asarray(scores), np.asarray(subsets)
    if scores.ndim != 2 or scores.shape != subsets.shape:
        raise ValueError(
            f"scores has shape {scores.shape} and subsets {subsets.shape}; "
            "both must be [num_subsets, num_tasks]"
        )
    validation.check_subsets(subsets, scores.shape[1])
    validation.check_scores(scores, subsets)
    return scores, subsets


def _check_enough(subsets: np.ndarray) -> None:
    missing = np.flatnonzero(~subsets.any(axis=0))
    if missing.size:
        raise ValueError(
            f"tasks {missing[:8].tolist()}{' and more' if missing.size > 8 else ''} are in no "
            "subset, so nothing is known of them; sample some, or leave these tasks out"
        )
    if len(subsets) < 4:
        raise ValueError(
            f"there are {len(subsets)} subsets; at least 4 are needed, some of them for validation"
        )

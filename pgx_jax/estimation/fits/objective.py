"""The objective of all subset fits, in scaled coordinates, and the factors of its metrics."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.fits.lbfgs import Scalar

matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


class FitLimits(NamedTuple):
    """The numbers of a fit; plain ones or scalars under ``jit``.

    Attributes:
        l2: ridge penalty > 0.
        tol: relative objective gap to reach.
        max_steps: L-BFGS steps at most.
        max_newton_steps: Newton steps at most for each subset that these leave over.
    """

    l2: Scalar = 1e-2
    tol: Scalar = 1e-6
    max_steps: Scalar = 100
    max_newton_steps: Scalar = 50

    def as_arrays(self) -> "FitLimits":
        """One type for each number, so that l2=1 after l2=1.0 does not recompile."""
        reals = [jnp.asarray(value, jnp.float32) for value in self[:2]]
        return FitLimits(*reals, *(jnp.asarray(value, jnp.int32) for value in self[2:]))


class Data(NamedTuple):
    """The transitions of all tasks, in scaled coordinates θ = c x."""

    signed: Array  # [n, T, d]: y g̃ / c
    weight: Array  # [n, T]: |A|, 0 where masked
    num_valid: Array  # [n]: valid transitions of a task
    seen: Array  # bool[n, d]: columns that are not zero throughout the task
    ridge: Array  # [d]: l2 / c²


@dataclass(frozen=True)
class SubsetProblem:
    """The fits of some subsets over the data of all tasks; vectors are [m, d]."""

    data: Data
    subsets: Array  # bool[m, n]
    subset_of: Array  # int[n, capacity]: subsets that hold the task, padded with m
    num_valid: Array  # [m]: |D_S|
    seen: Array  # bool[m, d]: columns that are not zero throughout the subset

    def inner(self, left: Array, right: Array) -> Array:
        """Inner products, [m]."""
        return (left * right).sum(axis=-1)

    def margins(self, theta: Array) -> Array:
        """Y g̃·x of every transition under each subset that holds its task, [n, T, capacity]."""
        return lax.map(
            lambda task: matmul(task[0], task[1].T), (self.data.signed, self._gather(theta))
        )

    def shifted(self, margins: Array, length: Array, change: Array) -> Array:
        """Margins after steps of ``length`` [m] along directions with margins ``change``."""
        return margins + self._gather(length)[:, None, :] * change

    def renewed(self, theta: Array) -> Array:
        """The coordinates as they are: they carry nothing."""
        return theta

    def loss(self, theta: Array, margins: Array) -> Array:
        """L_S per subset, [m]."""
        data = jnp.einsum("nt,ntc->nc", self.data.weight, jax.nn.softplus(-margins))
        ridge = 0.5 * (self.data.ridge[None] * theta**2).sum(axis=-1)
        return self._scatter_add(data) / self.num_valid + ridge

    def gradient(self, theta: Array, margins: Array) -> Array:
        """Gradient of L_S in the scaled coordinates per subset, [m, d]."""
        parts = lax.map(
            lambda task: matmul((task[1][:, None] * jax.nn.sigmoid(-task[2])).T, task[0]),
            (self.data.signed, self.data.weight, margins),
        )
        return -self._scatter_add(parts) / self.num_valid[:, None] + self.data.ridge[None] * theta

    def gap(self, gradient: Array) -> Array:
        """Bound on L_S(x) - min L_S by strong convexity, [m]."""
        return 0.5 * (gradient**2 / self.data.ridge[None]).sum(axis=-1)

    def _gather(self, values: Array) -> Array:
        """Rows of the subsets that hold each task, [n, capacity, ...]; 0 where padded."""
        return values.at[self.subset_of].get(mode="fill", fill_value=0)

    def _scatter_add(self, values: Array) -> Array:
        """Sum over tasks of what each gives to the subsets that hold it, [m, ...]."""
        total = jnp.zeros((self.subsets.shape[0], *values.shape[2:]), values.dtype)
        return total.at[self.subset_of].add(values, mode="drop")


def scale_data(features: Array, advantage: Array, mask: Array, l2: Scalar) -> tuple[Data, Array]:
    """The data in scaled coordinates, and the scale c[d] with θ = c x."""
    features, advantage = features.astype(jnp.float32), advantage.astype(jnp.float32)
    valid = mask.astype(bool)
    weight = jnp.where(valid, jnp.abs(advantage), 0.0)
    signed = jnp.where(valid[..., None], jnp.sign(advantage)[..., None] * features, 0.0)
    # Two passes, so that squares of very small or very large columns stay within float32.
    largest = jnp.abs(signed).max(axis=(0, 1))
    largest = jnp.where(largest > 0, largest, 1.0)
    spread = jnp.sqrt(
        jnp.einsum("nt,ntd->d", weight, (signed / largest[None, None]) ** 2) / weight.sum()
    )
    scale = largest * jnp.where(spread > 0, spread, 1.0)
    data = Data(
        signed=signed / scale[None, None],
        weight=weight,
        num_valid=valid.sum(axis=1).astype(jnp.float32),
        seen=(signed != 0).any(axis=1),
        ridge=(l2 / scale**2).astype(jnp.float32),
    )
    return data, scale


def subset_capacity(subsets: Array, shares: int = 1) -> int:
    """The most subsets that hold one task in any of ``shares`` equal parts of them, or a bit more.

    Rounded up, so that another draw of the same design seldom recompiles.
    """
    size = -(-subsets.shape[0] // shares)
    if not validation.is_concrete(subsets):
        return size
    index = np.minimum(np.arange(size * shares), subsets.shape[0] - 1)
    most = int(np.asarray(subsets)[index].reshape(shares, size, -1).sum(axis=1).max())
    return min(-(-most // 16) * 16, size)


def subsets_of_tasks(subsets: Array, capacity: int) -> Array:
    """Which subsets hold each task, int[n, capacity], padded with m."""
    _, subset_of = lax.top_k(subsets.T.astype(jnp.int8), capacity)
    held = jnp.take_along_axis(subsets.T, subset_of, axis=1)
    return jnp.where(held, subset_of, subsets.shape[0])


def make_problem(data: Data, subsets: Array, capacity: int) -> SubsetProblem:
    """The fits of ``subsets``; ``capacity`` is the most of them that hold one task."""
    member = subsets.astype(jnp.float32)
    return SubsetProblem(
        data=data,
        subsets=subsets,
        subset_of=subsets_of_tasks(subsets, capacity),
        num_valid=matmul(member, data.num_valid),
        seen=matmul(member, data.seen.astype(jnp.float32)) > 0,
    )


def inverse_root(matrices: Array) -> Array:
    """R[m, d, d] with Rᵀ R = (B + jitter)⁻¹ for symmetric positive semidefinite B[m, d, d].

    The jitter is relative to the diagonal and as small as a float32 factorisation allows; a
    larger matrix still majorises what B does.
    """
    dim = matrices.shape[-1]
    diagonal = jnp.diagonal(matrices, axis1=1, axis2=2)
    # A feature that is zero throughout a subset leaves only its ridge, which may underflow.
    unit = lax.rsqrt(jnp.maximum(diagonal, jnp.finfo(jnp.float32).tiny * 1e4))
    matrices = matrices * unit[:, :, None] * unit[:, None, :]
    identity = jnp.broadcast_to(jnp.eye(dim, dtype=jnp.float32), matrices.shape)

    def factor(jitter: Array) -> Array:
        shifted = matrices + jitter[:, None, None] * identity
        return lax.linalg.cholesky(shifted, symmetrize_input=False)

    def broken(lower: Array) -> Array:
        return ~jnp.isfinite(lower).all(axis=(1, 2))

    def enlarge(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        jitter = jnp.where(broken(carry[1]), carry[0] * 4, carry[0])
        return jitter, factor(jitter)

    first = jnp.full(matrices.shape[0], 1e-7, jnp.float32)
    lower = lax.while_loop(
        lambda carry: jnp.any(broken(carry[1]) & (carry[0] < 1e3)),
        enlarge,
        (first, factor(first)),
    )[1]
    return lax.linalg.triangular_solve(lower, identity, left_side=True, lower=True) * unit[:, None]


def mean_majoriser(data: Data, subsets: Array) -> Array:
    """Mean over the subsets of B_S = (1/4|D_S|) Σ_i G_iᵀ diag(w) G_i + ridge, [d, d]."""
    num_valid = matmul(subsets.astype(jnp.float32), data.num_valid)
    share = (subsets / (4 * num_valid[:, None])).mean(axis=0)
    root = jnp.sqrt(share[:, None] * data.weight)

    def add_task(total: Array, task: tuple[Array, Array]) -> tuple[Array, None]:
        scaled = task[0] * task[1][:, None]
        return total + matmul(scaled.T, scaled), None

    return lax.scan(add_task, jnp.diag(data.ridge), (data.signed, root))[0]

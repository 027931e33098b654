"""Work split over the devices of a mesh: transitions for features, subsets for fits.

A mesh may span several processes (``jax.distributed``). Every process then makes the same calls
with the same values; what comes back is one global array.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def split_rows(
    function: Callable[..., Any], mesh: Mesh | None, rows: Any, *shared: Any, axis: int = 0
) -> Any:
    """``function(rows, *shared)`` with the rows divided among the devices of a mesh.

    Call it under ``jit``. Each device runs ``function`` on its own rows, with no communication,
    so that loops inside may take different numbers of steps. Where the rows are no multiple of
    the devices, the last one is repeated and its results are dropped.

    Args:
        function: its results are a pytree of arrays whose ``axis`` follows that of the rows.
        mesh: all of its axes are used as one; None runs ``function`` as it is.
        rows: pytree of arrays with equal lengths along ``axis``.
        shared: what every device gets whole.
        axis: which axis is divided, in rows and results.

    Returns:
        What ``function`` returns.
    """
    if mesh is None:
        return function(rows, *shared)
    mesh = _automatic(mesh)
    count = jax.tree.leaves(rows)[0].shape[axis]
    share = -(-count // num_devices(mesh))
    index = jnp.minimum(jnp.arange(share * num_devices(mesh)), count - 1)
    padded = jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=axis), rows)
    divided = PartitionSpec(*[None] * axis, mesh.axis_names)
    whole = tuple(PartitionSpec() for _ in shared)
    result = jax.shard_map(
        function, mesh=mesh, in_specs=(divided, *whole), out_specs=divided, check_vma=False
    )(padded, *shared)
    return jax.tree.map(lambda leaf: jax.lax.slice_in_dim(leaf, 0, count, axis=axis), result)


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """The same arrays, whole on every device of the mesh; call it under ``jit``."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(_automatic(mesh), PartitionSpec()))


def num_devices(mesh: Mesh) -> int:
    """How many devices a mesh has."""
    return math.prod(mesh.devices.shape)


def check_mesh(mesh: Any) -> None:
    """Raise TypeError where ``mesh`` is neither None nor a mesh."""
    if mesh is not None and not isinstance(mesh, Mesh):
        raise TypeError(
            f"mesh is {type(mesh).__name__}; pass a jax.sharding.Mesh, for example "
            'jax.make_mesh((jax.device_count(),), ("devices",)), or None for one device'
        )


def spread(value: Array | Any, mesh: Mesh | None) -> Any:
    """Values that every process holds, as global arrays of the mesh; outside ``jit``."""
    if mesh is None:
        return value
    sharding = NamedSharding(_automatic(mesh), PartitionSpec())

    def one(leaf: Any) -> Array:
        if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) == num_devices(mesh):
            return leaf
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                one(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        return jax.device_put(np.asarray(leaf), sharding)

    return jax.tree.map(one, value)


def _automatic(mesh: Mesh) -> Mesh:
    """The mesh with the compiler free to lay out what no one lays out by hand."""
    axis_types = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=axis_types)

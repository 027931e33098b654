"""Run in processes of their own: the fits on a mesh against the fits on one device.

python -m tests.estimation.on_devices            # eight forced devices of one process
python -m tests.estimation.on_devices PORT RANK  # one of two processes, four devices each
"""

import os
import sys

ALONE = len(sys.argv) == 1
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={8 if ALONE else 4}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental.multihost_utils import process_allgather  # noqa: E402

import pgx_jax  # noqa: E402


def policy(params, observation, action):
    hidden = jnp.tanh(observation @ params["first"] + params["bias"])
    return jax.nn.log_softmax(hidden @ params["last"])[action]


def whole(leaf):
    if leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.asarray(leaf)
    return process_allgather(leaf, tiled=True)


def main() -> None:
    if not ALONE:
        jax.distributed.initialize(
            f"127.0.0.1:{sys.argv[1]}", num_processes=2, process_id=int(sys.argv[2])
        )
    assert jax.device_count() == 8
    rng = np.random.default_rng(0)
    # In one process neither the transitions nor the 13 subsets divide by eight; in two the
    # transitions do, and what comes back is left divided.
    num_tasks, num_steps = 5, 21 if ALONE else 24
    shapes = {"first": (3, 6), "bias": (6,), "last": (6, 2)}
    params = {name: rng.normal(size=size).astype(np.float32) for name, size in shapes.items()}
    mask = rng.random((num_tasks, num_steps)) < 0.9
    transitions = pgx_jax.Transitions(
        rng.normal(size=(num_tasks, num_steps, 3)).astype(np.float32),
        rng.integers(0, 2, (num_tasks, num_steps)),
        rng.normal(size=(num_tasks, num_steps)).astype(np.float32),
        mask,
    )
    subsets = (np.arange(1, 14)[:, None] * 2 + 5 >> np.arange(num_tasks)) % 2 == 1
    mesh = jax.make_mesh((4, 2), ("one", "other"))

    def results(mesh):
        sketch = pgx_jax.tensor_sketch(jax.random.key(1), params, 16)
        sketched = pgx_jax.gradient_features(policy, params, transitions, sketch, mesh=mesh)
        projection = pgx_jax.gaussian_projection(jax.random.key(1), params, 16)
        features = pgx_jax.gradient_features(policy, params, transitions, projection, mesh=mesh)
        fits = pgx_jax.fit_subsets(
            features, transitions.advantage, subsets, l2=1e-2, mask=mask, mesh=mesh
        )
        scores = pgx_jax.score_subsets(fits, features, transitions.advantage, mask=mask)
        affinity = pgx_jax.task_affinity(scores, subsets)
        if ALONE:
            found = pgx_jax.group_tasks(
                policy, params, transitions, num_groups=2, key=jax.random.key(2), dim=16, mesh=mesh
            )
            affinity = affinity + found.affinity
        return [whole(leaf) for leaf in (sketched, features, *fits, affinity)]

    for alone, divided in zip(results(None), results(mesh), strict=True):
        np.testing.assert_allclose(divided, alone, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    main()

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgx_jax
from pgx_jax.estimation.devices import split_rows
from tests.estimation.data import all_subsets, problem

ROOT = Path(__file__).parents[2]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.estimation.on_devices", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * len(processes), outputs


@pytest.mark.slow
def test_eight_devices_give_what_one_gives():
    finish(start())


@pytest.mark.slow
def test_two_processes_give_what_one_gives():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    finish(*[start(port, rank) for rank in (0, 1)])


def test_a_mesh_of_one_device_changes_nothing():
    features, advantage, mask = problem("plain")
    mesh = jax.make_mesh((1,), ("devices",))
    alone, divided = (
        pgx_jax.fit_subsets(features, advantage, all_subsets(), mask=mask, mesh=own)
        for own in (None, mesh)
    )
    for one, other in zip(alone, divided, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_without_a_mesh_rows_are_left_as_they_are():
    rows = jnp.arange(6.0)
    np.testing.assert_array_equal(split_rows(lambda x, y: x * y, None, rows, 2.0), rows * 2)


def test_what_is_no_mesh():
    features, advantage, _ = problem("plain")
    with pytest.raises(TypeError, match=r"mesh is list; pass a jax.sharding.Mesh"):
        pgx_jax.fit_subsets(features, advantage, all_subsets(), mesh=jax.devices())

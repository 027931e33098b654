"""Every module here compiles environments of its own; what it leaves is freed when it is done."""

import gc

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def _free_compiled_programs():
    yield
    jax.clear_caches()
    gc.collect()

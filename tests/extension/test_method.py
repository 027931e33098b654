"""A compared method from outside the package: a policy for every task."""

import numpy as np
import pytest

from pgx_jax.experiments.methods import METHODS, Method
from tests.extension.tiny import tiny_run


def every_task_alone(evidence):
    return np.arange(evidence.num_tasks)


@pytest.fixture(scope="module", autouse=True)
def registered():
    METHODS.register("specialists", Method("specialists", "One policy a task", every_task_alone))


@pytest.mark.slow
def test_a_run_uses_it_by_name(tmp_path):
    report = tiny_run(tmp_path, methods=("policygradex", "specialists"))
    assert report["methods"]["specialists"] == "One policy a task"
    assert report["method_labels"]["specialists"] == [0, 1, 2, 3]
    one = report["num_params"]["policygradex"] // report["num_groups"]
    assert report["num_params"]["specialists"] == 4 * one
    assert "One policy a task" in (tmp_path / "report.html").read_text()

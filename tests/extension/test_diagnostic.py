"""A diagnostic from outside the package: what it measures is in the report and on the page."""

import numpy as np
import pytest

from pgx_jax.experiments.diagnostics import DIAGNOSTICS, Diagnostic
from tests.extension.tiny import tiny_run


def symmetry(run):
    affinity = np.asarray(run.evidence.estimate.affinity)
    return {"largest asymmetry": float(np.abs(affinity - affinity.T).max()), "verdict": "symmetric"}


@pytest.fixture(scope="module", autouse=True)
def registered():
    DIAGNOSTICS.register("symmetry", Diagnostic("symmetry", "Is the affinity symmetric?", symmetry))


@pytest.mark.slow
def test_a_run_uses_it_by_name(tmp_path):
    report = tiny_run(tmp_path, methods=(), diagnostics=("symmetry", "subset_coverage"))
    found = report["diagnostics"]["symmetry"]
    assert found == {
        "title": "Is the affinity symmetric?",
        "values": {"largest asymmetry": 0.0, "verdict": "symmetric"},
    }
    assert report["diagnostics"]["subset_coverage"]["values"]["subsets"] == 6
    page = (tmp_path / "report.html").read_text()
    assert "Is the affinity symmetric?" in page
    assert "largest asymmetry" in page

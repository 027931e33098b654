"""What ``group_tasks`` gives does not change unless a commit says so."""

import numpy as np
import pytest

from tests.frozen.cases import FROZEN, PROJECTIONS, RULES, SIZES, cases, run

QUICK = {
    *(f"gaussian|surrogate|{rule}|2" for rule in RULES),
    f"n{SIZES[0]}",
}


@pytest.fixture(scope="module")
def frozen():
    with np.load(FROZEN) as stored:
        return dict(stored)


@pytest.mark.parametrize(
    "case",
    [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in cases()],
)
def test_labels_and_affinity_are_as_they_were(frozen, case):
    found = run(case)
    np.testing.assert_array_equal(found["labels"], frozen[f"{case}|labels"])
    expected = frozen[f"{case}|affinity"]
    scale = max(float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(found["affinity"], expected, rtol=0, atol=1e-5 * scale)


def test_every_case_is_frozen(frozen):
    assert {name.rpartition("|")[0] for name in frozen} == set(cases())
    assert set(cases()) >= QUICK
    assert {case.split("|")[0] for case in cases() if "|" in case} == set(PROJECTIONS)

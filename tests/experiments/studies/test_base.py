"""Studies: cases by seeds, one record of results, and a second run that goes on."""

import io
import json

import pytest

from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.studies.base import Study, run_study
from tests.experiments.tiny import TINY


def total(rows):
    return {case: sum(row["value"] for row in found) for case, found in rows.items()}


def made_up(study, trial, progress):
    return {"value": 10 * trial.seed + trial.settings["num_groups"], "where": trial.folder.name}


STUDY = Study(
    name="tiny",
    what="does it run",
    cases={
        "two": {"environment": "cartpole-planted", **TINY, "num_groups": 2},
        "three": {"environment": "cartpole-planted", **TINY, "num_groups": 3},
    },
    keep=("num_groups", "labels", "not_in_reports"),
    summarise=total,
    num_seeds=2,
    try_one=made_up,
)


def test_every_case_runs_for_every_seed(tmp_path):
    results = run_study(STUDY, tmp_path)
    assert results["what"] == "does it run"
    assert results["seeds"] == [0, 1]
    assert results["summary"] == {"two": 14, "three": 16}
    assert results["runs"]["three"] == [
        {"seed": 0, "value": 3, "where": "seed0"},
        {"seed": 1, "value": 13, "where": "seed1"},
    ]
    assert results["config"]["three"]["num_groups"] == 3
    json.dumps(results)


def test_a_part_of_a_study_and_other_settings(tmp_path):
    part = STUDY.part(["two"], num_seeds=3)
    results = run_study(part, tmp_path, overrides={"num_groups": 4, "dim": None})
    assert results["seeds"] == [0, 1, 2]
    assert results["summary"] == {"two": 42}
    assert results["config"]["two"]["num_groups"] == 4
    assert results["config"]["two"]["dim"] == TINY["dim"]
    with pytest.raises(ValueError, match='case of "tiny" "twice"; did you mean "two"'):
        STUDY.part(["twice"])
    with pytest.raises(ValueError, match="seeds is 0"):
        STUDY.part(num_seeds=0)


def test_a_mistake_is_raised_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="num_groups is 9"):
        run_study(STUDY, tmp_path, overrides={"num_groups": 9})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_experiments_share_stages_and_go_on_where_they_were(tmp_path):
    study = Study(
        name="tiny",
        what="does it run",
        cases=STUDY.cases,
        keep=STUDY.keep,
        summarise=lambda rows: {case: found[0]["num_groups"] for case, found in rows.items()},
        num_seeds=1,
        grouping_only=True,
    )

    def lines_of(again):
        stream = io.StringIO()
        results = run_study(again, tmp_path, progress=Progress(stream))
        return results, stream.getvalue().splitlines()

    results, lines = lines_of(study)
    assert results["summary"] == {"two": 2, "three": 3}
    assert set(results["runs"]["two"][0]) == {"seed", "num_groups", "labels"}
    # The second case differs from the first in its grouping alone.
    assert sum(": reused," in line for line in lines) == 7
    again, lines = lines_of(study)
    assert again == results
    assert not [line for line in lines if " s, " in line and not line.startswith("grouping")]

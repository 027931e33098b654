"""The package's own studies, made small."""

import json

import pytest

from pgx_jax.experiments.studies import STUDIES, learning, run_study


@pytest.mark.slow
def test_learning_is_not_learnt_twice(monkeypatch, tmp_path):
    pytest.importorskip("gymnasium")
    targets = dict(learning.TARGETS)
    targets["lunarlander"] = targets["lunarlander"]._replace(env_steps=2_000, episodes=1)
    monkeypatch.setattr(learning, "TARGETS", targets)
    study = STUDIES.find("learning").part(["lunarlander"], num_seeds=1)
    first = run_study(study, tmp_path, overrides={"preset": "smoke"})
    (row,) = first["runs"]["lunarlander"]
    assert row["metric"] == "return"
    assert row["final"]["tasks"] == {"1: unmodified": row["final"]["return"]}
    assert row["env_steps"] == row["curve"][-1][0] >= 2_000
    assert first["summary"]["lunarlander"]["met"] is False
    monkeypatch.setattr(learning, "train", None)
    again = run_study(study, tmp_path, overrides={"preset": "smoke"})
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(first))

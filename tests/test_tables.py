"""Tables of the benchmarks from files of either form."""

import json

import pytest

from benchmarks import figures, measurements, tables
from pgx_jax.experiments.methods import METHODS
from pgx_jax.experiments.studies import STUDIES


def committed(name):
    return json.loads((measurements.RESULTS / f"{name}.json").read_text())


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """The committed results as `pgx-jax reproduce` writes them; the tables made of the old ones."""
    names = ("comparison", "recovery", "learning")
    before = {name: tables.TABLES[name]() for name in names}
    planted, cartpole = committed("cartpole_planted"), committed("cartpole")
    pair = {"cartpole-planted": planted, "cartpole": cartpole}
    found, learnt = committed("planted_recovery"), committed("learning")
    results = {
        "comparison": {
            "summary": {name: one["summary"] for name, one in pair.items()},
            "runs": {name: one["runs"] for name, one in pair.items()},
        },
        "recovery": {
            "summary": {
                name: {"exact": exact, "of": found["num_seeds"]}
                for name, exact in found["exact"].items()
            }
        },
        "learning": {
            "config": {name: {"warm_start": one["warm_start"]} for name, one in learnt.items()},
            "summary": {
                name: {key: one[key] for key in ("target", "limits", "reached", "met")}
                for name, one in learnt.items()
            },
            "runs": {
                name: [{**row, "metric": one["metric"]} for row in one["seeds"]]
                for name, one in learnt.items()
            },
        },
    }
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    monkeypatch.setattr(measurements, "RESULTS", tmp_path)
    return before, results


@pytest.mark.parametrize("name", ["comparison", "recovery", "learning"])
def test_both_forms_give_one_table(studies, name):
    before, results = studies
    assert tables.TABLES[name]() == before[name]
    assert name in STUDIES
    assert results[name]["summary"].keys() == STUDIES[name].cases.keys()


@pytest.mark.usefixtures("studies")
def test_titles_are_those_of_the_result():
    case = tables.comparison_cases()["cartpole-planted"]
    assert tables.method_titles(case)["random_grouping"] == "random groups"
    assert set(tables.method_titles(case)) == set(METHODS)
    case["runs"][0]["methods"] = {"random_grouping": "By lot"}
    assert tables.method_titles(case)["random_grouping"] == "by lot"
    assert figures.draw_planted(case).axes


def test_what_is_not_there_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "RESULTS", tmp_path)
    for make in tables.TABLES.values():
        assert make() == measurements.NOT_MEASURED

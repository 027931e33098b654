"""Studies from the command line: one file of results, and nothing done twice."""

import json

import pytest

from pgx_jax.experiments.studies import STUDIES, Study, summary_lines
from tests.test_cli import run

TINY = {
    "environment": "cartpole-planted",
    "preset": "smoke",
    "num_tasks": 4,
    "num_test_tasks": 2,
    "num_groups": 2,
    "num_steps": 64,
    "dim": 8,
    "num_subsets": 6,
    "meta_steps": 2_000,
    "score": "surrogate",
}
ran: list[tuple[str, int]] = []


def note(study, trial, progress):
    ran.append((trial.case, trial.seed))
    return {"value": trial.seed + len(trial.case)}


def mean(rows):
    return {case: {"mean": sum(row["value"] for row in found)} for case, found in rows.items()}


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    ran.clear()
    entries = dict(STUDIES)
    monkeypatch.setattr(STUDIES, "_entries", entries)
    cases = {"one": TINY, "three": {**TINY, "num_groups": 3}}
    noted = Study("noted", "a study of nothing", cases, (), mean, num_seeds=3, try_one=note)
    STUDIES.register("noted", noted)
    STUDIES.register(
        "tiny",
        Study(
            *("tiny", "groups of four tasks", cases, ("num_groups", "labels")),
            lambda rows: {case: {"of": len(found)} for case, found in rows.items()},
            num_seeds=1,
            grouping_only=True,
        ),
    )


def reproduce(monkeypatch, capsys, tmp_path, *arguments):
    monkeypatch.chdir(tmp_path)
    return run(monkeypatch, capsys, "reproduce", *arguments)


def test_one_file_of_results_with_its_provenance(monkeypatch, capsys, tmp_path):
    code, out, _ = reproduce(monkeypatch, capsys, tmp_path, "noted")
    assert code == 0
    assert out.splitlines() == [
        "one: mean 12",
        "three: mean 18",
        "results: runs/reproduce-noted/noted.json",
    ]
    found = json.loads((tmp_path / "runs/reproduce-noted/noted.json").read_text())
    assert found["command"] == "pgx-jax reproduce noted"
    assert {"python", "jax"} <= set(found["versions"])
    assert found["what"] == "a study of nothing"
    assert found["seeds"] == [0, 1, 2]
    assert found["summary"] == {"one": {"mean": 12}, "three": {"mean": 18}}
    assert found["runs"]["one"][2] == {"seed": 2, "value": 5}
    assert found["config"]["three"]["num_groups"] == 3


def test_some_cases_some_seeds_another_preset_and_place(monkeypatch, capsys, tmp_path):
    arguments = ["--case", "three", "--seeds", "1", "--preset", "paper", "--json", "kept/here.json"]
    code, _, _ = reproduce(monkeypatch, capsys, tmp_path, "noted", *arguments)
    assert code == 0
    assert ran == [("three", 0)]
    found = json.loads((tmp_path / "kept/here.json").read_text())
    assert list(found["config"]) == list(found["runs"]) == ["three"]
    assert found["config"]["three"]["preset"] == "paper"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["notd"], 'unknown study "notd"; did you mean "noted"?'),
        (["noted", "--case", "thre"], 'unknown case of "noted" "thre"; did you mean "three"?'),
        (["noted", "--seeds", "0"], "seeds is 0; it must be at least 1"),
        (["noted", "--preset", "smok"], 'unknown preset "smok"; did you mean "smoke"?'),
        ([], "missing from pgx-jax reproduce: STUDY"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    monkeypatch, capsys, tmp_path, arguments, message
):
    code, out, err = reproduce(monkeypatch, capsys, tmp_path, *arguments)
    assert (code, out, ran) == (2, "", [])
    assert message in err
    assert err.count("\n") == 1


def test_a_place_that_cannot_be_written_is_found_before_anything_runs(
    monkeypatch, capsys, tmp_path
):
    (tmp_path / "file").write_text("")
    arguments = ["noted", "--json", "file/noted.json"]
    code, _, err = reproduce(monkeypatch, capsys, tmp_path, *arguments)
    assert (code, ran) == (2, [])
    assert "cannot write to the output folder" in err


def test_help_and_the_list_name_the_studies(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "reproduce", "--help")
    for name in ("comparison", "recovery", "learning", "--case", "--seeds", "--json"):
        assert name in out
    _, out, _ = run(monkeypatch, capsys, "list")
    for name in STUDIES:
        assert name in out


def test_summary_lines():
    interval, alone = ({"mean": 1.0, "low": low, "high": low} for low in (0.5, None))
    summary = {
        "here": {"source": {"one": {"score": interval, "minus": alone}}},
        "there": {"met": True, "limits": {}, "reached": 2.34567},
    }
    assert summary_lines(summary) == [
        "here, source, one: score 1 [0.5, 0.5], minus 1",
        "there: met True, limits none, reached 2.346",
    ]


@pytest.mark.slow
def test_a_study_of_runs_goes_on_where_it_stopped(monkeypatch, capsys, tmp_path):
    code, out, err = reproduce(monkeypatch, capsys, tmp_path, "tiny", "--out", "here")
    assert code == 0, err
    assert out.splitlines() == ["one: of 1", "three: of 1", "results: here/tiny.json"]
    first = json.loads((tmp_path / "here/tiny.json").read_text())
    rows = {case: found[0] for case, found in first["runs"].items()}
    assert [rows[case]["num_groups"] for case in ("one", "three")] == [2, 3]
    # The second case shares all stages of the first but the last.
    assert err.count("meta: reused") == err.count("scores: reused") == 1
    _, _, err = reproduce(monkeypatch, capsys, tmp_path, "tiny", "--out", "here")
    # The cases take turns at the file of their last stage, which takes no time.
    again = {line.partition(":")[0] for line in err.splitlines() if "compiling" in line}
    assert again == {"grouping"}
    assert json.loads((tmp_path / "here/tiny.json").read_text())["runs"] == first["runs"]

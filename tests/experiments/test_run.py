"""One run end to end, and what a second run on its folder does."""

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.leaves import leaf_values
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.run import run_experiment
from pgx_jax.experiments.settings import PAPER_METHODS
from pgx_jax.experiments.store import ArtifactError

# One whole run, and what other runs make of its folder.
pytestmark = pytest.mark.slow

CONFIG = make_config(
    "cartpole-planted",
    "smoke",
    num_tasks=6,
    subset_size=3,
    num_groups=3,
    num_test_tasks=4,
    num_subsets=12,
    meta_steps=8_000,
    group_steps=4_000,
)
ESTIMATION = ["subsets", "meta", "transitions", "features", "fits", "scores", "affinity"]
COMPARISON = [f"{step}/{method}" for method in PAPER_METHODS for step in ("train", "evaluate")]
STAGES = [*ESTIMATION, "grouping", *COMPARISON]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run_experiment(CONFIG, folder)


def recomputed(folder, config, **options):
    report = run_experiment(config, folder, **options)
    return {name for name, took in report["wall_seconds"].items() if not took["reused"]}, report


def test_report_holds_what_is_promised(first):
    folder, report = first
    assert json.loads((folder / "report.json").read_text()) == report
    assert report["environment"] == "cartpole-planted"
    assert report["seed"] == 0
    assert {"python", "jax", "numpy", "pgx_jax"} <= set(report["versions"])
    assert report["num_tasks"] == 6
    assert report["num_subsets"] == 12
    assert report["subset_size"] == 3
    assert report["dim"] == CONFIG.estimation.projection.dim
    assert report["num_groups"] == 3
    assert sorted(set(report["labels"])) == [0, 1, 2]
    affinity = np.array(report["affinity"])
    assert affinity.shape == (6, 6)
    np.testing.assert_array_equal(affinity, affinity.T)
    assert report["objective"] <= report["upper_bound"]
    assert report["certified_gap"] == pytest.approx(
        max(report["upper_bound"] - report["objective"], 0)
    )
    assert list(report["wall_seconds"]) == STAGES
    for took in report["wall_seconds"].values():
        assert 0 <= took["compile"] <= took["total"]


def test_scores_are_per_method_and_task_with_errors(first):
    _, report = first
    assert list(report["scores"]) == list(PAPER_METHODS)
    for scores in report["scores"].values():
        tasks = scores["source"]["tasks"]
        assert list(tasks) == report["task_names"]
        means = [task["mean"] for task in tasks.values()]
        assert scores["source"]["mean"] == pytest.approx(np.mean(means))
        assert all(0 < mean <= 500 for mean in means)
        assert all(task["standard_error"] >= 0 for task in tasks.values())
        assert len(scores["test"]["tasks"]) == 4


def test_all_methods_spend_equal_training_budgets(first):
    _, report = first
    update = CONFIG.training.algorithm.num_envs * CONFIG.training.algorithm.num_steps
    budgets = report["total_env_steps"]
    expected = budgets["policygradex"]
    for method, spent in budgets.items():
        policies = len(set(report["method_labels"][method]))
        # Each training is rounded to whole updates, at least one.
        assert abs(spent - expected) <= update * (policies + 3), (method, spent, expected)
    parts = ("meta", "transitions", "scores", "training")
    assert expected == sum(report["env_steps"]["policygradex"][name] for name in parts)
    assert report["held_out_selection_steps"]["single_policy"] == 0
    assert report["held_out_selection_steps"]["policygradex"] > 0


def test_the_matched_policy_has_as_many_parameters(first):
    _, report = first
    params = report["num_params"]
    assert params["parameter_matched_policy"] == pytest.approx(params["policygradex"], rel=0.15)
    assert params["policygradex"] == 3 * params["single_policy"]


def test_metrics_are_one_json_row_an_update(first):
    folder, report = first
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {
        "meta",
        *(f"train/{method}" for method in PAPER_METHODS),
    }
    meta = [row for row in rows if row["stage"] == "meta"]
    assert meta[-1]["env_steps"] == report["env_steps"]["policygradex"]["meta"]
    assert set(meta[-1]["returns"]) <= set(report["task_names"])


def test_page_is_there(first):
    folder, _ = first
    assert (folder / "report.html").read_text().lstrip().startswith("<!doctype html>")


def test_a_second_run_reuses_everything_and_says_so(first):
    folder, before = first
    stream = io.StringIO()
    again, report = recomputed(folder, CONFIG, progress=Progress(stream))
    assert again == set()
    assert report["scores"] == before["scores"]
    lines = stream.getvalue().splitlines()
    assert sum(": reused," in line for line in lines) == len(STAGES)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_groups": 2}, {"grouping", *COMPARISON}),
        ({"dim": 16}, {"features", "fits", "scores", "affinity", "grouping", *COMPARISON}),
        (
            {"projection": "tensor_sketch"},
            {"features", "fits", "scores", "affinity", "grouping", *COMPARISON},
        ),
        ({"l2": 0.1}, {"fits", "scores", "affinity", "grouping", *COMPARISON}),
        ({"rho": 0.02}, {"scores", "affinity", "grouping", *COMPARISON}),
        (
            {"num_subsets": 14},
            {"subsets", "fits", "scores", "affinity", "grouping", *COMPARISON},
        ),
        ({"eval_episodes": 2}, {name for name in COMPARISON if name.startswith("evaluate")}),
        ({"group_steps": 6_000}, set(COMPARISON)),
    ],
)
@pytest.mark.slow
def test_a_changed_option_recomputes_what_depends_on_it(first, tmp_path, change, expected):
    folder, _ = first
    shutil.copytree(folder / "artifacts", tmp_path / "artifacts")
    again, _ = recomputed(tmp_path, CONFIG.replace(**change))
    # Labels, and the budget with them, may come out equal: such a training is rightly reused.
    certain = {name for name in expected if name not in COMPARISON} or expected
    assert certain <= again <= expected


@pytest.mark.slow
def test_equal_seeds_give_equal_results_and_others_do_not(first, tmp_path):
    _, before = first
    same = run_experiment(CONFIG, tmp_path / "same", grouping_only=True)
    assert same["affinity"] == before["affinity"]
    assert same["labels"] == before["labels"]
    other = run_experiment(CONFIG.replace(seed=1), tmp_path / "other", grouping_only=True)
    assert other["affinity"] != before["affinity"]


@pytest.mark.slow
@pytest.mark.parametrize("score", ["surrogate", "linearised", "off_policy"])
def test_scores_from_data_alone_and_automatic_k(tmp_path, score):
    config = CONFIG.replace(score=score, num_groups=None, max_groups=3)
    report = run_experiment(config, tmp_path, grouping_only=True)
    assert report["env_steps"]["policygradex"]["scores"] == 0
    assert set(report["selection"]) == {"1", "2", "3"}
    assert report["scores"] == {}


@pytest.mark.slow
def test_planned_subsets_and_completed_affinity(first, tmp_path):
    folder, _ = first
    shutil.copytree(folder / "artifacts", tmp_path / "artifacts")
    config = CONFIG.replace(
        score="surrogate",
        num_groups=None,
        max_groups=3,
        num_subsets=None,
        affinity="completed",
    )
    again, report = recomputed(tmp_path, config, grouping_only=True)
    assert again == {"subsets", "fits", "scores", "affinity", "grouping"}
    assert report["num_subsets"] == 20  # all there are
    assert set(report["selection"]) == {"1", "2", "3"}
    assert "of low rank, fitted to all scores" in (tmp_path / "report.html").read_text()
    additive, _ = recomputed(tmp_path, config.replace(affinity="additive"), grouping_only=True)
    assert additive == {"affinity", "grouping"}


def test_a_cut_artifact_is_named_before_work_starts(first, tmp_path):
    folder, _ = first
    (tmp_path / "artifacts").mkdir()
    for name in ("meta.npz", "meta.json"):
        content = (folder / "artifacts" / name).read_bytes()
        (tmp_path / "artifacts" / name).write_bytes(
            content[: len(content) // 2] if name.endswith("npz") else content
        )
    with pytest.raises(ArtifactError, match=r"meta\.npz is cut short"):
        run_experiment(CONFIG, tmp_path)


def test_a_killed_stage_loses_nothing_that_was_finished(first, tmp_path, monkeypatch):
    folder, _ = first
    (tmp_path / "artifacts").mkdir()
    for name in ESTIMATION:
        for ending in ("npz", "json"):
            file = folder / "artifacts" / f"{name}.{ending}"
            (tmp_path / "artifacts" / file.name).write_bytes(file.read_bytes())

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pgx_jax.pipeline.steps.cluster_by_goal", killed)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(CONFIG, tmp_path, grouping_only=True)
    again, _ = recomputed(tmp_path, CONFIG, grouping_only=True)
    assert again == {"grouping"}


@pytest.mark.slow
def test_the_program_runs_in_a_process_of_its_own(tmp_path):
    sizes = ("num_tasks", "subset_size", "num_groups", "num_test_tasks", "num_subsets")
    options = [
        part
        for name in (*sizes, "meta_steps", "group_steps")
        for part in (f"--{name.replace('_', '-')}", str(leaf_values(CONFIG)[name]))
    ]
    program = [sys.executable, "-c", "from pgx_jax.cli import main; main()"]
    done = subprocess.run(
        [
            *program,
            "run",
            CONFIG.tasks.environment,
            "--preset",
            "smoke",
            *options,
            "--out",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "group 2 of " in done.stderr
    for name in ("report.json", "report.html", "metrics.jsonl"):
        assert (tmp_path / name).stat().st_size > 0

import copy
import subprocess
import sys

import numpy as np
import pytest

from pgx_jax.experiments.report import costs, curves, grouping, scores, style, trainings
from tests.experiments.report.reports import METHODS, fake_run


def test_methods_look_different():
    looks = [(style.method_colour(place), style.method_marker(place)) for place in range(64)]
    assert len(set(looks)) == 64


def test_names_are_wrapped_and_cut_at_their_end():
    assert style.fitted_name("short") == "short"
    assert style.fitted_name("cars=15 lanes=3 speed=20", 16) == "cars=15 lanes=3\nspeed=20"
    assert style.fitted_name("one two three four five six", 10) == "one two\nthree fou…"
    assert style.fitted_name("a" * 20, 10, 1) == "aaaaaaaaa…"
    assert style.fitted_name("a\nb") == "a b"
    assert style.fitted_name("\x07") == " "
    assert style.numbered_names(["push-v3", "2: g=1"]) == ["1: push-v3", "2: g=1"]


def test_tasks_of_very_different_scales_get_axes_of_their_own():
    report, _ = fake_run(num_tasks=4, num_groups=2, updates=2)
    names, labels = report["task_names"], report["labels"]
    alike = {
        method: {
            "source": {"tasks": {name: {"mean": mean, "standard_error": 0.1} for name in names}},
            "test": {"mean": mean, "standard_error": 0.1, "tasks": [mean] * 4},
        }
        for method, mean in (("policygradex", 3.0), ("single_policy", 1.0))
    }
    assert not scores.source_squeezed(alike, names)
    assert not scores.held_out_squeezed(alike)
    assert len(scores.task_score_figure(alike, METHODS, names, labels).axes) == 1
    assert len(scores.held_out_figure(alike, METHODS).axes) == 1
    for score in alike.values():
        cell = score["source"]["tasks"][names[2]]
        cell["mean"], cell["standard_error"] = 1000 * cell["mean"], 100.0
        score["test"]["tasks"][2] *= 1000
    figure = scores.task_score_figure(alike, METHODS, names, labels)
    own = figure.axes[1]
    # From 1 - 0.1 to 3 + 0.1 in every task, whatever its scale.
    place = list(np.argsort(labels, kind="stable")).index(2)
    for container, mean in zip(own.containers, (3.0, 1.0), strict=True):
        np.testing.assert_allclose(container[0].get_xdata(), (mean - 0.9) / 2.2)
    written = [text.get_text() for text in own.texts]
    assert written[2 * place : 2 * place + 2] == ["900", "3100"]
    shares = [
        line.get_xdata()
        for line in scores.held_out_figure(alike, METHODS).axes[1].lines
        if len(line.get_xdata()) == 4 and line.get_linestyle() == "None"
    ]
    np.testing.assert_allclose(shares, [[1.0] * 4, [1 / 3] * 4])


def test_figures_refuse_sizes_that_do_not_match():
    report, _ = fake_run(num_tasks=4, num_groups=2, updates=2)
    reached, names, labels = report["scores"], report["task_names"], report["labels"]
    with pytest.raises(ValueError, match=r"shape \(4, 4\) for 3 labels and 4 names"):
        grouping.affinity_figure(report["affinity"], labels[:3], names)
    with pytest.raises(ValueError, match="3 labels for 4 task names"):
        scores.task_score_figure(reached, METHODS, names, labels[:3])
    with pytest.raises(ValueError, match="policygradex has no source score for other"):
        scores.task_score_figure(reached, METHODS, [*names, "other"], [*labels, 0])
    with pytest.raises(ValueError, match="no title for random_grouping"):
        scores.held_out_figure({"random_grouping": reached["random_grouping"]}, {})
    uneven = copy.deepcopy(reached)
    uneven["single_policy"]["test"]["tasks"].pop()
    with pytest.raises(ValueError, match="number of held-out tasks"):
        scores.held_out_figure(uneven, METHODS)
    with pytest.raises(ValueError, match="add up to 3, their total says 4"):
        costs.env_step_figure({"a": {"meta": 1, "training": 2, "total": 4}}, {"a": "A"})
    with pytest.raises(ValueError, match=r"k = 3 is not among the candidates \[1, 2\]"):
        grouping.selection_figure({1: 0.5, 2: 0.4}, 3)


def test_affinity_figure_centres_its_colours_and_blanks_the_diagonal():
    affinity = np.array([[9.0, 1.0, 4.0], [1.0, 9.0, 1.0], [4.0, 1.0, 9.0]])
    figure = grouping.affinity_figure(affinity, [0, 1, 0], ["a", "b", "c"])
    axes, mesh = figure.axes[0], figure.axes[0].collections[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1: a", "3: c", "2: b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3", "2"]
    assert mesh.get_clim() == pytest.approx((0.0, 4.0))
    assert np.ma.getmaskarray(mesh.get_array()).reshape(3, 3).trace() == 3
    written = [text.get_text() for text in axes.texts]
    assert written[:2] == ["group 1", "group 2"]
    assert sorted(written[2:]) == ["1.0"] * 4 + ["4.0"] * 2


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_affinity_figure_of_a_constant_matrix(value):
    figure = grouping.affinity_figure(np.full((3, 3), value), [0, 0, 0], ["a", "b", "c"])
    assert style.data_uri(figure).startswith("data:image/svg+xml;base64,")


def test_a_method_keeps_its_colour():
    report, rows = fake_run(num_tasks=3, num_groups=2, updates=4)
    few = {name: report["scores"][name] for name in ("single_policy", "random_grouping")}
    figure = scores.task_score_figure(few, METHODS, report["task_names"], report["labels"])
    colours = [container[0].get_color() for container in figure.axes[0].containers]
    assert colours == [style.method_colour(1), style.method_colour(3)]
    trained = [row for row in rows if row["stage"] == "train/random_grouping"]
    training = trainings.read_training(trained)
    assert training is not None
    curve = trainings.mean_curve(training, report["task_names"])
    assert curve is not None
    figure = curves.learning_curve_figure(None, {"random_grouping": curve}, METHODS)
    assert figure.axes[0].lines[0].get_color() == style.method_colour(3)


def test_matplotlib_is_imported_late_and_without_pyplot():
    code = (
        "import sys; from pgx_jax.experiments.report import grouping, page, style;"
        "assert 'matplotlib' not in sys.modules;"
        "style.data_uri(grouping.selection_figure({1: 0.5}, 1));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

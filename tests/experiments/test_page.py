import base64
import copy
import json
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from pgx_jax.estimation.affinity.rules import AFFINITY_RULES
from pgx_jax.experiments.report import costs, curves, grouping, scores, style, trainings
from pgx_jax.experiments.report.page import render_page

METHODS = {
    "policygradex": "PolicyGradEx groups",
    "single_policy": "One policy for all tasks",
    "parameter_matched_policy": "One policy, k times the parameters",
    "random_grouping": "Random groups",
    "gradient_similarity_grouping": "Gradient-similarity groups",
}
REACHED = {"policygradex": 330, "random_grouping": 190, "gradient_similarity_grouping": 240}
STEPS_PER_UPDATE = 1280
VOID = {"meta", "img", "br", "hr", "link", "input"}


def fake_run(
    num_tasks=10,
    num_groups=3,
    *,
    compared=True,
    known=True,
    automatic=True,
    num_test_tasks=50,
    preset="default",
    names=None,
    updates=60,
    reused=("meta", "transitions"),
    seed=0,
):
    """A report and its rows, shaped as ``make_report`` and ``learning_curves`` shape them."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_tasks) % num_groups)
    first = list(dict.fromkeys(labels.tolist()))
    labels = np.array([first.index(label) for label in labels])
    if names is None:
        names = [
            f"g={5 + 15 * u:.1f} l={0.15 + v:.2f} F={2 + 30 * w:.1f}"
            for u, v, w in rng.random((num_tasks, 3))
        ]
    noise = rng.normal(size=(num_tasks, num_tasks)) * 0.12
    affinity = 0.5 * (labels[:, None] == labels) - 0.2 + (noise + noise.T) / 2
    method_labels = {
        "policygradex": labels.tolist(),
        "single_policy": [0] * num_tasks,
        "parameter_matched_policy": [0] * num_tasks,
        "random_grouping": rng.permutation(np.arange(num_tasks) % num_groups).tolist(),
        "gradient_similarity_grouping": np.sort(np.arange(num_tasks) % num_groups).tolist(),
    }
    meta_steps = 2 * updates * STEPS_PER_UPDATE
    spent = {"meta": meta_steps, "transitions": num_tasks * 8192, "scores": 150_000}
    rows = fake_rows("meta", names, [0] * num_tasks, [2 * updates], 20, 170, rng)
    reached, env_steps, num_params = {}, {}, {}
    for method, groups in method_labels.items() if compared else ():
        paid = {} if method == "parameter_matched_policy" else {"meta": meta_steps}
        if method in ("policygradex", "gradient_similarity_grouping"):
            paid["transitions"] = spent["transitions"]
        if method == "policygradex":
            paid["scores"] = spent["scores"]
        left = (sum(spent.values()) - sum(paid.values())) // STEPS_PER_UPDATE + 4 * updates
        counts = [max(1, round(left * share)) for share in np.bincount(groups) / num_tasks]
        start = 20 if method == "parameter_matched_policy" else 160
        end = REACHED.get(method, 205)
        rows += fake_rows(f"train/{method}", names, groups, counts, start, end, rng)
        paid["training"] = sum(counts) * STEPS_PER_UPDATE
        env_steps[method] = {**paid, "total": sum(paid.values())}
        reached[method] = fake_scores(names, num_test_tasks, end, rng)
        policies = num_groups if method == "parameter_matched_policy" else len(counts)
        num_params[method] = policies * 8898
    stages = ["meta", "transitions", "features", "subsets", "fits", "scores", "affinity"]
    stages += ["grouping", *(f"{kind}/{one}" for one in reached for kind in ("train", "evaluate"))]
    candidates = range(1, max(min(6, num_tasks - 1), num_groups) + 1)
    report = {
        "environment": "cartpole-planted",
        "environment_description": "gymnax CartPole-v1 in three groups: normal, actuator "
        "inverted, long and heavy",
        "notes": ["backend of the probe"],
        "metric": "return",
        "warm_start": "none",
        "demonstrations": None,
        "preset": preset,
        "seed": seed,
        "versions": {"python": "3.13.1", "pgx_jax": "0.1.0", "jax": "0.7.2", "numpy": "2.3.1"},
        "device": "TFRT_CPU_0",
        "num_tasks": num_tasks,
        "num_subsets": 200,
        "subset_size": min(4, num_tasks),
        "dim": 400,
        "num_groups": num_groups,
        "num_groups_given": not automatic,
        "labels": labels.tolist(),
        "known_groups": labels.tolist() if known else None,
        "adjusted_rand_index": 1.0 if known else None,
        "task_names": list(names),
        "affinity": affinity.tolist(),
        "objective": 2.91734,
        "upper_bound": 2.91741,
        "certified_gap": 0.00007,
        "solver_status": "optimal",
        "selection": {k: 0.62 + 0.09 * abs(k - num_groups) ** 0.7 for k in candidates}
        if automatic
        else None,
        "fits": {"converged": 200, "steps": 9, "largest_grad_norm": 3.1e-7},
        "wall_seconds": {name: fake_seconds(name, name in reused, rng) for name in stages},
        "config": {
            "environment": "cartpole-planted",
            "preset": preset,
            "seed": seed,
            "hidden_sizes": (64, 64, 64),
            "ppo": {"num_envs": 40, "learning_rate": 3e-4},
            "num_groups": None if automatic else num_groups,
            "l2": 0.01,
            "score": "rollout",
            "eval_episodes": 64,
            "test_episodes": 16,
            "selection_episodes": 4,
        },
        "scores": reached,
    }
    if compared:
        report |= {
            "methods": METHODS,
            "total_env_steps": {name: paid["total"] for name, paid in env_steps.items()},
            "env_steps": env_steps,
            "method_labels": method_labels,
            "num_params": num_params,
        }
    else:
        total = sum(spent.values())
        report |= {
            "total_env_steps": {"policygradex": total},
            "env_steps": {"policygradex": {**spent, "total": total}},
        }
    return report, rows


def fake_rows(stage, names, labels, group_updates, start, end, rng):
    rows = []
    for group, count in enumerate(group_updates):
        members = [name for name, label in zip(names, labels, strict=True) if label == group]
        final = {name: end * rng.uniform(0.6, 1.4) for name in members}
        for update in range(count):
            share = 1 - np.exp(-4 * (update + 1) / count)
            # Long episodes seldom end in an update.
            returns = {
                name: round(
                    float(start + (final[name] - start) * share + rng.normal(0, 0.06 * end)), 3
                )
                for name in members
                if count < 4 or rng.random() > 0.3
            }
            steps = (update + 1) * STEPS_PER_UPDATE
            rows.append({"stage": stage, "group": group, "env_steps": steps, "returns": returns})
    return rows


def fake_scores(names, num_test_tasks, level, rng):
    source = np.clip(rng.normal(level, 60, len(names)), 9, 500)
    error = rng.uniform(1, 14, len(names))
    test = np.clip(rng.normal(level - 25, 120, num_test_tasks), 9, 500)
    test_error = test.std(ddof=1) / np.sqrt(num_test_tasks) if num_test_tasks > 1 else 0.0
    return {
        "source": {
            "mean": float(source.mean()),
            "standard_error": float(np.sqrt((error**2).sum()) / len(names)),
            "tasks": {
                name: {"mean": float(m), "standard_error": float(e)}
                for name, m, e in zip(names, source, error, strict=True)
            },
        },
        "test": {
            "mean": float(test.mean()),
            "standard_error": float(test_error),
            "tasks": test.tolist(),
        },
    }


def fake_seconds(name, reused, rng):
    total = float(rng.lognormal(1.0 if "/" in name or name == "meta" else -0.5, 0.9))
    compiling = total * float(rng.uniform(0.05, 0.7))
    return {"total": round(total, 3), "compile": round(compiling, 3), "reused": reused}


class Page(HTMLParser):
    """Checks that tags nest and that nothing is fetched; keeps what a test asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.data, self.images, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attrs:
                assert attrs[name].startswith("data:"), attrs[name][:80]
        if tag == "img":
            assert attrs["alt"]
            self.images.append(attrs["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.data))

    def svgs(self):
        start = "data:image/svg+xml;base64,"
        assert all(image.startswith(start) for image in self.images)
        return [base64.b64decode(image.removeprefix(start)).decode() for image in self.images]


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves the figures out, where a test reads text only."""
    monkeypatch.setattr(style, "data_uri", lambda figure: "data:,")


HOSTILE = [
    "<script>alert(1)</script>",
    'a "quoted" & <b>bold</b> name',
    "money $x_{1$ -- \\frac{",
    "_hidden\n\x07 " + "long " * 30,
]
CASES = {
    "default": {},
    "smoke, one group": {
        "num_tasks": 14,
        "num_groups": 1,
        "preset": "smoke",
        "updates": 1,
        "num_test_tasks": 6,
    },
    "hostile, every task alone": {
        "num_tasks": 4,
        "num_groups": 4,
        "automatic": False,
        "names": HOSTILE,
        "updates": 5,
    },
    "two tasks": {
        "num_tasks": 2,
        "num_groups": 1,
        "known": False,
        "num_test_tasks": 1,
        "updates": 5,
    },
    "grouping only": {"num_tasks": 3, "num_groups": 2, "compared": False, "updates": 5},
    "fifty tasks": {"num_tasks": 50, "num_groups": 7, "automatic": False, "updates": 5},
}


@pytest.fixture(scope="module")
def rendered():
    """Report, rows and page text of a case, rendered once; tests leave them as they are."""

    @cache
    def render(case):
        report, rows = fake_run(**CASES[case])
        if report["task_names"] == HOSTILE:
            report["environment"] = report["device"] = "<img src=x onerror=alert(1)>"
            report["config"]["<i>"] = "</code><script>"
            report["solver_status"] = "<i>optimal</i>"
        before = copy.deepcopy((report, rows))
        text = render_page(report, rows)
        assert (report, rows) == before
        return report, rows, text

    return render


@pytest.mark.parametrize("case", CASES)
def test_page_holds_what_it_must(case, rendered):
    options = CASES[case]
    report, _, text = rendered(case)
    page = Page(text)
    words = page.text

    compared = options.get("compared", True)
    assert "script" not in page.tags
    assert not re.search(r"https?:|url\(|@import", text)
    assert len(page.ids) == len(set(page.ids))
    panels = 1 < report["num_tasks"] <= curves.LARGEST_PANELS
    assert len(page.images) == 4 + 2 * compared + (report["selection"] is not None) + panels
    for svg in page.svgs():
        ET.fromstring(svg)
        assert "date" not in svg
        # Figures refer to parts of themselves only.
        links = re.findall(r'href="([^"]*)"', svg)
        assert all(link.startswith(("#", "data:")) for link in links)
    for name in report["task_names"]:
        assert re.sub(r"\s+", " ", name) in words
    assert ("scores" in page.ids) == compared
    assert ("stopped at the groups" in words) == (not compared)
    assert ("smoke preset" in words) == (report["preset"] == "smoke")
    assert ("only one partition" in words) == (report["num_groups"] in (1, len(report["labels"])))
    given = "given" if report["num_groups_given"] else "chosen on held-out subsets"
    assert f"{report['num_groups']} ({given})" in words
    assert ("Adjusted Rand index" in words) == options.get("known", True)
    for expected in ("2.91741", "200 of 200", "ppo.learning_rate", "0.7.2"):
        assert expected in words
    for method, title in METHODS.items() if compared else ():
        assert title in words
        assert f"{report['scores'][method]['source']['mean']:.1f}" in words
        assert f"{report['total_env_steps'][method]:,}" in words
        assert f"{report['num_params'][method]:,}" in words


def test_page_is_the_same_from_json_and_under_any_matplotlibrc(rendered):
    import matplotlib

    report, rows, text = rendered("grouping only")
    theirs = {"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}
    with matplotlib.rc_context(theirs):
        assert render_page(json.loads(json.dumps(report)), json.loads(json.dumps(rows))) == text
        assert matplotlib.rcParams["font.size"] == 30


def test_names_are_escaped(rendered):
    _, _, text = rendered("hostile, every task alone")
    page = Page(text)
    assert not {"script", "i"} & set(page.tags)
    assert "<script" not in text.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for svg in page.svgs():
        assert not [one for one in ET.fromstring(svg).iter() if one.tag.endswith("script")]


@pytest.mark.usefixtures("undrawn")
def test_warns_of_fits_that_did_not_converge():
    report, rows = fake_run(num_tasks=3, num_groups=2, compared=False, updates=3)
    report["fits"]["converged"] = 198
    assert "2 fits of 200 did not converge" in Page(render_page(report, rows)).text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("reused", "expected"),
    [((), None), (("meta",), "Hatched stages were reused"), (None, "All stages were reused")],
)
def test_says_what_was_reused(reused, expected):
    report, rows = fake_run(num_tasks=3, num_groups=2, compared=False, updates=3, reused=())
    for name, stage in report["wall_seconds"].items():
        stage["reused"] = reused is None or name in reused
    text = Page(render_page(report, rows)).text
    assert (expected or "") in text
    assert ("reused" in text) == (expected is not None)


@pytest.mark.usefixtures("undrawn")
def test_page_without_learning_curves():
    report, rows = fake_run(num_tasks=3, num_groups=2, compared=False, updates=3)
    assert "No episode ended" in Page(render_page(report, [])).text
    silent = [{**row, "returns": {}} for row in rows]
    assert "No episode ended" in Page(render_page(report, silent)).text


@pytest.mark.usefixtures("undrawn")
def test_held_out_difference_is_paired_by_task():
    report, rows = fake_run(num_tasks=3, num_groups=2, updates=3, num_test_tasks=3)
    report["scores"]["policygradex"]["test"]["tasks"] = [100.0, 200.0, 300.0]
    report["scores"]["single_policy"]["test"]["tasks"] = [99.0, 198.0, 297.0]
    report["scores"]["random_grouping"]["test"]["tasks"] = [101.0, 202.0, 303.0]
    text = Page(render_page(report, rows)).text
    assert "\N{MINUS SIGN}2.0 ± 0.6" in text
    assert "+2.0 ± 0.6" in text


@pytest.mark.usefixtures("undrawn")
def test_missing_tasks_are_counted_in_the_caption():
    report, rows = fake_run(num_tasks=3, num_groups=1, compared=False, updates=3)
    for row in rows:
        row["returns"].pop(report["task_names"][1], None)
    text = Page(render_page(report, rows)).text
    assert "1 task left out of every curve" in text
    assert f"{report['task_names'][1]}. Tasks without an episode by training: meta-training" in text


def test_all_curves_average_the_same_tasks(monkeypatch):
    drawn = []
    monkeypatch.setattr(style, "data_uri", lambda figure: drawn.append(figure) or "data:,")
    report, rows = fake_run(num_tasks=3, num_groups=1, updates=4)
    first, second, third = report["task_names"]
    for row in rows:
        # One method alone never ends an episode of the first task, where all others reach 1000.
        row["returns"] = {first: 1000.0, second: 1.0, third: 3.0}
        if row["stage"] == "train/random_grouping":
            del row["returns"][first]
    text = Page(render_page(report, rows)).text
    assert "All curves average the same 2 tasks" in text
    assert f"{first}. Tasks without an episode by training: Random groups (1)" in text
    figure = next(one for one in drawn if "over tasks" in one.axes[0].get_ylabel())
    curves_drawn = [line.get_ydata() for line in figure.axes[0].lines if len(line.get_ydata())]
    assert len(curves_drawn) == 6
    for values in curves_drawn:
        np.testing.assert_allclose(values, 2.0)


@pytest.mark.usefixtures("undrawn")
def test_curves_without_a_common_task_are_not_averaged():
    report, rows = fake_run(num_tasks=2, num_groups=1, updates=2)
    first, second = report["task_names"]
    for row in rows:
        row["returns"] = {first if row["stage"] == "meta" else second: 1.0}
    text = Page(render_page(report, rows)).text
    assert "No task ended an episode in every training" in text
    assert "over tasks during training" not in text


@pytest.mark.usefixtures("undrawn")
def test_a_training_without_any_episode_is_named():
    report, rows = fake_run(num_tasks=2, num_groups=1, updates=2)
    rows = [row for row in rows if row["stage"] != "train/random_grouping"]
    assert "No episode ended in: Random groups." in Page(render_page(report, rows)).text


@pytest.mark.parametrize(
    ("kind", "entry", "unit"),
    [
        ("additive", "effect of one task on the other's score", "effect on each other's score"),
        ("pair", "mean score of the two tasks", "mean score of the two tasks"),
        ("subset", "mean score of all tasks of a subset", "mean score of the whole subset"),
        (None, "mean score of the two tasks", "mean score of the two tasks"),
    ],
)
def test_affinity_says_what_was_computed(monkeypatch, kind, entry, unit):
    drawn = []
    monkeypatch.setattr(style, "data_uri", lambda figure: drawn.append(figure) or "data:,")
    report, rows = fake_run(num_tasks=3, num_groups=2, compared=False, updates=3)
    if kind is not None:
        report["config"]["affinity"] = kind
    assert f"Entry: {entry}" in Page(render_page(report, rows)).text
    assert drawn[0].axes[1].get_ylabel().startswith(f"{unit}, in standard deviations")


def test_every_kind_of_affinity_has_its_words():
    assert set(grouping.ENTRIES) == set(AFFINITY_RULES)


@pytest.mark.usefixtures("undrawn")
def test_scores_show_how_well_methods_found_known_groups(rendered):
    assert ">ARI<" not in rendered("default")[2]
    report, rows = fake_run(num_tasks=3, num_groups=2, updates=3)
    values = (1.0, 0.0, 0.0, -0.31, 0.62)
    report["method_adjusted_rand_index"] = dict(zip(METHODS, values, strict=True))
    text = render_page(report, rows)
    assert '<th scope="col" class="number">ARI</th></tr>' in text
    table = text[text.index('id="scores"') : text.index('id="affinity"')]
    last = re.findall(r'<td class="number">([^<]*)</td></tr>', table)
    assert last == ["1.00", "0.00", "0.00", "\N{MINUS SIGN}0.31", "0.62"]
    assert "ARI: adjusted Rand index" in Page(text).text


def test_training_adds_groups_up():
    rows = [
        {"group": 0, "env_steps": 10, "returns": {"a": 1.0}},
        {"group": 0, "env_steps": 20, "returns": {"a": 3.0, "b": 5.0}},
        {"group": 1, "env_steps": 100, "returns": {"c": 7.0}},
        {"group": 1, "env_steps": 200, "returns": {}},
    ]
    training = trainings.read_training(rows, offset=1000)
    assert training is not None
    np.testing.assert_allclose(training.env_steps, [1110, 1220])
    assert set(training.returns) == {"a", "b", "c"}
    np.testing.assert_array_equal(training.returns["b"], [np.nan, 5.0])
    # c keeps what it had.
    np.testing.assert_array_equal(training.returns["c"], [7.0, 7.0])
    curve = trainings.mean_curve(training, ["a", "b", "c"])
    assert curve is not None
    # b is first known at the end.
    np.testing.assert_allclose(curve.env_steps, [1220])
    np.testing.assert_allclose(curve.returns, [5])
    assert trainings.read_training([]) is None
    assert trainings.mean_curve(training, []) is None


def test_groups_of_different_length_are_side_by_side():
    rows = [{"group": 0, "env_steps": step, "returns": {"a": float(step)}} for step in (1, 2, 3, 4)]
    rows += [{"group": 1, "env_steps": step, "returns": {"b": float(step)}} for step in (50, 100)]
    training = trainings.read_training(rows)
    assert training is not None
    np.testing.assert_allclose(training.env_steps, [26, 52, 78, 104])
    np.testing.assert_array_equal(training.returns["b"], [np.nan, 50, 50, 100])


def test_learning_curve_carries_forward_and_smooths():
    rows = [
        {"group": 0, "env_steps": step, "returns": {"a": 2.0 * step} if step % 3 else {}}
        for step in range(1, 101)
    ]
    training = trainings.read_training(rows)
    assert training is not None
    known = np.array([step - (step % 3 == 0) for step in range(1, 101)])
    np.testing.assert_array_equal(training.returns["a"], 2.0 * known)
    curve = trainings.mean_curve(training, ["a"])
    assert curve is not None
    np.testing.assert_allclose(curve.env_steps, np.arange(1, 101))
    # Windows reach two points to either side, and end with the training.
    expected = [2.0 * known[max(0, i - 2) : i + 3].mean() for i in range(100)]
    np.testing.assert_allclose(curve.returns, expected)


@pytest.mark.parametrize(("updates", "smooth"), [(29, False), (30, True)])
def test_short_trainings_are_not_smoothed(updates, smooth):
    returns = np.random.default_rng(0).normal(size=updates)
    rows = [
        {"group": 0, "env_steps": step + 1, "returns": {"a": value}}
        for step, value in enumerate(returns.tolist())
    ]
    training = trainings.read_training(rows)
    assert training is not None
    curve = trainings.mean_curve(training, ["a"])
    assert curve is not None
    assert np.allclose(curve.returns, returns) != smooth


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

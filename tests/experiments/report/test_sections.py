import re
from pathlib import Path
from types import SimpleNamespace

import jinja2
import numpy as np
import pytest

from pgx_jax.estimation.affinity.rules import AFFINITY_RULES
from pgx_jax.experiments.report import grouping, style
from pgx_jax.experiments.report.page import SECTIONS, render_page
from pgx_jax.experiments.report.sections import Section
from tests.experiments.report.reports import METHODS, Page, fake_run


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
    ours = {
        name for name, rule in AFFINITY_RULES.items() if type(rule).__module__.startswith("pgx_jax")
    }
    assert set(grouping.ENTRIES) == ours


@pytest.mark.usefixtures("undrawn")
def test_scores_show_how_well_methods_found_known_groups():
    report, rows = fake_run(num_tasks=3, num_groups=2, updates=3)
    assert ">ARI<" not in render_page(report, rows)
    values = (1.0, 0.0, 0.0, -0.31, 0.62)
    report["method_adjusted_rand_index"] = dict(zip(METHODS, values, strict=True))
    text = render_page(report, rows)
    assert '<th scope="col" class="number">ARI</th></tr>' in text
    table = text[text.index('id="scores"') : text.index('id="affinity"')]
    last = re.findall(r'<td class="number">([^<]*)</td></tr>', table)
    assert last == ["1.00", "0.00", "0.00", "\N{MINUS SIGN}0.31", "0.62"]
    assert "ARI: adjusted Rand index" in Page(text).text


@pytest.fixture
def small(undrawn):
    """A report without a comparison, whose figures are left out, and its rows."""
    return fake_run(num_tasks=3, num_groups=2, compared=False, updates=3)


@pytest.fixture
def sections(monkeypatch):
    """The sections of the page, for a test to add to."""
    monkeypatch.setattr(SECTIONS, "_entries", dict(SECTIONS))
    return SECTIONS


def test_an_affinity_of_a_rule_without_words_is_shown(small):
    report, rows = small
    report["config"]["affinity"] = "package:<rule>"
    assert 'Entry: affinity by the rule "package:<rule>".' in Page(render_page(report, rows)).text


@pytest.mark.usefixtures("undrawn")
def test_settings_are_found_in_a_nested_configuration():
    report, rows = fake_run(num_tasks=3, num_groups=2, updates=3)
    flat = render_page(report, rows)
    config = report["config"]
    names = ("eval_episodes", "test_episodes", "selection_episodes")
    nested = {name: config.pop(name) for name in names}
    report["config"] = {
        **config,
        "comparison": nested,
        "estimation": {"rule": {"affinity": "pair"}},
    }
    text = render_page(report, rows)
    assert "comparison.eval_episodes" in text
    assert "estimation.rule.affinity" in text
    assert text[: text.index('id="settings"')] == flat[: flat.index('id="settings"')]


def test_diagnostics_are_tables_of_values(small):
    report, rows = small
    assert 'id="diagnostics"' not in render_page(report, rows)
    report["diagnostics"] = {
        "agreement": {
            "title": "Agreement <of> scores",
            "values": {"correlation": -0.123456, "pairs": 1234, "passed": True, "by": "rank"},
        },
        "other": {"matrix": [[1.0]]},
    }
    text = render_page(report, rows)
    page = Page(text)
    assert page.ids[-2:] == ["diagnostics", "settings"]
    start = text.index('id="diagnostics"')
    table = text[start : text.index("</section>", start)]
    assert "<h3>Agreement &lt;of&gt; scores</h3>" in table
    cells = re.findall(r'<th scope="row">(.*?)</th><td class="number">(.*?)</td>', table)
    assert cells == [
        ("correlation", "\N{MINUS SIGN}0.1235"),
        ("pairs", "1,234"),
        ("passed", "yes"),
        ("by", "rank"),
    ]
    assert table.count("<table") == 1


@pytest.mark.parametrize("kind", ["text", "file"])
def test_a_section_from_outside_is_one_entry(small, sections, tmp_path: Path, kind):
    report, rows = small
    template: str | Path = (
        '{% from "macros.html.jinja" import figure, table %}'
        '<p class="soft">{{ note }}</p>{{ figure(drawn) }}{{ table(["", "Value"], values) }}'
    )
    if kind == "file":
        (tmp_path / "mine.html").write_text(str(template))
        template = tmp_path / "mine.html"
    section = Section(
        "Noise & more",
        lambda report, rows, figures: {
            "note": report["diagnostics"]["noise"]["note"],
            "drawn": figures.add(None, "Noise", "What <it> is.", "Noise."),
            "values": [("rows", len(rows))],
        },
        template,
        lambda report: "noise" in report.get("diagnostics", {}),
    )
    sections.register("noise", section)
    assert 'id="noise"' not in render_page(report, rows)
    report["diagnostics"] = {"noise": {"note": "<script>"}}
    text = render_page(report, rows)
    page = Page(text)
    assert page.ids[-3:] == ["noise", "figure-7", "settings"]
    assert "Figure 7. Noise." in page.text
    assert "What <it> is." in page.text
    assert "<h2>Noise &amp; more</h2>" in text
    assert '<p class="soft">&lt;script&gt;</p>' in text
    assert f"<td>{len(rows)}</td>" in text


def test_a_template_that_names_what_it_was_not_given_is_refused(small, sections):
    sections.register("wrong", Section("Wrong", lambda *_: {}, "{{ missing }}"))
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        render_page(*small)


@pytest.mark.usefixtures("undrawn")
def test_the_page_has_any_methods_under_the_titles_of_the_report():
    report, rows = fake_run(num_tasks=3, num_groups=2, updates=3)
    names = [f"method-{place}" for place in range(20)]
    by_method = ("scores", "env_steps", "total_env_steps", "method_labels", "num_params")
    for part in by_method:
        report[part] = dict.fromkeys(names, report[part]["random_grouping"])
    report["methods"] = {name: f"Title of {name}" for name in names}
    report["scores"] = {name: report["scores"][name] for name in names}
    rows = [row | {"stage": f"train/{names[3]}"} for row in rows if row["stage"] != "meta"]
    text = Page(render_page(report, rows)).text
    for title in report["methods"].values():
        assert title in text
    assert "PolicyGradEx groups" not in text
    assert "Environment steps: Title of method-0" in text


@pytest.mark.usefixtures("undrawn")
def test_strips_are_figures():
    report, rows = fake_run(num_tasks=3, num_groups=2, updates=3)
    frames = np.random.default_rng(0).integers(0, 255, (8, 40, 60, 3)).astype(np.uint8)
    strips = [
        SimpleNamespace(group=0, task="a & b", frames=frames),
        SimpleNamespace(group=1, task="c", frames=frames),
    ]
    text = render_page(report, rows, strips)
    section = text[text.index('id="strips"') : text.index('id="costs"')]
    assert section.count("<figure") == 2
    assert "Group 1 in task a &amp; b" in section
    assert "strips" not in Page(render_page(report, rows)).ids


def test_no_html_is_written_in_python():
    folder = Path(style.__file__).parent
    for file in folder.glob("*.py"):
        assert not re.findall(r"</?(?:p|td|th|div|section|h\d|figure|table)\b", file.read_text())

"""The page of a run: one HTML file with its figures inside, for a researcher to read."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pgx_jax.experiments import plots

_GROUPING_ONLY = {"policygradex": "Finding the groups"}
_MINUS = "\N{MINUS SIGN}"

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CSS = """
:root { color-scheme: light dark; --ink: #1c1d1f; --soft: #5b6068; --ground: #fbfbfa;
  --line: #d9dade; --panel: #f1f2f4; --card: #ffffff; --warn: #fdf3dc; --warn-line: #d9a520; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e3; --soft: #a3a7ae; --ground: #17181a; --line: #37393e; --panel: #212327;
    --card: #e9e9e6; --warn: #332b18; --warn-line: #b98d1f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .7rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; }
p.soft, figcaption { color: var(--soft); }
p.below { font-size: .87rem; margin-top: -.3rem; }
p.lead { font-size: 1.08rem; }
.warn { background: var(--warn); border-left: 4px solid var(--warn-line); padding: .5rem .8rem;
  border-radius: 3px; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr));
  gap: .7rem 1.6rem; margin: 1.2rem 0; }
dl.facts dt { color: var(--soft); font-size: .82rem; }
dl.facts dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
table.wide { width: 100%; }
th, td { padding: .32rem .9rem .32rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
tbody th { font-weight: 500; min-width: 2.5rem; }
tbody th.method { min-width: 12.5rem; padding-left: 1.2em; text-indent: -1.2em; }
thead th { font-size: .84rem; color: var(--soft); vertical-align: bottom; }
th.number, td.number { text-align: right; }
th:last-child, td:last-child { padding-right: 0; }
td.number { white-space: nowrap; }
td.value { overflow-wrap: anywhere; }
.key { display: inline-block; width: .72em; height: .72em; border-radius: 50%;
  margin-right: .5em; }
ul.tasks { display: flex; flex-wrap: wrap; gap: .3rem .4rem; margin: 0; padding: 0;
  list-style: none; }
ul.tasks li { background: var(--panel); border: 1px solid var(--line); border-radius: 4px;
  padding: 0 .45rem; font-size: .86rem; overflow-wrap: anywhere; }
figure { margin: 1.6rem 0 2.2rem; break-inside: avoid; }
figure .card { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .9rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { margin-top: .6rem; font-size: .9rem; max-width: 48rem; }
figcaption b { color: var(--ink); }
details { margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media print { body { background: #fff; } main { max-width: none; padding: 0; } }
"""


def render_page(report: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The page of a run.

    Args:
        report: what ``report.json`` holds; read from the file or as ``make_report`` returns it.
        rows: of ``metrics.jsonl``.

    Returns:
        HTML that asks nothing of the network and runs no script. Equal inputs give equal text.

    Raises:
        ValueError: sizes within the report do not match.
    """
    figures = _Figures()
    compared = bool(report["scores"])
    sections = [
        _headline(report),
        _groups(report),
        _scores(report) if compared else "",
        _affinity(report, figures),
        _score_figures(report, figures) if compared else "",
        _curves(report, rows, figures),
        _costs(report, figures),
        _selection(report, figures) if report["selection"] is not None else "",
        _certificate(report),
        _settings(report),
    ]
    title = f"PolicyGradEx: {report['environment']}, {report['preset']}, seed {report['seed']}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


class _Figures:
    """Numbers the figures of a page."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, figure: Any, title: str, caption: str, alternative: str) -> str:
        """The figure as HTML; ``caption`` is text, not HTML."""
        self.count += 1
        return (
            f'<figure id="figure-{self.count}">\n<div class="card"><img '
            f'alt="{_text(alternative)}" src="{plots.data_uri(figure)}"></div>\n'
            f"<figcaption><b>Figure {self.count}. {_text(title)}.</b> {_text(caption)}"
            "</figcaption>\n</figure>"
        )


def _headline(report: dict[str, Any]) -> str:
    count, chosen = report["num_tasks"], report["num_groups"]
    how = "given" if report["num_groups_given"] else "chosen on held-out subsets"
    lead = f"{_plural(chosen, 'group')} of {_plural(count, 'task')}; the number was {how}."
    index = report["adjusted_rand_index"]
    if index is not None:
        known = len(set(report["known_groups"]))
        lead += (
            f" Adjusted Rand index against the {_plural(known, 'known group')}: "
            f"{_number(index, 2)} (1: equal, about 0: chance)."
        )
    facts = {
        "Environment": report["environment"],
        "Preset": report["preset"],
        "Seed": report["seed"],
        "Groups k": f"{chosen} ({how})",
        "Task subsets": f"{report['num_subsets']:,} of {report['subset_size']} tasks",
        "Projection dimension d": f"{report['dim']:,}",
        "Environment steps, PolicyGradEx": f"{report['total_env_steps']['policygradex']:,}",
        "Device": report["device"],
    }
    parts = [
        "<header>",
        f"<h1>Task groups for {_text(report['environment'])}</h1>",
        f'<p class="soft">{_text(report.get("environment_description", ""))}</p>',
        f'<p class="lead">{_text(lead)}</p>',
    ]
    if report["preset"] == "smoke":
        parts.append(
            '<p class="warn">The smoke preset shows that everything runs. Its numbers mean '
            "nothing.</p>"
        )
    if not report["scores"]:
        parts.append(
            '<p class="warn">This run stopped at the groups. No policy was trained per group, '
            "and there is nothing to compare.</p>"
        )
    items = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts.items())
    return "\n".join([*parts, f'<dl class="facts">{items}</dl>', "</header>"])


def _groups(report: dict[str, Any]) -> str:
    labels, names, known = report["labels"], report["task_names"], report["known_groups"]
    head = ["Group", "Size", "Tasks"] + ([] if known is None else ["Known groups of its tasks"])
    rows = []
    for group in range(report["num_groups"]):
        members = [task for task, label in enumerate(labels) if label == group]
        chips = "".join(f"<li>{_text(names[task])}</li>" for task in members)
        row = [_th(group + 1), _td(len(members)), f'<td><ul class="tasks">{chips}</ul></td>']
        if known is not None:
            found = [known[task] for task in members]
            text = ", ".join(f"{one + 1} ({found.count(one)})" for one in sorted(set(found)))
            row.append(_td(text, number=False))
        rows.append(row)
    caption = "" if known is None else "Known groups: their number, and how many tasks of each."
    table = _table(head, rows, caption, numbers={1})
    return f'<section id="groups">\n<h2>Groups</h2>\n{table}\n</section>'


def _scores(report: dict[str, Any]) -> str:
    scores, titles = report["scores"], report["methods"]
    config = report["config"]
    first = next(iter(scores))
    head = [
        "Method",
        "Source tasks, mean ± SE",
        "Held-out tasks, mean ± SE",
        f"Held-out, minus {titles[first]}",
        "Environment steps",
        "Parameters",
        "Groups (tasks)",
    ]
    rows = []
    for place, (method, title) in enumerate(titles.items()):
        source, test = scores[method]["source"], scores[method]["test"]
        tasks = test["tasks"]
        key = f'<span class="key" style="background:{plots.method_colour(place)}"></span>'
        rows.append(
            [
                f'<th scope="row" class="method">{key}{_text(title)}</th>',
                _td(_mean_error(source, known=config["eval_episodes"] > 1)),
                _td(_mean_error(test, known=len(tasks) > 1)),
                _td("" if method == first else _paired(tasks, scores[first]["test"]["tasks"])),
                _td(f"{report['total_env_steps'][method]:,}"),
                _td(f"{report['num_params'][method]:,}"),
                _td(_sizes(report["method_labels"][method])),
            ]
        )
    table = _table(head, rows, _score_caption(report), numbers={1, 2, 3, 4, 5, 6}, wide=True)
    return f'<section id="scores">\n<h2>Scores</h2>\n{table}\n</section>'


def _score_figures(report: dict[str, Any], figures: _Figures) -> str:
    scores, titles = report["scores"], report["methods"]
    return "\n".join(
        [
            '<section id="tasks">\n<h2>Scores by task</h2>',
            figures.add(
                plots.task_score_figure(scores, titles, report["task_names"], report["labels"]),
                "Score of every source task",
                "Mean return of the evaluation episodes; bars are ± 1 standard error over "
                "episodes. Tasks are ordered by PolicyGradEx group.",
                "Dots with error bars: score of every source task under every method. "
                "The numbers are in the table below.",
            ),
            _task_table(report),
            figures.add(
                plots.held_out_figure(scores, titles),
                "Scores of the held-out tasks",
                "Each mark is a held-out task. The box spans the quartiles, its line is the "
                "median, the whiskers reach the extremes. Dark diamond: mean ± 1 standard error "
                "over tasks. All methods meet the same held-out tasks.",
                "Distribution of the held-out tasks' scores for every method.",
            ),
            "</section>",
        ]
    )


def _score_caption(report: dict[str, Any]) -> str:
    config = report["config"]
    held_out = len(next(iter(report["scores"].values()))["test"]["tasks"])
    return (
        f"Mean episode return. Source: {_plural(report['num_tasks'], 'fixed task')}, "
        f"{_plural(config['eval_episodes'], 'episode')} each; the standard error comes from "
        f"episodes alone. Held-out: {_plural(held_out, 'task')} drawn alike, "
        f"{_plural(config['test_episodes'], 'episode')} each; the standard error comes from the "
        "tasks. A held-out task takes the policy that did best in "
        f"{_plural(config['selection_episodes'], 'trial episode')}; these steps are counted. "
        "Differences are paired by task. One training seed: no figure here shows the spread "
        "over seeds."
    )


def _task_table(report: dict[str, Any]) -> str:
    scores, titles = report["scores"], report["methods"]
    known = report["config"]["eval_episodes"] > 1
    order = np.argsort(report["labels"], kind="stable").tolist()
    rows = [
        [_th(report["task_names"][task]), _td(report["labels"][task] + 1)]
        + [
            _td(_mean_error(scores[method]["source"]["tasks"][report["task_names"][task]], known))
            for method in titles
        ]
        for task in order
    ]
    head = ["Task", "Group", *titles.values()]
    table = _table(head, rows, "Mean return ± standard error.", set(range(1, len(head))), True)
    return f"<details>\n<summary>Scores per task, as numbers</summary>\n{table}\n</details>"


def _affinity(report: dict[str, Any], figures: _Figures) -> str:
    count = report["num_tasks"]
    caption = (
        "Row and column: tasks, ordered by group; black frames are the groups. Entry: mean score "
        "of the two tasks over the sampled subsets that hold both, scores standardised per task. "
        "Blue pairs do better together than the mean pair, red ones worse. The diagonal is "
        "left out."
    )
    if count > plots.LARGEST_ANNOTATED:
        caption += f" Values are not written for more than {plots.LARGEST_ANNOTATED} tasks."
    figure = figures.add(
        plots.affinity_figure(report["affinity"], report["labels"], report["task_names"]),
        "Task affinity",
        caption,
        f"Affinity matrix of {count} tasks, ordered by group.",
    )
    return f'<section id="affinity">\n<h2>Affinity</h2>\n{figure}\n</section>'


def _selection(report: dict[str, Any], figures: _Figures) -> str:
    # JSON turns the candidates into strings.
    errors = {int(size): float(error) for size, error in report["selection"].items()}
    figure = figures.add(
        plots.selection_figure(errors, report["num_groups"]),
        "Choosing the number of groups",
        "Mean squared error of predicting held-out subset scores from k groups, in units of "
        "their variance. The smallest k within one standard error of the least error is taken.",
        "Held-out error for "
        + ", ".join(f"k = {size}: {error:.3f}" for size, error in sorted(errors.items()))
        + ".",
    )
    return f'<section id="selection">\n<h2>Number of groups</h2>\n{figure}\n</section>'


def _curves(report: dict[str, Any], rows: list[dict[str, Any]], figures: _Figures) -> str:
    titles = report.get("methods", {})
    count = report["num_tasks"]
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_stage.setdefault(row["stage"], []).append(row)
    meta = plots.learning_curve(by_stage.get("meta", []), count)
    curves = {}
    for method in titles:
        before = sum(
            steps
            for purpose, steps in report["env_steps"][method].items()
            if purpose not in ("training", "selection", "total")
        )
        curve = plots.learning_curve(by_stage.get(f"train/{method}", []), count, before)
        if curve is not None:
            curves[method] = curve
    head = '<section id="curves">\n<h2>Learning curves</h2>'
    if meta is None and not curves:
        return f"{head}\n<p>No episode ended during training.</p>\n</section>"
    caption = (
        f"Returns of training episodes, smoothed by a running mean over {plots.SMOOTHING:.0%} of "
        "each training; one of fewer than 30 updates is shown as it is. A task that ended no "
        "episode in an update is interpolated. "
    )
    if curves:
        caption += (
            "A curve starts where its method had spent its steps on meta-training and estimation. "
            "Groups train one beside the other; their steps are added up and their tasks "
            "averaged."
        )
    absent = {"meta-training": meta.missing if meta else 0}
    absent |= {titles[method]: curve.missing for method, curve in curves.items()}
    for title, missing in absent.items():
        if missing:
            caption += f" {title}: {_plural(missing, 'task')} without any episode left out."
    figure = figures.add(
        plots.learning_curve_figure(meta, curves, titles),
        "Mean return over tasks during training",
        caption,
        "Learning curves of meta-training"
        + "".join(f", {titles[method]}" for method in curves)
        + ".",
    )
    return f"{head}\n{figure}\n</section>"


def _costs(report: dict[str, Any], figures: _Figures) -> str:
    seconds = report["wall_seconds"]
    total = sum(stage["total"] for stage in seconds.values())
    compiling = sum(stage["compile"] for stage in seconds.values())
    fresh = sum(stage["total"] for stage in seconds.values() if not stage["reused"])
    caption = (
        f"Wall time by stage: {_number(total, 1)} s in all, {_number(compiling, 1)} s of it "
        "tracing and compiling."
    )
    if all(stage["reused"] for stage in seconds.values()):
        caption += " All stages were reused; the seconds are those of the earlier run."
    elif any(stage["reused"] for stage in seconds.values()):
        caption += (
            " Hatched stages were reused and show the seconds of the earlier run; the others "
            f"took {_number(fresh, 1)} s."
        )
    steps_caption = "All that a method needs is counted, meta-training included."
    if report["scores"]:
        steps_caption += (
            " Methods have equal budgets for everything up to training, to within one PPO update "
            "a policy; choosing policies for held-out tasks comes on top."
        )
    titles = report.get("methods", _GROUPING_ONLY)
    return "\n".join(
        [
            '<section id="costs">\n<h2>Costs</h2>',
            figures.add(
                plots.time_figure(seconds),
                "Where the time went",
                caption,
                "Bars: seconds of every stage. "
                + ", ".join(f"{name}: {stage['total']:.1f}" for name, stage in seconds.items())
                + ".",
            ),
            figures.add(
                plots.env_step_figure(report["env_steps"], titles),
                "Environment steps by purpose",
                steps_caption,
                "Stacked bars: environment steps. "
                + ", ".join(
                    f"{titles[name]}: {spent['total']:,}"
                    for name, spent in report["env_steps"].items()
                )
                + ".",
            ),
            "</section>",
        ]
    )


def _certificate(report: dict[str, Any]) -> str:
    fits, count = report["fits"], report["num_subsets"]
    gap, groups = report["certified_gap"], report["num_groups"]
    if groups in (1, report["num_tasks"]):
        lead = f"There is only one partition into {_plural(groups, 'group')}."
    else:
        lead = (
            f"No partition into {_plural(groups, 'group')} has an objective larger by more than "
            f"{_significant(gap)}. The bound holds whatever the solver's status."
        )
    rows = [
        ("Objective", _significant(report["objective"], 6)),
        ("Upper bound", _significant(report["upper_bound"], 6)),
        ("Certified gap", _significant(gap)),
        ("Solver status", report["solver_status"]),
        ("Subset fits converged", f"{fits['converged']:,} of {count:,}"),
        ("Steps of the fits", f"{fits['steps']:,}"),
        ("Largest gradient norm of a fit", _significant(fits["largest_grad_norm"])),
    ]
    parts = ['<section id="certificate">\n<h2>Certificate</h2>', f"<p>{_text(lead)}</p>"]
    if fits["converged"] < count:
        parts.append(
            f'<p class="warn">{_plural(count - fits["converged"], "fit")} of {count:,} did not '
            "converge.</p>"
        )
    caption = (
        "Objective: sum over groups of the summed affinities within a group, divided by its size; "
        "the diagonal counts as the mean pair. Gap and bound are in the same units."
    )
    cells = [[_th(name), _td(value)] for name, value in rows]
    return "\n".join([*parts, _table(["", "Value"], cells, caption, {1}), "</section>"])


def _settings(report: dict[str, Any]) -> str:
    def section(title: str, values: Iterable[tuple[str, Any]]) -> str:
        cells = [
            [
                f'<th scope="row"><code>{_text(name)}</code></th>',
                f'<td class="value"><code>{_text(value)}</code></td>',
            ]
            for name, value in values
        ]
        table = _table(["Name", "Value"], cells)
        return f"<details>\n<summary>{_text(title)}</summary>\n{table}\n</details>"

    return "\n".join(
        [
            '<section id="settings">\n<h2>Settings</h2>',
            section("Configuration", _flat(report["config"])),
            section("Versions", report["versions"].items()),
            "</section>",
        ]
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            # The same text whether the value comes from Python or from JSON.
            plain = list(value) if isinstance(value, tuple) else value
            yield prefix + name, "not given" if plain is None else plain


def _table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    numbers: set[int] = frozenset(),  # type: ignore[assignment]
    wide: bool = False,
) -> str:
    """A table from cells that are HTML already; head and caption are text."""
    cells = "".join(
        f'<th scope="col" class="number">{_text(name)}</th>'
        if column in numbers
        else f'<th scope="col">{_text(name)}</th>'
        for column, name in enumerate(head)
    )
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    below = f'\n<p class="soft below">{_text(caption)}</p>' if caption else ""
    kind = ' class="wide"' if wide else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>{below}"
    )


def _td(value: Any, *, number: bool = True) -> str:
    return f'<td class="number">{_text(value)}</td>' if number else f"<td>{_text(value)}</td>"


def _th(value: Any) -> str:
    return f'<th scope="row">{_text(value)}</th>'


def _text(value: Any) -> str:
    return html.escape(str(value))


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _number(value: float, digits: int) -> str:
    """Fixed digits, a true minus sign, and no negative nought."""
    text = f"{value:,.{digits}f}"
    bare = text.removeprefix("-")
    return text if text == bare else _MINUS * bool(bare.strip("0.,")) + bare


def _significant(value: float, digits: int = 3) -> str:
    text = f"{value:.{digits}g}"
    return _MINUS + text.removeprefix("-") if text.startswith("-") else text


def _mean_error(score: Mapping[str, Any], known: bool = True) -> str:
    """Mean ± standard error; the mean alone where a single value gives no error."""
    mean = _number(score["mean"], 1)
    return f"{mean} ± {_number(score['standard_error'], 1)}" if known else mean


def _paired(tasks: Sequence[float], reference: Sequence[float]) -> str:
    """Mean difference ± its standard error, over tasks that both methods met."""
    difference = np.subtract(tasks, reference)
    mean = float(difference.mean())
    sign = "+" if round(mean, 1) > 0 else ""
    if len(difference) < 2:
        return sign + _number(mean, 1)
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return f"{sign}{_number(mean, 1)} ± {_number(error, 1)}"


def _sizes(labels: Sequence[int]) -> str:
    """How many groups, and of how many tasks."""
    sizes = sorted((list(labels).count(group) for group in set(labels)), reverse=True)
    if len(sizes) <= 4:
        return f"{len(sizes)} ({', '.join(str(size) for size in sizes)})"
    if sizes[0] == sizes[-1]:
        return f"{len(sizes)} ({sizes[0]} each)"
    return f"{len(sizes)} ({sizes[-1]} to {sizes[0]} each)"

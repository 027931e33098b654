"""The page of a run: one HTML file with its figures inside, for a researcher to read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgx_jax.experiments.report.costs import cost_section
from pgx_jax.experiments.report.curves import curve_section
from pgx_jax.experiments.report.grouping import (
    affinity_section,
    certificate_section,
    groups_section,
    selection_section,
)
from pgx_jax.experiments.report.markup import Figures, escape, html_table, number, plural
from pgx_jax.experiments.report.scores import score_section, task_section
from pgx_jax.experiments.report.strips import strip_section

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


def render_page(
    report: dict[str, Any], rows: list[dict[str, Any]], strips: Sequence[Any] = ()
) -> str:
    """The page of a run.

    Args:
        report: what ``report.json`` holds; read from the file or as ``make_report`` returns it.
        rows: of ``metrics.jsonl``.
        strips: frames of the trained policies, with ``group``, ``task`` and ``frames``.

    Returns:
        HTML that asks nothing of the network and runs no script. Equal inputs give equal text.

    Raises:
        ValueError: sizes within the report do not match.
    """
    figures = Figures()
    compared = bool(report["scores"])
    sections = [
        _headline(report),
        groups_section(report),
        score_section(report) if compared else "",
        affinity_section(report, figures),
        task_section(report, figures) if compared else "",
        curve_section(report, rows, figures),
        strip_section(strips, figures),
        cost_section(report, figures),
        selection_section(report, figures) if report["selection"] is not None else "",
        certificate_section(report),
        _settings(report),
    ]
    title = f"PolicyGradEx: {report['environment']}, {report['preset']}, seed {report['seed']}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _headline(report: dict[str, Any]) -> str:
    count, chosen = report["num_tasks"], report["num_groups"]
    how = "given" if report["num_groups_given"] else "chosen on held-out subsets"
    lead = f"{plural(chosen, 'group')} of {plural(count, 'task')}; the number was {how}."
    index = report["adjusted_rand_index"]
    if index is not None:
        known = len(set(report["known_groups"]))
        lead += (
            f" Adjusted Rand index against the {plural(known, 'known group')}: "
            f"{number(index, 2)} (1: equal, about 0: chance)."
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
    if report["warm_start"] != "none":
        facts["Start of training"] = "clones of scripted experts"
    parts = [
        "<header>",
        f"<h1>Task groups for {escape(report['environment'])}</h1>",
        f'<p class="soft">{escape(report.get("environment_description", ""))}</p>',
        *(f'<p class="soft">{escape(note)}</p>' for note in report["notes"]),
        f'<p class="lead">{escape(lead)}</p>',
    ]
    if report["preset"] == "smoke":
        parts.append(
            '<p class="warn">The smoke preset shows that everything runs. Its numbers mean '
            "nothing.</p>"
        )
    if chosen == 1 and report["scores"]:
        parts.append(
            '<p class="warn">With one group every method trains policies on all tasks. The methods '
            "differ in how their steps are spent and in chance, not in their groups.</p>"
        )
    if not report["scores"]:
        parts.append(
            '<p class="warn">This run stopped at the groups. No policy was trained per group, '
            "and there is nothing to compare.</p>"
        )
    items = "".join(
        f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()
    )
    return "\n".join([*parts, f'<dl class="facts">{items}</dl>', "</header>"])


def _settings(report: dict[str, Any]) -> str:
    def section(title: str, values: Iterable[tuple[str, Any]]) -> str:
        cells = [
            [
                f'<th scope="row"><code>{escape(name)}</code></th>',
                f'<td class="value"><code>{escape(value)}</code></td>',
            ]
            for name, value in values
        ]
        table = html_table(["Name", "Value"], cells)
        return f"<details>\n<summary>{escape(title)}</summary>\n{table}\n</details>"

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
